// Names behind the numbers in flow records, of the policies that were in force when they were written.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/types.h"
#include "contract/events.h"
#include "controlplane/compiler/explain.h"

namespace bulkhead {

/// The names of one published policy. Immutable.
struct PolicyNames {
  uint64_t generation = 0;                             ///< that published it
  uint32_t image_generation = 0;                       ///< low 32 bits, as flow records have it
  std::vector<std::string> rules;                      ///< by RuleIndex
  std::unordered_map<uint16_t, std::string> segments;  ///< by tag
  std::shared_ptr<const WorkloadNames> workloads;      ///< by Endpoint::workload; the policy's own
  size_t memory_bytes = 0;                             ///< about

  std::string_view rule(uint32_t index) const;
  std::string_view segment(uint32_t identity) const;
  std::string_view workload(uint32_t number) const;
};

/// The last policies' names: a flow may outlive several. Bounded in count and memory, but never fewer than
/// the last two. Thread: any.
class NameHistory {
 public:
  static constexpr size_t kMaxPolicies = 64;
  static constexpr size_t kMaxBytes = size_t{64} << 20;

  /// Called before the policy is published, so that no record comes before its names.
  void add(uint64_t generation, uint64_t image_generation, const ExplainablePolicy& policy);
  /// The names for a record; nullptr where that policy isn't known (any more).
  std::shared_ptr<const PolicyNames> of(const FlowRecord& record) const;
  /// The names of the newest policy; nullptr: none yet.
  std::shared_ptr<const PolicyNames> newest() const;

 private:
  mutable std::mutex mutex_;
  std::deque<std::shared_ptr<const PolicyNames>> policies_;  ///< by generation
  size_t bytes_ = 0;
};

}  // namespace bulkhead
