// What every endpoint of a batch must satisfy before anything of it is applied.
#pragma once

#include <span>

#include "base/error.h"
#include "contract/messages.h"
#include "policy/image_view.h"

namespace bulkhead {

/// Checks each change by itself: kind, prefix length, host bits, port, VLAN, flags, reserved bytes, and that
/// `image` knows the identity. `replaces`: the batch is a whole table, which can't remove anything. Errors:
/// kInvalid, naming the first change found wrong and what is wrong with it.
Expected<void> check_changes(std::span<const EndpointChange> changes, const ImageView& image,
                             unsigned port_count, bool replaces);

/// Whether `image` knows the identity of every endpoint of the table. Errors: kInvalid, naming one that it
/// doesn't.
Expected<void> check_identities(const EndpointTable& endpoints, const ImageView& image);

}  // namespace bulkhead
