// What a policy lets pass in clear.
#pragma once

#include <vector>

#include "base/clock.h"
#include "bulkhead.pb.h"
#include "config/policy.h"

namespace bulkhead {

/// The allows that ask for no mTLS and hold at `now`, in their order. A deny, or an allow that asks for more,
/// may still take part of what they cover away.
std::vector<v1::ClearRule> clear_rules(const Policy& policy, WallTime now);

/// "tcp/443", "tcp/8000-8099", "udp", ...; "any" for what that stands for.
std::vector<std::string> service_texts(const std::vector<ServiceRange>& services);
/// "any", "web, app", "tier: frontend".
std::string selector_text(const Selector& selector);

}  // namespace bulkhead
