// Sequences kept once: equal content gets the same number, numbers count from 0 in order of first sight.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace bulkhead {

/// Interned sequences of T (a plain integer or character type). A million short ones cost one arena, not a
/// million nodes.
template <class T>
class Interner {
 public:
  /// The number of the sequence with this content.
  uint32_t intern(std::span<const T> content) {
    if (starts_.size() * 2 > table_.size()) grow();
    uint32_t hash = hash_of(content);
    size_t at = hash & (table_.size() - 1);
    for (; table_[at].number != kEmpty; at = (at + 1) & (table_.size() - 1))
      if (table_[at].hash == hash && std::ranges::equal((*this)[table_[at].number], content))
        return table_[at].number;
    auto number = static_cast<uint32_t>(starts_.size() - 1);
    table_[at] = {hash, number};
    arena_.insert(arena_.end(), content.begin(), content.end());
    starts_.push_back(arena_.size());
    return number;
  }
  std::span<const T> operator[](uint32_t number) const {
    return {arena_.data() + starts_[number], starts_[number + 1] - starts_[number]};
  }
  size_t size() const { return starts_.size() - 1; }
  /// All contents, one after the other.
  std::span<const T> arena() const { return arena_; }
  size_t start_of(uint32_t number) const { return starts_[number]; }

 private:
  static constexpr uint32_t kEmpty = 0xffffffff;
  struct Slot {
    uint32_t hash = 0;
    uint32_t number = kEmpty;
  };

  static uint32_t hash_of(std::span<const T> content) {
    auto bytes = std::as_bytes(content);
    return static_cast<uint32_t>(
        std::hash<std::string_view>{}({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  }

  void grow() {
    std::vector<Slot> old(table_.empty() ? 64 : table_.size() * 2);
    old.swap(table_);
    for (const Slot& slot : old) {
      if (slot.number == kEmpty) continue;
      size_t at = slot.hash & (table_.size() - 1);
      while (table_[at].number != kEmpty) at = (at + 1) & (table_.size() - 1);
      table_[at] = slot;
    }
  }

  std::vector<T> arena_;
  std::vector<size_t> starts_{0};
  std::vector<Slot> table_;  // a power of two, at most half full
};

}  // namespace bulkhead
