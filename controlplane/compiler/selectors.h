// Who a rule means, as numbers: segments by their place in the image, and the selectors that pairs are made
// of.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "config/policy.h"
#include "controlplane/compiler/interner.h"

namespace bulkhead {

/// The image's segments: `unknown` first, then the policy's by tag, `gateway` last. Each has one identity, at
/// the same place.
class SegmentOrder {
 public:
  /// Errors: kInvalid where two segments share a name or tag, or a tag is reserved.
  static Expected<SegmentOrder> of(const Policy& policy);

  struct Place {
    std::string_view name;
    SegmentTag tag;
    const Segment* segment;  ///< nullptr for `unknown` and `gateway`
  };
  std::span<const Place> places() const { return places_; }
  uint32_t size() const { return static_cast<uint32_t>(places_.size()); }
  /// Whether `any` means it: the policy itself defines it.
  bool is_defined(uint32_t place) const { return places_[place].segment != nullptr; }
  /// Errors: kInvalid for a name that is none.
  Expected<uint32_t> place_of(const std::string& name) const;

 private:
  std::vector<Place> places_;
  std::unordered_map<std::string_view, uint32_t> place_by_name_;
};

/// Numbers the selectors that rules need: 0 is `any`, then each segment that a rule names alone, and each
/// larger set. The policy and the order outlive it.
class Selectors {
 public:
  explicit Selectors(const SegmentOrder& order);

  /// A distinct set of segments that `from` or `to` mean.
  using SetId = uint32_t;
  Expected<SetId> set_of(const Selector& selector);
  bool is_any(SetId set) const { return set == kAnySet; }
  /// Places in ascending order; every defined one for `any`.
  std::span<const uint32_t> places_in(SetId set) const { return is_any(set) ? defined_ : sets_[set - 1]; }

  uint32_t number_of_set(SetId set);
  uint32_t number_of_place(uint32_t place);
  uint32_t count() const { return static_cast<uint32_t>(sets_by_number_.size()); }
  /// The segments that a selector holds, ascending.
  std::span<const uint32_t> places_of(uint32_t number) const { return places_in(sets_by_number_[number]); }

 private:
  static constexpr SetId kAnySet = 0;
  SetId set_with(std::span<const uint32_t> places) { return sets_.intern(places) + 1; }
  std::vector<uint32_t> places_with(const std::map<std::string, std::string>& labels) const;

  const SegmentOrder& order_;
  std::vector<uint32_t> defined_;
  std::map<std::pair<std::string_view, std::string_view>, std::vector<uint32_t>> places_by_label_;
  std::map<std::map<std::string, std::string>, SetId> set_by_labels_;
  Interner<uint32_t> sets_;              // SetId - 1
  std::vector<uint32_t> number_by_set_;  // 0: none yet
  std::vector<SetId> sets_by_number_;
};

}  // namespace bulkhead
