#include "controlplane/observe/rule_hits.h"

#include <algorithm>

namespace bulkhead {

RuleHitCounts read_rule_hits(const DataplaneClient& client) {
  RuleHitCounts counts(client.rule_count());
  for (size_t rule = 0; rule < counts.size(); ++rule)
    counts[rule] = client.rule_hits(RuleIndex{static_cast<uint32_t>(rule)});
  return counts;
}

void RetiredHits::add(const ImageView& image, const RuleHitCounts& counts, const ImageView& next) {
  std::lock_guard lock(mutex_);
  for (size_t rule = 0; rule < std::min(counts.size(), image.rules.size()); ++rule) {
    if (counts[rule].decided == 0 && counts[rule].audited == 0) continue;
    DataplaneClient::Hits& sum = sums_[key(image, image.rules[rule])];
    sum.decided += counts[rule].decided;
    sum.audited += counts[rule].audited;
  }
  if (sums_.empty()) return;
  std::unordered_map<std::string, DataplaneClient::Hits> kept;
  for (const RuleRecord& rule : next.rules)
    if (auto sum = sums_.find(key(next, rule)); sum != sums_.end()) kept.insert(*sum);
  sums_ = std::move(kept);
}

DataplaneClient::Hits RetiredHits::of(const ImageView& image, RuleIndex rule) const {
  std::lock_guard lock(mutex_);
  if (rule.value >= image.rules.size() || sums_.empty()) return {};
  auto sum = sums_.find(key(image, image.rules[rule.value]));
  return sum != sums_.end() ? sum->second : DataplaneClient::Hits{};
}

}  // namespace bulkhead
