// From one set of endpoints to the next, as the smallest batch.
#pragma once

#include <span>
#include <vector>

#include "contract/messages.h"

namespace bulkhead {

/// The changes that turn `before` into `after`: what is gone is removed, what is new or differs is put.
/// Input:  both sorted by (address, bits) without duplicates, as compile() gives them.
/// Cost: linear.
std::vector<EndpointChange> endpoint_diff(std::span<const Endpoint> before, std::span<const Endpoint> after);
/// All of `endpoints` as puts: what replaces a whole table.
std::vector<EndpointChange> endpoint_puts(std::span<const Endpoint> endpoints);

}  // namespace bulkhead
