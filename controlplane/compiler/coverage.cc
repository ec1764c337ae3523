#include "controlplane/compiler/coverage.h"

#include <algorithm>
#include <tuple>

namespace bulkhead {

namespace {

/// Up to so many pairs of segments a rule is written out. Larger lists become selectors of their own, which
/// cost each decision another look-up.
constexpr size_t kMostPairsWrittenOut = 64;
constexpr size_t kMostCoverages = size_t{1} << 27;

struct Stretch {
  uint32_t first;
  uint32_t last;
};

/// Appends the range, but no tunnel's UDP port that isn't named exactly (an allow or ask).
void append_without_tunnels(const ServiceRange& range, std::vector<Stretch>& stretches) {
  uint32_t first = range.first.value;
  for (uint16_t port : kTunnelUdpPorts) {
    uint32_t hole = service_key(IpProto::kUdp, port).value;
    if (hole < first || hole > range.last.value) continue;
    if (first < hole) stretches.push_back({first, hole - 1});
    first = hole + 1;
  }
  if (first <= range.last.value) stretches.push_back({first, range.last.value});
}

/// A rule's services as disjoint stretches, ascending.
std::vector<Stretch> stretches_of(const Rule& rule) {
  std::vector<Stretch> stretches;
  for (const ServiceRange& range : rule.services) {
    if (rule.action == Action::kDeny || range.first == range.last) {
      stretches.push_back({range.first.value, range.last.value});
    } else {
      append_without_tunnels(range, stretches);
    }
  }
  std::ranges::sort(stretches, {}, &Stretch::first);
  std::vector<Stretch> joined;
  for (const Stretch& stretch : stretches) {
    if (!joined.empty() && stretch.first <= uint64_t{joined.back().last} + 1) {
      joined.back().last = std::max(joined.back().last, stretch.last);
    } else {
      joined.push_back(stretch);
    }
  }
  return joined;
}

class Coverer {
 public:
  explicit Coverer(Selectors& selectors) : selectors_(selectors) {}

  Expected<> add(uint32_t index, const Rule& rule) {
    auto from = selectors_.set_of(rule.from);
    if (!from) return with_context(from.error(), described(rule) + ", `from`");
    auto to = selectors_.set_of(rule.to);
    if (!to) return with_context(to.error(), described(rule) + ", `to`");
    size_t from_size = weight_of(*from), to_size = weight_of(*to);
    if (from_size == 0 || to_size == 0) return {};

    auto stretches = stretches_of(rule);
    if (from_size * to_size > kMostPairsWrittenOut) {
      append(selectors_.number_of_set(*from), selectors_.number_of_set(*to), stretches, index);
    } else {
      for (uint32_t source : numbers_of(*from, from_numbers_))
        for (uint32_t destination : numbers_of(*to, to_numbers_))
          append(source, destination, stretches, index);
    }
    if (coverages_.size() > kMostCoverages)
      return fail(ErrorCode::kExhausted,
                  described(rule) + ": the policy's rules and services are too many for one image");
    return {};
  }
  std::vector<Coverage> take() {
    std::ranges::sort(coverages_, {},
                      [](const Coverage& c) { return std::tuple(c.pair(), c.first_key, c.rule); });
    return std::move(coverages_);
  }

 private:
  size_t weight_of(Selectors::SetId set) const {
    return selectors_.is_any(set) ? 1 : selectors_.places_in(set).size();
  }

  std::span<const uint32_t> numbers_of(Selectors::SetId set, std::vector<uint32_t>& numbers) {
    numbers.clear();
    if (selectors_.is_any(set)) {
      numbers.push_back(kSelectorAny);
    } else {
      std::vector<uint32_t> places(selectors_.places_in(set).begin(), selectors_.places_in(set).end());
      for (uint32_t place : places) numbers.push_back(selectors_.number_of_place(place));
    }
    return numbers;
  }

  void append(uint32_t source, uint32_t destination, const std::vector<Stretch>& stretches, uint32_t rule) {
    for (const Stretch& stretch : stretches)
      coverages_.push_back({source, destination, stretch.first, stretch.last, rule});
  }

  Selectors& selectors_;
  std::vector<Coverage> coverages_;
  std::vector<uint32_t> from_numbers_, to_numbers_;
};

}  // namespace

std::string described(const Rule& rule) {
  return rule.where.file + ":" + std::to_string(rule.where.line) + ": rule '" + rule.name + "'";
}

Expected<std::vector<Coverage>> cover(const Policy& policy, Selectors& selectors) {
  Coverer coverer(selectors);
  for (uint32_t index = 0; index < policy.rules.size(); ++index)
    if (auto added = coverer.add(index, policy.rules[index]); !added) return std::unexpected(added.error());
  return coverer.take();
}

}  // namespace bulkhead
