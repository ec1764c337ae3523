// Root is only what the control plane may be started with, never what it runs as.
#pragma once

#include <sys/types.h>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/gateway.h"

namespace bulkhead {

/// Started as root: makes the directories that the configuration names, gives them to `user`, and becomes
/// that user for good. Started as anyone else: stays that. Either way no privilege can be gained afterwards,
/// and no other process of the user, of which the dataplane may be one, can read or change this one's memory.
/// Errors: kNotFound for a user that doesn't exist, kInvalid for one that is root; directories that can't be
/// made.
Expected<void> become_unprivileged(const GatewayConfig& config, const std::string& user);

}  // namespace bulkhead
