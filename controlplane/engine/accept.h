// From a reading of the policy directory to a policy that may be enforced, or to what is wrong with it.
#pragma once

#include <memory>

#include "config/policy.h"
#include "controlplane/compiler/explain.h"
#include "controlplane/engine/deadlines.h"

namespace bulkhead {

/// A policy that may be enforced (its members are dropped: the endpoints stand for them), or nullptr and at
/// least one error. Warnings come either way.
struct AcceptedPolicy {
  std::shared_ptr<const ExplainablePolicy> policy;
  Diagnostics diagnostics;
  bool machine_short = false;  ///< refused for what may pass, so read again
};

/// Whether some rule has `after` or `until`.
bool depends_on_time(const Policy& policy);

/// Compiles it by the latest look at the clock, runs its `tests:`, and keeps what its deadlines count from:
/// all of it, or nothing. Where that can't be kept, only allows with deadlines that `in_place` lacks are a
/// reason to refuse it: to take permissions away needs no disk.
/// Input:  `now`: UTC, for tests without `at:`. `in_place`: the policy that was accepted last; nullptr: none.
AcceptedPolicy accept_policy(LoadedPolicy loaded, const CompileTarget& target, Deadlines& deadlines,
                             WallTime now, const Policy* in_place);

}  // namespace bulkhead
