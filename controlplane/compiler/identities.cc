#include "controlplane/compiler/identities.h"

namespace bulkhead {

IdentitySet identities_of(const Policy& policy, const WorkloadNames& workloads, uint64_t generation) {
  IdentitySet set{.generation = generation, .segments = {}, .workloads = {}};
  for (const Segment& segment : policy.segments)
    set.segments.push_back({segment.tag, segment.name, segment.spiffe, segment.relay_id});
  workloads.for_each([&](uint32_t number, std::string_view text) {
    std::string_view id = describe_workload(text).spiffe;
    if (!id.empty()) set.workloads.push_back({number, std::string(id)});
  });
  return set;
}

}  // namespace bulkhead
