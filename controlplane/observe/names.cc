#include "controlplane/observe/names.h"

namespace bulkhead {

std::string_view PolicyNames::rule(uint32_t index) const {
  return index < rules.size() ? std::string_view(rules[index]) : std::string_view{};
}
std::string_view PolicyNames::segment(uint32_t identity) const {
  auto found = segments.find(tag_of(IdentityId{identity}).value);
  return found != segments.end() ? std::string_view(found->second) : std::string_view{};
}
std::string_view PolicyNames::workload(uint32_t number) const {
  return workloads != nullptr ? workloads->name(number) : std::string_view{};
}

void NameHistory::add(uint64_t generation, uint64_t image_generation, const ExplainablePolicy& policy) {
  auto names = std::make_shared<PolicyNames>();
  names->generation = generation;
  names->image_generation = static_cast<uint32_t>(image_generation);
  for (const RuleRecord& rule : policy.view.rules) names->rules.emplace_back(policy.view.text(rule.name));
  for (const SegmentRecord& segment : policy.view.segments)
    names->segments.emplace(segment.tag, policy.view.text(segment.name));
  names->segments.try_emplace(kTagUnknown.value, "unknown");
  names->segments.try_emplace(kTagGateway.value, "gateway");
  names->workloads = policy.compiled.workloads;
  names->memory_bytes = names->workloads->memory_bytes();
  for (const std::string& name : names->rules) names->memory_bytes += sizeof name + name.capacity();

  std::lock_guard lock(mutex_);
  while (!policies_.empty() &&
         policies_.back()->generation >= generation) {  // a publish that was refused, or another dataplane
    bytes_ -= policies_.back()->memory_bytes;
    policies_.pop_back();
  }
  bytes_ += names->memory_bytes;
  policies_.push_back(std::move(names));
  while (policies_.size() > 2 && (policies_.size() > kMaxPolicies || bytes_ > kMaxBytes)) {
    bytes_ -= policies_.front()->memory_bytes;
    policies_.pop_front();
  }
}

std::shared_ptr<const PolicyNames> NameHistory::of(const FlowRecord& record) const {
  std::lock_guard lock(mutex_);
  for (auto names = policies_.rbegin(); names != policies_.rend(); ++names)
    if ((*names)->generation <= record.generation && (*names)->image_generation == record.image_generation)
      return *names;
  return nullptr;
}

std::shared_ptr<const PolicyNames> NameHistory::newest() const {
  std::lock_guard lock(mutex_);
  return policies_.empty() ? nullptr : policies_.back();
}

}  // namespace bulkhead
