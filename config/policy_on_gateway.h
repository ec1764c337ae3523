// What a policy says of one gateway's ports and addresses, checked against that gateway.
#pragma once

#include "config/policy.h"
#include "contract/settings.h"

namespace bulkhead {

/// Adds what is wrong with the policy on this gateway. Errors: a member bound to a port that the gateway
/// doesn't have, a member that is one of the gateway's own addresses; then the policy goes. Warnings: a
/// member bound to a port whose `sources` don't hold it, a rule that asks for an mTLS relay where there is
/// none. Settings without ports are no gateway in particular: no relay is missing. Cost: linear in members
/// and rules.
void check_on_gateway(LoadedPolicy& loaded, const DataplaneSettings& settings);

}  // namespace bulkhead
