// Rules taken apart: which pair of selectors each covers, on which stretch of the service axis.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "config/policy.h"
#include "controlplane/compiler/selectors.h"

namespace bulkhead {

/// One rule on one stretch of services between one pair of selectors.
struct Coverage {
  uint32_t source_selector;
  uint32_t destination_selector;
  uint32_t first_key;  ///< ServiceKey
  uint32_t last_key;   ///< inclusive
  uint32_t rule;       ///< RuleIndex
  uint64_t pair() const { return uint64_t{source_selector} << 32 | destination_selector; }
};

/// Takes all rules apart. A rule's stretches of one pair are disjoint. Sorted by pair, then first_key, then
/// rule. Errors: kInvalid for a segment that doesn't exist; kExhausted.
Expected<std::vector<Coverage>> cover(const Policy& policy, Selectors& selectors);

/// "FILE:LINE: rule 'NAME'", for messages.
std::string described(const Rule& rule);

}  // namespace bulkhead
