// Runs the `tests:` of a policy: for `bulkhead test`, and before a reload is accepted.
#pragma once

#include <string>
#include <vector>

#include "controlplane/compiler/explain.h"

namespace bulkhead {

/// A test whose expectation the policy doesn't meet.
struct TestFailure {
  PolicyTest test;
  std::string message;      ///< "expected allow, got deny (policy_denied)"
  bool judged = true;       ///< false: an end couldn't be found, `explanation` is empty
  Explanation explanation;  ///< why the verdict is what it is
};

/// Judges every test as the dataplane would, at its `at:`, or at `now`.
/// Input:  `policy` compiled with wall_as_boot, since tests name instants of UTC.
/// Output: the failures, in the tests' order; none: all of them hold.
std::vector<TestFailure> failing_policy_tests(const ExplainablePolicy& policy, WallTime now);

/// "FILE:LINE:COLUMN: error: test 10.1.0.5 -> web, tcp/22: expected …", as `check` writes its errors.
Diagnostic diagnostic_of(const TestFailure& failure);

}  // namespace bulkhead
