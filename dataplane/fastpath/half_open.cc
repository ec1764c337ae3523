#include "dataplane/fastpath/half_open.h"

namespace bulkhead {

void HalfOpenFlows::create(uint32_t total, uint32_t per_identity) {
  places_.resize(total);
  segments_.resize(65536);
  per_identity_ = per_identity;
  for (uint32_t place = 0; place < total; ++place)
    places_[place].in_all.after = place + 1 < total ? place + 1 : kNone;
  free_ = 0;
}

bool HalfOpenFlows::must_evict(SegmentTag source, Flow& oldest) const noexcept {
  const List& own = segments_[source.value];
  if (own.size < per_identity_ && free_ != kNone) return false;
  oldest = places_[own.size >= per_identity_ ? own.first : all_.first].flow;
  return true;
}

uint32_t HalfOpenFlows::add(SegmentTag source, Flow flow) noexcept {
  uint32_t place = free_;
  free_ = places_[place].in_all.after;
  places_[place] = {{}, {}, flow, source};
  append(all_, &Place::in_all, place);
  append(segments_[source.value], &Place::in_segment, place);
  return place;
}

void HalfOpenFlows::remove(uint32_t place) noexcept {
  unlink(all_, &Place::in_all, place);
  unlink(segments_[places_[place].source.value], &Place::in_segment, place);
  places_[place].in_all.after = free_;
  free_ = place;
}

void HalfOpenFlows::append(List& list, Link Place::* link, uint32_t place) noexcept {
  (places_[place].*link).before = list.last;
  if (list.last != kNone)
    (places_[list.last].*link).after = place;
  else
    list.first = place;
  list.last = place;
  ++list.size;
}

void HalfOpenFlows::unlink(List& list, Link Place::* link, uint32_t place) noexcept {
  auto [before, after] = places_[place].*link;
  (before != kNone ? (places_[before].*link).after : list.first) = after;
  (after != kNone ? (places_[after].*link).before : list.last) = before;
  --list.size;
}

}  // namespace bulkhead
