#include "controlplane/compiler/mtls_conflict.h"

#include <algorithm>
#include <span>
#include <tuple>
#include <unordered_map>

namespace bulkhead {

namespace {

using Conflict = std::optional<std::pair<uint32_t, uint32_t>>;
using Selector32 = uint32_t;  // a selector's number

/// The coverages of one pair of selectors, in one tier, that ask for one mode.
struct Demand {
  Selector32 source;
  Selector32 destination;
  Tier tier;
  std::vector<Coverage> coverages;  // by first_key
};

std::vector<Demand> demands_for(MtlsMode mode, const Policy& policy, const std::vector<Coverage>& coverages) {
  std::vector<Coverage> asking;
  for (const Coverage& coverage : coverages) {
    const Rule& rule = policy.rules[coverage.rule];
    if (rule.action == Action::kAllow && rule.mtls == mode) asking.push_back(coverage);
  }
  auto tier_of = [&](const Coverage& c) { return policy.rules[c.rule].tier; };
  std::ranges::sort(asking, {},
                    [&](const Coverage& c) { return std::tuple(c.pair(), tier_of(c), c.first_key, c.rule); });

  std::vector<Demand> demands;
  for (const Coverage& coverage : asking) {
    bool same = !demands.empty() && demands.back().tier == tier_of(coverage) &&
                demands.back().coverages.back().pair() == coverage.pair();
    if (!same)
      demands.push_back({coverage.source_selector, coverage.destination_selector, tier_of(coverage), {}});
    demands.back().coverages.push_back(coverage);
  }
  return demands;
}

/// Walks both lists in order of first_key: an overlap shows where one starts before the furthest end of the
/// other.
Conflict overlap(const std::vector<Coverage>& a, const std::vector<Coverage>& b) {
  const Coverage* furthest[2] = {};
  for (size_t i = 0, j = 0; i < a.size() || j < b.size();) {
    bool from_a = j == b.size() || (i < a.size() && a[i].first_key <= b[j].first_key);
    const Coverage& next = from_a ? a[i++] : b[j++];
    const Coverage* other = furthest[from_a ? 1 : 0];
    if (other != nullptr && other->last_key >= next.first_key) return std::minmax(next.rule, other->rule);
    const Coverage*& own = furthest[from_a ? 0 : 1];
    if (own == nullptr || own->last_key < next.last_key) own = &next;
  }
  return std::nullopt;
}

/// Which selectors of one side (source or destination) of some demands have a segment in common with a given
/// one.
class Side {
 public:
  Side(const Selectors& selectors, const std::vector<Demand>& demands, Selector32 Demand::* side)
      : selectors_(selectors) {
    for (uint32_t i = 0; i < demands.size(); ++i) demands_by_selector_[demands[i].*side].push_back(i);
    for (const auto& [selector, indexes] : demands_by_selector_)
      for (uint32_t place : selectors.places_of(selector)) selectors_by_place_[place].push_back(selector);
  }
  struct Meeting {
    std::vector<Selector32> selectors;  // ascending
    size_t demand_count = 0;
  };
  /// Those that meet `selector`; the answer is kept for the next time.
  const Meeting& meeting(Selector32 selector) {
    auto [known, is_new] = meetings_.try_emplace(selector);
    if (is_new) known->second = find_meeting(selector);
    return known->second;
  }
  const std::vector<uint32_t>& demands_of(Selector32 selector) const {
    return demands_by_selector_.at(selector);
  }

 private:
  Meeting find_meeting(Selector32 selector) const {
    Meeting found;
    for (uint32_t place : selectors_.places_of(selector)) {
      auto here = selectors_by_place_.find(place);
      if (here != selectors_by_place_.end())
        found.selectors.insert(found.selectors.end(), here->second.begin(), here->second.end());
    }
    std::ranges::sort(found.selectors);
    found.selectors.erase(std::unique(found.selectors.begin(), found.selectors.end()), found.selectors.end());
    for (Selector32 met : found.selectors) found.demand_count += demands_of(met).size();
    return found;
  }

  const Selectors& selectors_;
  std::unordered_map<Selector32, std::vector<uint32_t>> demands_by_selector_;
  std::unordered_map<uint32_t, std::vector<Selector32>> selectors_by_place_;
  std::unordered_map<Selector32, Meeting> meetings_;
};

}  // namespace

Conflict find_mtls_conflict(const Policy& policy, const Selectors& selectors,
                            const std::vector<Coverage>& coverages) {
  auto asks_for = [&](MtlsMode mode) {
    return std::ranges::any_of(policy.rules, [&](const Rule& r) { return r.mtls == mode; });
  };
  if (!asks_for(MtlsMode::kEndToEnd) || !asks_for(MtlsMode::kRelay)) return std::nullopt;

  auto end_to_end = demands_for(MtlsMode::kEndToEnd, policy, coverages);
  auto relay = demands_for(MtlsMode::kRelay, policy, coverages);
  Side sources(selectors, relay, &Demand::source), destinations(selectors, relay, &Demand::destination);
  for (const Demand& demand : end_to_end) {
    const auto& from = sources.meeting(demand.source);
    const auto& to = destinations.meeting(demand.destination);
    bool by_source = from.demand_count <= to.demand_count;  // walk the shorter list, look up the other side
    for (Selector32 met : by_source ? from.selectors : to.selectors) {
      for (uint32_t index : by_source ? sources.demands_of(met) : destinations.demands_of(met)) {
        const Demand& other = relay[index];
        bool meets = by_source ? std::ranges::binary_search(to.selectors, other.destination)
                               : std::ranges::binary_search(from.selectors, other.source);
        if (!meets || other.tier != demand.tier) continue;
        if (auto conflict = overlap(demand.coverages, other.coverages)) return conflict;
      }
    }
  }
  return std::nullopt;
}

}  // namespace bulkhead
