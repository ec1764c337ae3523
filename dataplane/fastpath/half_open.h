// TCP connections that are opening, in the order in which they began: where there are too many of them the
// oldest gives way (RFC 4987 §3.2), so that a flood never keeps new ones out for long and
// never touches what is established.
#pragma once

#include <cstdint>
#include <vector>

#include "base/types.h"

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
  uint32_t size() const noexcept { return all_.size; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Link {
    uint32_t before = kNone, after = kNone;
  };
  struct List {
    uint32_t first = kNone, last = kNone, size = 0;
  };
  struct Place {
    Link in_all, in_segment;
    Flow flow;
    SegmentTag source;
  };
  void append(List& list, Link Place::* link, uint32_t place) noexcept;
  void unlink(List& list, Link Place::* link, uint32_t place) noexcept;

  std::vector<Place> places_;
  std::vector<List> segments_;  ///< by tag: 65,536
  List all_;
  uint32_t free_ = kNone;  ///< linked by in_all.after
  uint32_t per_identity_ = 1;
};

}  // namespace bulkhead
