#include "dataplane/fastpath/half_open.h"

namespace bulkhead {

void HalfOpenFlows::create(uint32_t total, uint32_t per_identity) {
  places_.resize(total);
  segments_.resize(65536);
  per_identity_ = per_identity;
  for (uint32_t place = 0; place < total; ++place)
    places_[place].in_all.after = place + 1 < total ? place + 1 : kNoIndex;
  free_ = 0;
}

bool HalfOpenFlows::must_evict(SegmentTag source, Flow& oldest) const noexcept {
  const Segment& own = segments_[source.value];
  bool share_used = own.size >= per_identity_;
  if (!share_used && free_ != kNoIndex) return false;
  oldest = places_[share_used ? own.flows.first : all_.first].flow;
  return true;
}

uint32_t HalfOpenFlows::add(SegmentTag source, Flow flow) noexcept {
  uint32_t place = free_;
  free_ = places_[place].in_all.after;
  places_[place] = {{}, {}, flow, source, kNoIndex};
  Segment& own = segments_[source.value];
  all_.append(places_, place);
  own.flows.append(places_, place);
  ++own.size, ++size_;
  return place;
}

void HalfOpenFlows::remove(uint32_t place) noexcept {
  Segment& own = segments_[places_[place].source.value];
  all_.remove(places_, place);
  own.flows.remove(places_, place);
  --own.size, --size_;
  places_[place].in_all.after = free_;
  free_ = place;
}

}  // namespace bulkhead
