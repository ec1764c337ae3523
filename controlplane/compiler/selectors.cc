#include "controlplane/compiler/selectors.h"

#include <algorithm>
#include <iterator>
#include <tuple>

#include "policy/image.h"

namespace bulkhead {

Expected<SegmentOrder> SegmentOrder::of(const Policy& policy) {
  SegmentOrder order;
  order.places_.push_back({"unknown", kTagUnknown, nullptr});
  for (const Segment& segment : policy.segments)
    order.places_.push_back({segment.name, segment.tag, &segment});
  order.places_.push_back({"gateway", kTagGateway, nullptr});
  std::ranges::sort(order.places_, {},
                    [](const Place& p) { return std::tuple(p.tag, p.segment != nullptr, p.name); });

  for (uint32_t i = 0; i < order.size(); ++i) {
    const Place& place = order.places_[i];
    bool tag_is_taken = i == 0 ? place.tag != kTagUnknown : place.tag == order.places_[i - 1].tag;
    if (tag_is_taken)
      return fail(ErrorCode::kInvalid, "segment '" + std::string(place.name) + "': tag " +
                                           std::to_string(place.tag.value) +
                                           " is reserved or another segment's; choose one from 2 to 65534");
    if (!order.place_by_name_.emplace(place.name, i).second)
      return fail(ErrorCode::kInvalid, "two segments are named '" + std::string(place.name) + "'");
  }
  return order;
}

Expected<uint32_t> SegmentOrder::place_of(const std::string& name) const {
  auto found = place_by_name_.find(name);
  if (found == place_by_name_.end()) return fail(ErrorCode::kInvalid, "no segment is named '" + name + "'");
  return found->second;
}

Selectors::Selectors(const SegmentOrder& order)
    : order_(order), number_by_set_{kSelectorAny}, sets_by_number_{kAnySet} {
  for (uint32_t place = 0; place < order.size(); ++place) {
    if (!order.is_defined(place)) continue;
    defined_.push_back(place);
    for (const auto& [key, value] : order.places()[place].segment->labels)
      places_by_label_[{key, value}].push_back(place);
  }
}

Expected<Selectors::SetId> Selectors::set_of(const Selector& selector) {
  switch (selector.kind) {
    case Selector::Kind::kAny:
      return kAnySet;
    case Selector::Kind::kNames: {
      std::vector<uint32_t> places;
      for (const std::string& name : selector.names) {
        auto place = order_.place_of(name);
        if (!place) return std::unexpected(place.error());
        places.push_back(*place);
      }
      std::ranges::sort(places);
      places.erase(std::unique(places.begin(), places.end()), places.end());
      return set_with(places);
    }
    case Selector::Kind::kLabels:
      break;
  }
  auto [known, is_new] = set_by_labels_.try_emplace(selector.labels);
  if (is_new) known->second = set_with(places_with(selector.labels));
  return known->second;
}

/// Every label must match; `unknown` and `gateway` have none.
std::vector<uint32_t> Selectors::places_with(const std::map<std::string, std::string>& labels) const {
  std::vector<uint32_t> places = defined_;
  for (const auto& [key, value] : labels) {
    auto with_label = places_by_label_.find({key, value});
    if (with_label == places_by_label_.end()) return {};
    std::vector<uint32_t> both;
    std::ranges::set_intersection(places, with_label->second, std::back_inserter(both));
    places = std::move(both);
  }
  return places;
}

uint32_t Selectors::number_of_set(SetId set) {
  if (is_any(set)) return kSelectorAny;
  if (number_by_set_.size() <= set) number_by_set_.resize(sets_.size() + 1);
  if (number_by_set_[set] == 0) {
    number_by_set_[set] = count();
    sets_by_number_.push_back(set);
  }
  return number_by_set_[set];
}

uint32_t Selectors::number_of_place(uint32_t place) {
  return number_of_set(set_with({&place, 1}));
}

}  // namespace bulkhead
