// Members of segments, as endpoints of one gateway.
#pragma once

#include <vector>

#include "base/error.h"
#include "controlplane/compiler/compile.h"

namespace bulkhead {

struct Bindings {
  std::vector<Endpoint> endpoints;  ///< sorted by (address, bits)
  WorkloadNames workloads;          ///< by Endpoint::workload
};

/// Makes the endpoints: every member, and the gateway's own addresses.
/// Errors: kInvalid with FILE:LINE for a port that this gateway doesn't have, a prefix that stands twice, and
/// a member that is one of the gateway's own addresses.
Expected<Bindings> bind_members(const Policy& policy, const CompileTarget& target);

}  // namespace bulkhead
