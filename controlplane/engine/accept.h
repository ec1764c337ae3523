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
};

/// Compiles it, runs its `tests:`, and keeps its deadlines: all of it, or nothing.
/// Input:  `now`: UTC, for tests without `at:`.
AcceptedPolicy accept_policy(LoadedPolicy loaded, const CompileTarget& target, Deadlines& deadlines,
                             WallTime now);

}  // namespace bulkhead
