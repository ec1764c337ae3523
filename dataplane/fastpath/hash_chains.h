// A hash index over records that stand in an array of their own: chains by hash, of places in that array.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace bulkhead {

/// Chains stay short where the hash is secret: there are twice as many as records.
class HashChains {
 public:
  static constexpr uint32_t kEnd = UINT32_MAX;

  explicit HashChains(uint32_t records)
      : heads_(std::bit_ceil(size_t{records} * 2), kEnd), next_(records, kEnd) {}

  uint32_t first(uint64_t hash) const noexcept { return heads_[hash & (heads_.size() - 1)]; }
  uint32_t next(uint32_t record) const noexcept { return next_[record]; }
  void insert(uint64_t hash, uint32_t record) noexcept {
    uint32_t& head = heads_[hash & (heads_.size() - 1)];
    next_[record] = head;
    head = record;
  }
  /// Only of a record that was inserted under this hash.
  void erase(uint64_t hash, uint32_t record) noexcept {
    uint32_t* link = &heads_[hash & (heads_.size() - 1)];
    while (*link != record) link = &next_[*link];
    *link = next_[record];
  }

 private:
  std::vector<uint32_t> heads_, next_;
};

}  // namespace bulkhead
