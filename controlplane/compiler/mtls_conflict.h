// Allows that overlap and ask for both end_to_end and relay: no flow could satisfy both.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "controlplane/compiler/coverage.h"

namespace bulkhead {

/// The two rules of one such overlap (same tier, a service and a pair of segments in common), the lower
/// RuleIndex first. Deadlines and audit mode make no difference: what conflicts once it is in force should be
/// known now. Input: coverages as cover() sorts them. Cost: nothing where a policy uses one mode only.
std::optional<std::pair<uint32_t, uint32_t>> find_mtls_conflict(const Policy& policy,
                                                                const Selectors& selectors,
                                                                const std::vector<Coverage>& coverages);

}  // namespace bulkhead
