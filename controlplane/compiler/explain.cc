#include "controlplane/compiler/explain.h"

#include <algorithm>
#include <new>

namespace bulkhead {

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAllow:
      return "allow";
    case Verdict::kAsk:
      return "ask";
    case Verdict::kDeny:
      break;
  }
  return "deny";
}

std::string_view name_of(Action action) {
  switch (action) {
    case Action::kAllow:
      return "allow";
    case Action::kAsk:
      return "ask";
    case Action::kDeny:
      break;
  }
  return "deny";
}

std::string_view name_of(Tier tier) {
  switch (tier) {
    case Tier::kContainment:
      return "containment";
    case Tier::kGuardrail:
      return "guardrail";
    case Tier::kSegment:
      return "segment";
    case Tier::kBaseline:
      return "baseline";
    case Tier::kDefault:
      break;
  }
  return "default";
}

std::string_view name_of(MtlsMode mode) {
  switch (mode) {
    case MtlsMode::kEndToEnd:
      return "end_to_end";
    case MtlsMode::kRelay:
      return "relay";
    case MtlsMode::kNone:
      break;
  }
  return "none";
}

std::string_view name_of(IdentitySource source) {
  switch (source) {
    case IdentitySource::kBinding:
      return "binding";
    case IdentitySource::kTag:
      return "tag";
    case IdentitySource::kNone:
      break;
  }
  return "none";
}

std::string_view reason_name(Verdict verdict, DropReason of_deny) {
  switch (verdict) {
    case Verdict::kAllow:
      return "allowed";
    case Verdict::kAsk:
      return name_of(DropReason::k_ask_timeout);
    case Verdict::kDeny:
      break;
  }
  return name_of(of_deny);
}

/// Each rule's instants on the image's clock, rules included of which the image needs no entry.
static std::vector<Validity> validity_of_rules(const Policy& policy, const DeadlineClock& deadlines) {
  std::vector<Validity> validity(policy.rules.size());
  for (size_t i = 0; i < validity.size(); ++i) validity[i] = validity_of(policy.rules[i], deadlines);
  return validity;
}

/// What follows from the rules' instants.
static Expected<> put_image(ExplainablePolicy& policy, ImageBuffer image, const DeadlineClock& deadlines) {
  policy.compiled.image = std::move(image);
  auto view = read_image(policy.compiled.image.span());
  if (!view) return with_context(view.error(), "the compiled image");
  policy.view = std::move(*view);
  policy.validity = validity_of_rules(policy.policy, deadlines);
  return {};
}

static Expected<std::unique_ptr<ExplainablePolicy>> explainable(Policy policy, const CompileTarget& target,
                                                                const DeadlineClock& deadlines) {
  auto compiled = compile(policy, target, deadlines);
  if (!compiled) return std::unexpected(compiled.error());
  auto result = std::make_unique<ExplainablePolicy>();
  result->policy = std::move(policy);
  result->compiled = std::move(*compiled);
  if (auto put = put_image(*result, std::move(result->compiled.image), deadlines); !put)
    return std::unexpected(put.error());
  result->endpoints = EndpointTable(result->compiled.endpoints.size());
  for (const Endpoint& endpoint : result->compiled.endpoints)
    if (!result->endpoints.put(endpoint)) return fail(ErrorCode::kSystem, "no memory for the endpoints");
  for (const Segment& segment : result->policy.segments)
    result->member_count.push_back(segment.members.size());
  return result;
}

Expected<std::unique_ptr<ExplainablePolicy>> make_explainable(Policy policy, const CompileTarget& target,
                                                              const DeadlineClock& deadlines) {
  try {
    return explainable(std::move(policy), target, deadlines);
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kSystem, "memory ran out while the policy was compiled");
  }
}

Expected<std::unique_ptr<ExplainablePolicy>> with_deadlines(const ExplainablePolicy& policy,
                                                            const DeadlineClock& deadlines) {
  try {
    auto image = compile_image(policy.policy, deadlines);
    if (!image) return std::unexpected(image.error());
    auto result = std::make_unique<ExplainablePolicy>(policy);
    if (auto put = put_image(*result, std::move(*image), deadlines); !put)
      return std::unexpected(put.error());
    return result;
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kSystem, "memory ran out while deadlines were converted");
  }
}

void ExplainablePolicy::drop_members() {
  for (Segment& segment : policy.segments) std::vector<Member>().swap(segment.members);
}

static ExplainedEnd end_of(const ExplainablePolicy& policy, const IpAddress& address, const End& end) {
  ExplainedEnd result;
  result.address = to_string(address);
  result.segment = policy.view.segment_name(end.identity);
  result.tag = tag_of(end.identity);
  result.source = end.source;
  result.identity = end.identity;
  result.contained = end.contained;
  if (end.endpoint != nullptr) {
    result.binding = to_string(Prefix{end.endpoint->address, end.endpoint->bits});
    auto [name, spiffe] = describe_workload(policy.compiled.workloads->name(end.endpoint->workload));
    result.workload = name;
    result.spiffe = spiffe;
  }
  return result;
}

ExplainedEnd source_end(const ExplainablePolicy& policy, const IpAddress& address) {
  return end_of(policy, address, classify_source(policy.endpoints, Origin{address, kPortNone, 0, {}}));
}

ExplainedEnd destination_end(const ExplainablePolicy& policy, const IpAddress& address) {
  return end_of(policy, address, classify_destination(policy.endpoints, address));
}

Expected<ExplainedEnd> segment_end(const ExplainablePolicy& policy, std::string_view segment) {
  for (const SegmentRecord& record : policy.view.segments) {
    if (policy.view.text(record.name) != segment) continue;
    ExplainedEnd end;
    end.segment = segment;
    end.tag = SegmentTag{record.tag};
    end.identity = identity_of(end.tag);
    return end;
  }
  return fail(ErrorCode::kNotFound, "the policy has no segment '" + std::string(segment) + "'");
}

/// What is asked, as the rules' selectors see it.
struct Question {
  const Segment* source;  ///< nullptr: `unknown` or `gateway`
  const Segment* destination;
  std::string_view source_name, destination_name;
  ServiceKey service;
};

static const Segment* find_segment(const Policy& policy, std::string_view name) {
  for (const Segment& segment : policy.segments)
    if (segment.name == name) return &segment;
  return nullptr;
}

static bool names(const Rule& rule, const Question& q) {
  static const std::map<std::string, std::string> kNoLabels;
  return selects(rule.from, q.source_name, q.source ? q.source->labels : kNoLabels) &&
         selects(rule.to, q.destination_name, q.destination ? q.destination->labels : kNoLabels) &&
         covers(rule, q.service);
}

/// Why a rule that names the pair and the service isn't the one reported.
static std::string why_lost(const Rule& rule, const Validity& validity, const Decision& decision,
                            BootTime now) {
  if (rule.audit) return "audit only";
  if (now < validity.after) return "holds from " + (rule.after ? to_string(*rule.after) : "later");
  if (now >= validity.until) return "ran out at " + (rule.until ? to_string(*rule.until) : "an earlier time");
  if (decision.tier == Tier::kContainment) return "an end is in quarantine";
  if (decision.tier < rule.tier) return "a higher tier decided";
  if (static_cast<uint8_t>(decision.verdict) < static_cast<uint8_t>(rule.action))
    return std::string(name_of(decision.verdict)) + " beats " + std::string(name_of(rule.action));
  return "another rule stands first";
}

/// The allow's end as its rule writes it; where the clock of the image isn't UTC, so that rounding doesn't
/// show.
static WallTime wall_end(const ExplainablePolicy& policy, const Question& question, BootTime until,
                         BootTime now, WallTime wall_now) {
  for (size_t i = 0; i < policy.policy.rules.size(); ++i) {
    const Rule& rule = policy.policy.rules[i];
    if (policy.validity[i].until == until && rule.until && names(rule, question)) return *rule.until;
  }
  return WallTime{wall_now.ns + (until.ns - now.ns)};
}

/// The server names of all allows that take part in the decision; none where one of them has none.
static std::vector<std::string> server_names(const ExplainablePolicy& policy, const Question& question,
                                             const Decision& decision, BootTime now) {
  std::vector<std::string> all;
  for (size_t i = 0; i < policy.policy.rules.size(); ++i) {
    const Rule& rule = policy.policy.rules[i];
    bool holds = policy.validity[i].after <= now && now < policy.validity[i].until;
    if (rule.audit || rule.action != Action::kAllow || rule.tier != decision.tier || !holds ||
        rule.mtls != MtlsMode::kEndToEnd || !names(rule, question))
      continue;
    if (rule.sni.empty()) return {};
    all.insert(all.end(), rule.sni.begin(), rule.sni.end());
  }
  std::ranges::sort(all);
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

Decision decide(const ExplainablePolicy& policy, const ExplainedEnd& from, const ExplainedEnd& to,
                ServiceKey service, BootTime now) {
  const ImageView& view = policy.view;
  return judge(view, view.identity_index(from.identity), view.identity_index(to.identity),
               from.contained || to.contained, service, now);
}

Explanation explain(const ExplainablePolicy& policy, ExplainedEnd from, ExplainedEnd to, ServiceKey service,
                    BootTime now, WallTime wall_now) {
  Explanation e;
  e.decision = decide(policy, from, to, service, now);
  e.service = service;
  e.source = std::move(from);
  e.destination = std::move(to);
  Question question{find_segment(policy.policy, e.source.segment),
                    find_segment(policy.policy, e.destination.segment), e.source.segment,
                    e.destination.segment, service};
  if (e.decision.rule != kRuleNone) {
    e.rule = policy.view.rule_name(e.decision.rule);
    e.rule_where = policy.policy.rules[e.decision.rule.value].where;
  }
  if (e.decision.verdict == Verdict::kAllow && e.decision.until != kNever)
    e.until = wall_end(policy, question, e.decision.until, now, wall_now);
  if (e.decision.mtls == MtlsMode::kEndToEnd) e.sni = server_names(policy, question, e.decision, now);
  for (uint32_t i = 0; i < policy.policy.rules.size(); ++i) {
    const Rule& rule = policy.policy.rules[i];
    if (RuleIndex{i} == e.decision.rule || !names(rule, question)) continue;
    e.lost.push_back({rule.name, rule.tier, why_lost(rule, policy.validity[i], e.decision, now)});
  }
  return e;
}

Explanation explain(const ExplainablePolicy& policy, const IpAddress& from, const IpAddress& to,
                    ServiceKey service, BootTime now, WallTime wall_now) {
  return explain(policy, source_end(policy, from), destination_end(policy, to), service, now, wall_now);
}

}  // namespace bulkhead
