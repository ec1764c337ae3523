// A list of records that stand in an array of their own, named by their places in it, so that nothing is
// allocated and a record may be in several lists.
#pragma once

#include <cstdint>
#include <vector>

namespace bulkhead {

inline constexpr uint32_t kNoIndex = UINT32_MAX;

struct IndexLinks {
  uint32_t before = kNoIndex, after = kNoIndex;
};

/// Oldest first. `kLinks`: where a record keeps its neighbours in this list. Cost: constant.
template <class Record, IndexLinks Record::* kLinks>
struct IndexList {
  uint32_t first = kNoIndex, last = kNoIndex;

  void append(std::vector<Record>& records, uint32_t record) noexcept {
    records[record].*kLinks = {last, kNoIndex};
    (last != kNoIndex ? (records[last].*kLinks).after : first) = record;
    last = record;
  }
  /// Only of one that is in it.
  void remove(std::vector<Record>& records, uint32_t record) noexcept {
    const IndexLinks links = records[record].*kLinks;
    (links.before != kNoIndex ? (records[links.before].*kLinks).after : first) = links.after;
    (links.after != kNoIndex ? (records[links.after].*kLinks).before : last) = links.before;
  }
};

}  // namespace bulkhead
