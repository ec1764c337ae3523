// Why a verdict is what it is, in a form that tables and JSON are made from. The verdict itself is
// evaluate()'s.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/policy.h"
#include "controlplane/compiler/compile.h"
#include "policy/evaluate.h"

namespace bulkhead {

struct ExplainedEnd {
  std::string address;  ///< empty: any member of the segment
  std::string segment;
  SegmentTag tag;
  IdentitySource source = IdentitySource::kNone;
  std::string binding;           ///< the prefix that gave the identity; empty: none
  std::string workload, spiffe;  ///< where known
  IdentityId identity = kIdentityUnknown;
  bool contained = false;
};

struct LostRule {
  std::string rule;
  Tier tier;
  std::string why;  ///< "a higher tier decided", "deny beats allow", "ran out at …", "holds from …", "audit
                    ///< only", "another rule stands first", "an end is in quarantine"
};

struct Explanation {
  Decision decision;
  ExplainedEnd source, destination;
  ServiceKey service;
  std::string rule;  ///< empty: the implicit deny
  Location rule_where;
  std::optional<WallTime> until;  ///< of the decision
  std::vector<std::string> sni;   ///< mtls end_to_end: the server names that pass; empty: any, and none
  std::vector<LostRule> lost;     ///< every other rule that names this pair and service, in order
};

/// A compiled policy with what explain needs beside it. Immutable; any thread.
struct ExplainablePolicy {
  Policy policy;
  CompiledPolicy compiled;
  ImageView view;  ///< of compiled.image
  EndpointTable endpoints;
  std::vector<Validity> validity;      ///< by RuleIndex
  std::vector<uint64_t> member_count;  ///< by place in Policy::segments

  /// Frees the segments' members, which `endpoints` stand for from here on: of a million they are 170 MB.
  void drop_members();
};
/// Errors: compile()'s.
Expected<std::unique_ptr<ExplainablePolicy>> make_explainable(Policy policy, const CompileTarget& target,
                                                              const DeadlineClock& deadlines);
/// The same policy with its deadlines converted anew; its members may have been dropped.
/// Errors: kSystem where memory ran out.
Expected<std::unique_ptr<ExplainablePolicy>> with_deadlines(const ExplainablePolicy& policy,
                                                            const DeadlineClock& deadlines);

/// The ends of a question: an address as a source or as a destination, or any member of a segment (`unknown`
/// and `gateway` too). Errors: kNotFound for a segment that the policy doesn't have.
ExplainedEnd source_end(const ExplainablePolicy& policy, const IpAddress& address);
ExplainedEnd destination_end(const ExplainablePolicy& policy, const IpAddress& address);
Expected<ExplainedEnd> segment_end(const ExplainablePolicy& policy, std::string_view segment);

/// The decision alone: what explain() explains.
Decision decide(const ExplainablePolicy& policy, const ExplainedEnd& from, const ExplainedEnd& to,
                ServiceKey service, BootTime now);

/// `now` is on the clock that the deadlines were compiled for; `wall_now` is the same instant in UTC, for the
/// texts.
Explanation explain(const ExplainablePolicy& policy, const IpAddress& from, const IpAddress& to,
                    ServiceKey service, BootTime now, WallTime wall_now);
Explanation explain(const ExplainablePolicy& policy, ExplainedEnd from, ExplainedEnd to, ServiceKey service,
                    BootTime now, WallTime wall_now);

/// "allowed", or the drop reason that packets get: `of_deny` where it is one; an ask's is ask_timeout, since
/// this version has nobody to ask.
std::string_view reason_name(Verdict verdict, DropReason of_deny);
/// The words for an explanation's parts, the same in every tool: "allow", "guardrail", "relay", "binding".
std::string_view name_of(Verdict verdict);
std::string_view name_of(Action action);
std::string_view name_of(Tier tier);
std::string_view name_of(MtlsMode mode);
std::string_view name_of(IdentitySource source);

}  // namespace bulkhead
