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
  bool awaited = false;  ///< their source hasn't said anything yet
};

/// Adds one to a set that is being made. Where two have one ID, the one that ends last is kept.
inline void add_own(SvidSet& set, std::shared_ptr<const SvidIdentity> identity) {
  auto& kept = set.own[identity->id.text()];
  if (!kept || ASN1_TIME_compare(X509_get0_notAfter(identity->leaf()), X509_get0_notAfter(kept->leaf())) > 0)
    kept = std::move(identity);
}

/// Immutable, shared, replaced as a whole.
struct RelayPolicy {
  uint64_t epoch = 0;                                 ///< counts replacements, whatever part was replaced
  std::shared_ptr<const Identities> current, before;  ///< null: none yet
  std::shared_ptr<const SvidSet> svids;

  /// From now on these are the identities. Those before stay known for flows that were announced under them,
  /// unless generations have gone back: then who numbers them began anew or withdrew the later one, and a
  /// number of before may soon mean something else.
  void take(std::shared_ptr<const Identities> identities) {
    bool goes_on = current && current->generation() < identities->generation();
    before = goes_on ? std::move(current) : nullptr;
    current = std::move(identities);
  }
  /// Who numbered them is gone: until others are taken, there are none.
  void forget() { current = before = nullptr; }
  /// The identities that the flow's tags and numbers belong to; nullptr where they are neither of the two.
  const Identities* of_generation(uint64_t generation) const {
    if (current && current->generation() == generation) return current.get();
    if (before && before->generation() == generation) return before.get();
    return nullptr;
  }
};

}  // namespace bulkhead
