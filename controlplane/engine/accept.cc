#include "controlplane/engine/accept.h"

#include <algorithm>
#include <new>
#include <set>
#include <tuple>

#include "controlplane/compiler/policy_test.h"

namespace bulkhead {
namespace {

void add_error(Diagnostics& diagnostics, const Policy& policy, const Error& error) {
  Location where{policy.files.empty() ? std::string("policy") : policy.files.front(), 0, 0};
  diagnostics.push_back({Severity::kError, where, error.message});
}

/// It doesn't compile. `policy`: whose first file is named.
void refuse(AcceptedPolicy& result, const Policy& policy, const Error& error) {
  result.machine_short = error.code == ErrorCode::kSystem;
  add_error(result.diagnostics, policy, error);
}

void add_failures(AcceptedPolicy& result, const ExplainablePolicy& policy, WallTime now) {
  for (const TestFailure& failure : failing_policy_tests(policy, now))
    result.diagnostics.push_back(diagnostic_of(failure));
}

/// Tests speak UTC, so a policy with deadlines is compiled once more for them, on that clock.
void run_tests(AcceptedPolicy& result, const ExplainablePolicy& policy, const CompileTarget& target,
               WallTime now) {
  if (policy.policy.tests.empty()) return;
  if (!depends_on_time(policy.policy)) return add_failures(result, policy, now);
  auto on_utc = make_explainable(policy.policy, target, wall_as_boot);
  on_utc ? add_failures(result, **on_utc, now) : refuse(result, policy.policy, on_utc.error());
}

/// Whether an allow that decides has a deadline.
bool is_timed_grant(const Rule& rule) {
  return rule.action == Action::kAllow && !rule.audit && (rule.after || rule.until);
}

/// Where time is all that bounds an allow, and `in_place` doesn't have that already. A deny with a deadline
/// that a restart may forget is better than none.
std::vector<Location> new_timed_grants(const Policy& policy, const Policy* in_place) {
  auto times = [](const Rule& rule) { return std::tuple(rule.name, rule.after, rule.until); };
  std::set<decltype(times(std::declval<Rule>()))> known;
  if (in_place != nullptr)
    for (const Rule& rule : in_place->rules)
      if (is_timed_grant(rule)) known.insert(times(rule));
  std::vector<Location> places;
  for (const Rule& rule : policy.rules)
    if (is_timed_grant(rule) && !known.contains(times(rule))) places.push_back(rule.where);
  return places;
}

/// What deadlines count from has to outlive this process before anyone enforces them.
Diagnostics keep_deadlines(const Policy& policy, const Policy* in_place, Deadlines& deadlines) {
  Diagnostics refused;
  if (!depends_on_time(policy)) return refused;
  auto kept = deadlines.keep();
  if (kept) return refused;
  for (const Location& where : new_timed_grants(policy, in_place))
    refused.push_back({Severity::kError, where,
                       "this allow is new and bounded by time, which can't be kept in controlplane.state: " +
                           kept.error().message +
                           "; make room there, or leave the rule out: the rest is enforced"});
  return refused;
}

AcceptedPolicy accept(LoadedPolicy loaded, const CompileTarget& target, Deadlines& deadlines, WallTime now,
                      const Policy* in_place) {
  AcceptedPolicy result{nullptr, std::move(loaded.diagnostics), loaded.machine_short};
  if (!loaded.policy) return result;

  Policy for_messages;
  for_messages.files = loaded.policy->files;
  auto compiled = make_explainable(std::move(*loaded.policy), target,
                                   [&](Turn turn, WallTime time) { return deadlines.convert(turn, time); });
  if (!compiled) {
    refuse(result, for_messages, compiled.error());
    return result;
  }
  run_tests(result, **compiled, target, now);
  if (has_errors(result.diagnostics)) return result;
  for (Diagnostic& refusal : keep_deadlines((*compiled)->policy, in_place, deadlines))
    result.diagnostics.push_back(std::move(refusal));
  if (has_errors(result.diagnostics)) return result;
  (*compiled)->drop_members();
  result.policy = std::move(*compiled);
  return result;
}

}  // namespace

bool depends_on_time(const Policy& policy) {
  return std::ranges::any_of(policy.rules, [](const Rule& rule) { return rule.after || rule.until; });
}

AcceptedPolicy accept_policy(LoadedPolicy loaded, const CompileTarget& target, Deadlines& deadlines,
                             WallTime now, const Policy* in_place) {
  try {
    return accept(std::move(loaded), target, deadlines, now, in_place);
  } catch (const std::bad_alloc&) {
    AcceptedPolicy refused;
    add_error(refused.diagnostics, {}, {ErrorCode::kSystem, "memory ran out while the policy was checked"});
    refused.machine_short = true;
    return refused;
  }
}

}  // namespace bulkhead
