// What workers judge connections by at one moment: identities, and what proves them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "dataplane/relay/identities.h"
#include "svid/tls.h"

namespace bulkhead {

/// SVIDs by their ID, and whom to trust. Immutable, but for `trust`'s being replaced with it.
struct SvidSet {
  std::map<std::string, std::shared_ptr<const SvidIdentity>, std::less<>> own;
  std::shared_ptr<const TrustStore> trust;
};

/// Immutable, shared, replaced as a whole.
struct RelayPolicy {
  uint64_t epoch = 0;                                 ///< counts replacements, whatever part was replaced
  std::shared_ptr<const Identities> current, before;  ///< null: none yet
  std::shared_ptr<const SvidSet> svids;

  /// The identities that the flow's tags and numbers belong to; nullptr where they are neither of the two.
  const Identities* of_generation(uint64_t generation) const {
    if (current && current->generation() == generation) return current.get();
    if (before && before->generation() == generation) return before.get();
    return nullptr;
  }
};

}  // namespace bulkhead
