// Which identity the relay shows for a flow, and which ones its peer may have.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "contract/relay_flow.h"
#include "contract/relay_identities.h"
#include "svid/spiffe_id.h"

namespace bulkhead {

/// One generation of identities, checked and ready. Immutable. Thread: any number may read it.
class Identities {
 public:
  /// Errors: kInvalid, as read_identities(), and for a text that is no SPIFFE ID or pattern.
  static Expected<std::shared_ptr<const Identities>> read(std::vector<std::byte> bytes);

  uint64_t generation() const { return view_.generation; }

  /// The IDs that may be shown for the flow's own side, the best first: the workload's, its segment's
  /// relay_id.
  std::vector<std::string_view> own_ids(const RelayAnnouncement& flow) const;
  /// Whether `id` may be at the other side: it is the workload's own, the segment's relay_id, or matched by
  /// one of the segment's patterns. Never where there is no such segment.
  bool peer_may_be(const RelayAnnouncement& flow, const SpiffeId& id) const;
  /// The name of the other side's segment; empty where there is none of its tag.
  std::string_view peer_segment(const RelayAnnouncement& flow) const;

 private:
  explicit Identities(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  std::vector<std::byte> bytes_;
  IdentitiesView view_;
  std::vector<SpiffePattern> patterns_;  ///< by their place in view_.patterns
};

}  // namespace bulkhead
