// From policy to the identities that the mTLS relay may show and accept.
#pragma once

#include "config/policy.h"
#include "contract/relay_identities.h"
#include "controlplane/compiler/workload_names.h"

namespace bulkhead {

/// Every segment that policy defines with its SPIFFE patterns and relay_id, and every member that has an ID
/// of its own, by its workload's number. `generation`: the policy image's that both belong to. Throws
/// std::bad_alloc.
IdentitySet identities_of(const Policy& policy, const WorkloadNames& workloads, uint64_t generation);

}  // namespace bulkhead
