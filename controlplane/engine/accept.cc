#include "controlplane/engine/accept.h"

#include <algorithm>
#include <new>

#include "controlplane/compiler/policy_test.h"

namespace bulkhead {
namespace {

void add_error(Diagnostics& diagnostics, const Policy& policy, const Error& error) {
  Location where{policy.files.empty() ? std::string("policy") : policy.files.front(), 0, 0};
  diagnostics.push_back({Severity::kError, where, error.message});
}

bool depends_on_time(const Policy& policy) {
  return std::ranges::any_of(policy.rules, [](const Rule& rule) { return rule.after || rule.until; });
}

Diagnostics failures_of(const ExplainablePolicy& policy, WallTime now) {
  Diagnostics failures;
  for (const TestFailure& failure : failing_policy_tests(policy, now))
    failures.push_back(diagnostic_of(failure));
  return failures;
}

/// Tests speak UTC, so a policy with deadlines is compiled once more for them, on that clock.
Diagnostics run_tests(const ExplainablePolicy& policy, const CompileTarget& target, WallTime now) {
  if (policy.policy.tests.empty()) return {};
  if (!depends_on_time(policy.policy)) return failures_of(policy, now);
  auto on_utc = make_explainable(policy.policy, target, wall_as_boot);
  if (on_utc) return failures_of(**on_utc, now);
  Diagnostics failed;
  add_error(failed, policy.policy, on_utc.error());
  return failed;
}

AcceptedPolicy accept(LoadedPolicy loaded, const CompileTarget& target, Deadlines& deadlines, WallTime now) {
  AcceptedPolicy result{nullptr, std::move(loaded.diagnostics)};
  if (!loaded.policy) return result;

  deadlines.begin();
  Policy for_messages;
  for_messages.files = loaded.policy->files;
  auto compiled = make_explainable(std::move(*loaded.policy), target,
                                   [&](std::string_view rule, DeadlineKind kind, WallTime time) {
                                     return deadlines.convert(rule, kind, time);
                                   });
  if (!compiled) {
    add_error(result.diagnostics, for_messages, compiled.error());
    return result;
  }
  for (Diagnostic& failure : run_tests(**compiled, target, now))
    result.diagnostics.push_back(std::move(failure));
  if (has_errors(result.diagnostics)) return result;
  if (auto kept = deadlines.keep(); !kept) {
    add_error(result.diagnostics, for_messages,
              with_context(kept.error(), "its deadlines can't be kept, so it isn't enforced").error());
    return result;
  }
  (*compiled)->drop_members();
  result.policy = std::move(*compiled);
  return result;
}

}  // namespace

AcceptedPolicy accept_policy(LoadedPolicy loaded, const CompileTarget& target, Deadlines& deadlines,
                             WallTime now) {
  try {
    return accept(std::move(loaded), target, deadlines, now);
  } catch (const std::bad_alloc&) {
    AcceptedPolicy refused;
    add_error(refused.diagnostics, {},
              {ErrorCode::kExhausted, "memory ran out while the policy was checked"});
    return refused;
  }
}

}  // namespace bulkhead
