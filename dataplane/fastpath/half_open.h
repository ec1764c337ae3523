// TCP connections that are opening, or established without the TLS hellos that policy requires, in the order
// in which they began: where there are too many of them the oldest gives way (RFC 4987 §3.2), so that a flood
// never keeps new ones out for long and never touches what is established.
#pragma once

#include <cstdint>
#include <vector>

#include "base/types.h"
#include "dataplane/fastpath/index_list.h"

namespace bulkhead {

/// A worker's half-open flows: one list of all, and one for each segment that they come from.
/// Thread: the owning worker only. Cost: constant, never allocates after create().
class HalfOpenFlows {
 public:
  struct Flow {
    uint32_t slot;  ///< in its family's table
    bool v6;
  };

  /// Room for `total` flows, `per_identity` of one segment; both at least 1.
  void create(uint32_t total, uint32_t per_identity);

  /// Whether one more of that segment's takes another's place; `oldest` is the one: the segment's own oldest
  /// where it has its share, the oldest of all where there is no room.
  bool must_evict(SegmentTag source, Flow& oldest) const noexcept;
  /// Appends a flow; there must be room. Output: its place, for remove().
  uint32_t add(SegmentTag source, Flow flow) noexcept;
  void remove(uint32_t place) noexcept;
  /// Where a flow's record in HelloPool is; kNoIndex: it has none.
  uint32_t& check(uint32_t place) noexcept { return places_[place].check; }
  uint32_t check(uint32_t place) const noexcept { return places_[place].check; }
  uint32_t size() const noexcept { return size_; }

 private:
  struct Place {
    IndexLinks in_all, in_segment;
    Flow flow;
    SegmentTag source;
    uint32_t check = kNoIndex;
  };
  struct Segment {
    IndexList<Place, &Place::in_segment> flows;
    uint32_t size = 0;
  };

  std::vector<Place> places_;
  std::vector<Segment> segments_;  ///< by tag: 65,536
  IndexList<Place, &Place::in_all> all_;
  uint32_t free_ = kNoIndex;  ///< linked by in_all.after
  uint32_t size_ = 0;
  uint32_t per_identity_ = 1;
};

}  // namespace bulkhead
