#include "controlplane/compiler/policy_test.h"

namespace bulkhead {

/// A test's end: an address, or any member of a segment.
static Expected<ExplainedEnd> end_named(const ExplainablePolicy& policy, const std::string& text,
                                        bool source) {
  auto member = segment_end(policy, text);
  auto address = parse_address(text);
  if (member || !address) return member;
  return source ? source_end(policy, *address) : destination_end(policy, *address);
}

/// "allow", "deny (policy_denied)".
static std::string verdict_text(const Decision& decision) {
  std::string text(name_of(decision.verdict));
  if (decision.verdict == Verdict::kDeny) text += " (" + std::string(name_of(decision.reason)) + ")";
  return text;
}

/// What is wrong with the decision; empty: nothing.
static std::string mismatch(const PolicyTest& test, const Decision& decision) {
  if (static_cast<uint8_t>(decision.verdict) != static_cast<uint8_t>(test.expect))
    return "expected " + std::string(name_of(test.expect)) + ", got " + verdict_text(decision);
  if (test.has_mtls && decision.verdict == Verdict::kAllow && decision.mtls != test.mtls)
    return "expected mtls " + std::string(name_of(test.mtls)) + ", got " +
           std::string(name_of(decision.mtls));
  return {};
}

std::vector<TestFailure> failing_policy_tests(const ExplainablePolicy& policy, WallTime now) {
  std::vector<TestFailure> failures;
  for (const PolicyTest& test : policy.policy.tests) {
    auto from = end_named(policy, test.from, true);
    auto to = end_named(policy, test.to, false);
    if (!from || !to) {
      failures.push_back({test, (from ? to : from).error().message, false, {}});
      continue;
    }
    WallTime at = test.at.value_or(now);
    std::string wrong = mismatch(test, decide(policy, *from, *to, test.service, BootTime{at.ns}));
    if (wrong.empty()) continue;
    failures.push_back(
        {test, std::move(wrong), true,
         explain(policy, std::move(*from), std::move(*to), test.service, BootTime{at.ns}, at)});
  }
  return failures;
}

Diagnostic diagnostic_of(const TestFailure& failure) {
  const PolicyTest& test = failure.test;
  return {Severity::kError, test.where,
          "test " + test.from + " -> " + test.to + ", " + to_string(test.service) + ": " + failure.message};
}

}  // namespace bulkhead
