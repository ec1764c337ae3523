// Who has the most of something that is counted one by one. Every operation costs a constant.
#pragma once

#include <cstdint>
#include <vector>

namespace bulkhead {

/// Counts by number (a segment's tag), of 65,536 of them. Those with equal counts are a list, so that a count
/// that moves by one moves its owner from one list to the next, and the highest count by one at most.
class Ranking {
 public:
  static constexpr uint32_t kNobody = UINT32_MAX;

  /// `most`: the highest that a single count will be.
  explicit Ranking(uint32_t most) : places_(65'536), heads_(size_t{most} + 1, kNobody) {}

  void add(uint16_t who) noexcept {
    leave(who);
    if (++places_[who].count > highest_) highest_ = places_[who].count;
    enter(who);
  }
  /// Only where count() isn't 0.
  void remove(uint16_t who) noexcept {
    leave(who);
    --places_[who].count;
    enter(who);
    if (heads_[highest_] == kNobody && highest_ != 0) --highest_;  // the one that left is there now
  }
  uint32_t count(uint16_t who) const noexcept { return places_[who].count; }
  /// One of those who have the most; kNobody where all have nothing.
  uint32_t first() const noexcept { return highest_ == 0 ? kNobody : heads_[highest_]; }

 private:
  struct Place {
    uint32_t count = 0;
    uint32_t before = kNobody, after = kNobody;  ///< in the list of that count; of 0 there is none
  };
  void enter(uint16_t who) noexcept {
    Place& place = places_[who];
    if (place.count == 0) return;
    uint32_t& head = heads_[place.count];
    place.before = kNobody;
    place.after = head;
    if (head != kNobody) places_[head].before = who;
    head = who;
  }
  void leave(uint16_t who) noexcept {
    Place& place = places_[who];
    if (place.count == 0) return;
    (place.before != kNobody ? places_[place.before].after : heads_[place.count]) = place.after;
    if (place.after != kNobody) places_[place.after].before = place.before;
  }

  std::vector<Place> places_;
  std::vector<uint32_t> heads_;  ///< by count
  uint32_t highest_ = 0;
};

}  // namespace bulkhead
