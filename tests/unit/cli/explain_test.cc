#include "controlplane/compiler/explain.h"

#include <gtest/gtest.h>

#include "cli/explain_view.h"
#include "controlplane/compiler/policy_test.h"

namespace bulkhead {
namespace {

constexpr const char* kPolicy = R"(
segments:
  web: {tag: 100, members: [10.1.0.0/24], labels: {tier: frontend}}
  db: {tag: 200, members: [10.2.0.0/24]}
policies:
  - {name: web-calls-db, from: web, to: db, allow: [tcp/5432], until: 2030-01-31T00:00:00Z}
  - {name: web-calls-db-too, from: web, to: db, allow: [tcp]}
  - {name: later, from: web, to: db, allow: [tcp/5432], after: 2031-01-01T00:00:00Z}
  - {name: ran-out, from: web, to: db, allow: [tcp/5432, udp/53], until: 2020-01-01T00:00:00Z}
  - {name: watch, from: web, to: db, deny: [tcp/5432], audit: true}
  - {name: no-telnet, tier: guardrail, from: any, to: any, deny: [tcp/23]}
  - {name: fallback, tier: baseline, from: any, to: any, deny: [tcp]}
)";

WallTime at(const char* text) {
  return *parse_time(text);
}

std::unique_ptr<ExplainablePolicy> policy_of(const std::string& text) {
  LoadedPolicy loaded = load_policy_text({{"p.yaml", text}}, at("2029-01-01T00:00:00Z"));
  for (const Diagnostic& d : loaded.diagnostics)
    if (d.severity == Severity::kError) ADD_FAILURE() << to_string(d);
  if (!loaded.policy) return nullptr;
  auto policy = make_explainable(std::move(*loaded.policy), CompileTarget{}, wall_as_boot);
  if (!policy) ADD_FAILURE() << policy.error().message;
  return policy ? std::move(*policy) : nullptr;
}

Explanation ask(const ExplainablePolicy& policy, const char* from, const char* to, const char* service,
                const char* when = "2029-01-01T00:00:00Z") {
  WallTime now = at(when);
  return explain(policy, *parse_address(from), *parse_address(to), *parse_exact_service(service),
                 BootTime{now.ns}, now);
}

std::string why(const Explanation& e, std::string_view rule) {
  for (const LostRule& lost : e.lost)
    if (lost.rule == rule) return lost.why;
  return "not listed";
}

TEST(Explain, Allow_NamesRuleEndsAndBindings) {
  auto policy = policy_of(kPolicy);
  Explanation e = ask(*policy, "10.1.0.5", "10.2.0.9", "tcp/5432");
  EXPECT_EQ(e.decision.verdict, Verdict::kAllow);
  EXPECT_EQ(e.rule, "web-calls-db");
  EXPECT_EQ(e.rule_where.line, 6u);
  EXPECT_EQ(e.source.segment, "web");
  EXPECT_EQ(e.source.binding, "10.1.0.0/24");
  EXPECT_EQ(e.destination.tag, SegmentTag{200});
}

TEST(Explain, EveryRuleThatLost_SaysWhy) {
  auto policy = policy_of(kPolicy);
  Explanation e = ask(*policy, "10.1.0.5", "10.2.0.9", "tcp/5432");
  EXPECT_EQ(why(e, "web-calls-db-too"), "another rule stands first");
  EXPECT_EQ(why(e, "later"), "holds from 2031-01-01T00:00:00Z");
  EXPECT_EQ(why(e, "ran-out"), "ran out at 2020-01-01T00:00:00Z");
  EXPECT_EQ(why(e, "watch"), "audit only");
  EXPECT_EQ(why(e, "fallback"), "a higher tier decided");
  EXPECT_EQ(why(e, "no-telnet"), "not listed");
  EXPECT_EQ(e.lost.size(), 5u);
}

TEST(Explain, DenyInTheSameTier_BeatsAllow) {
  auto policy = policy_of(std::string(kPolicy) + "  - {name: stop, from: web, to: db, deny: [tcp/5432]}\n");
  Explanation e = ask(*policy, "10.1.0.5", "10.2.0.9", "tcp/5432");
  EXPECT_EQ(e.rule, "stop");
  EXPECT_EQ(why(e, "web-calls-db"), "deny beats allow");
}

TEST(Explain, Allow_EndsWithTheLastOfItsRules) {
  auto policy = policy_of(
      std::string(kPolicy).replace(std::string(kPolicy).find("allow: [tcp]"), 12, "allow: [tcp/99]"));
  Explanation e = ask(*policy, "10.1.0.5", "10.2.0.9", "tcp/5432");
  ASSERT_TRUE(e.until);
  EXPECT_EQ(to_string(*e.until), "2030-01-31T00:00:00Z");
}

TEST(Explain, OneUnboundedAllow_LeavesNoDeadline) {
  auto policy = policy_of(kPolicy);
  EXPECT_FALSE(ask(*policy, "10.1.0.5", "10.2.0.9", "tcp/5432").until);
}

TEST(Explain, OnlyRuleRanOut_IsGrantExpired) {
  auto policy = policy_of(kPolicy);
  Explanation e = ask(*policy, "10.1.0.5", "10.2.0.9", "udp/53");
  EXPECT_EQ(e.decision.reason, DropReason::k_grant_expired);
  EXPECT_EQ(e.rule, "");
}

TEST(Explain, WorkloadAndSpiffeId_AreBothNamed) {
  auto policy = policy_of(R"(
segments:
  web:
    tag: 100
    members:
      - {prefix: 10.1.0.7, workload: web-7, spiffe: "spiffe://corp.example/web/7"}
      - {prefix: 10.1.0.8, spiffe: "spiffe://corp.example/web/8"}
)");
  ExplainView view = view_of(ask(*policy, "10.1.0.7", "10.1.0.8", "tcp/1"));
  Json json = to_json(view);
  EXPECT_EQ(json["src"]["workload"], "web-7");
  EXPECT_EQ(json["src"]["spiffe"], "spiffe://corp.example/web/7");
  EXPECT_FALSE(json["dst"].contains("workload"));
  EXPECT_EQ(json["dst"]["spiffe"], "spiffe://corp.example/web/8");
  EXPECT_NE(to_text(view, Screen{}).find("bound by 10.1.0.7, web-7, spiffe://corp.example/web/7\n"),
            std::string::npos)
      << to_text(view, Screen{});
}

TEST(Explain, Ask_HasTheReasonThatPacketsGet) {
  auto policy = policy_of(std::string(kPolicy) + "  - {name: q, from: db, to: web, ask: [udp/53]}\n");
  ExplainView view = view_of(ask(*policy, "10.2.0.9", "10.1.0.5", "udp/53"));
  EXPECT_EQ(view.verdict, "ask");
  EXPECT_EQ(view.reason, "ask_timeout");
}

TEST(Explain, AddressWithoutBinding_IsUnknown) {
  auto policy = policy_of(kPolicy);
  Explanation e = ask(*policy, "192.0.2.1", "10.2.0.9", "udp/53");
  EXPECT_EQ(e.source.segment, "unknown");
  EXPECT_EQ(e.source.binding, "");
  EXPECT_EQ(e.decision.reason, DropReason::k_identity_unknown);
}

TEST(ExplainJson, Keys_StandInTheDocumentedOrder) {
  auto policy = policy_of(R"(
segments:
  web: {tag: 100, members: [10.1.0.0/24]}
  db: {tag: 200, members: [10.2.0.0/24]}
policies:
  - {name: web-calls-db, from: web, to: db, allow: [tcp/5432], until: 2030-01-31T00:00:00Z}
  - {name: baseline-deny, tier: baseline, from: any, to: any, deny: [any]}
)");
  EXPECT_EQ(
      json_line(to_json(view_of(ask(*policy, "10.1.0.5", "10.2.0.9", "tcp/5432")))),
      R"({"verdict":"allow","reason":"allowed","rule":"web-calls-db","tier":"segment","mtls":"none","until":"2030-01-31T00:00:00Z",)"
      R"("src":{"address":"10.1.0.5","segment":"web","tag":100,"source":"binding","binding":"10.1.0.0/24"},)"
      R"("dst":{"address":"10.2.0.9","segment":"db","tag":200,"source":"binding","binding":"10.2.0.0/24"},)"
      R"("service":"tcp/5432","lost":[{"rule":"baseline-deny","tier":"baseline","why":"a higher tier decided"}],"generation":1})"
      "\n");
}

TEST(ExplainText, ImplicitDeny_SaysSoInWords) {
  auto policy = policy_of(kPolicy);
  std::string text = to_text(view_of(ask(*policy, "10.2.0.9", "10.1.0.5", "udp/53")), Screen{});
  EXPECT_EQ(text,
            "verdict  deny  policy_denied: no rule allows it: the implicit deny\n"
            "from     10.2.0.9  db (tag 200), bound by 10.2.0.0/24\n"
            "to       10.1.0.5  web (tag 100), bound by 10.1.0.0/24\n"
            "service  udp/53\n"
            "rule     none: the implicit deny\n");
}

TEST(Explain, EndToEnd_NamesTheServersThatPass) {
  const std::string text = R"(
segments:
  web: {tag: 100, members: [10.1.0.0/24]}
  db: {tag: 200, members: [10.2.0.0/24]}
policies:
  - {name: one, from: web, to: db, allow: [tcp/443], mtls: end_to_end, sni: [b.example, "*.a.example"]}
  - {name: two, from: web, to: db, allow: [tcp], mtls: end_to_end, sni: [c.example, b.example]}
  - {name: clear, from: web, to: db, allow: [tcp/443]}
  - {name: other-tier, tier: baseline, from: web, to: db, allow: [tcp/443], mtls: end_to_end, sni: [d.example]}
)";
  ExplainView view = view_of(ask(*policy_of(text), "10.1.0.5", "10.2.0.9", "tcp/443"));
  EXPECT_EQ(to_json(view)["mtls"], "end_to_end");
  EXPECT_EQ(to_json(view)["sni"], Json({"*.a.example", "b.example", "c.example"}));
  EXPECT_NE(
      to_text(view, Screen{}).find("mtls     end_to_end, server name *.a.example, b.example, c.example\n"),
      std::string::npos);
  view =
      view_of(ask(*policy_of(text + "  - {name: any, from: web, to: db, allow: [tcp], mtls: end_to_end}\n"),
                  "10.1.0.5", "10.2.0.9", "tcp/443"));
  EXPECT_EQ(to_json(view)["sni"], Json::array());
  EXPECT_NE(to_text(view, Screen{}).find("mtls     end_to_end, any server name\n"), std::string::npos);
}

TEST(ExplainText, Reject_IsToldBesideTheReason) {
  auto policy = policy_of(std::string(kPolicy) +
                          "  - {name: no, from: db, to: web, deny: [udp/53], on_deny: reject}\n");
  std::string text = to_text(view_of(ask(*policy, "10.2.0.9", "10.1.0.5", "udp/53")), Screen{});
  EXPECT_EQ(text.substr(0, text.find('\n')),
            "verdict  deny  policy_explicit_deny: a rule denies it; answered, as on_deny: reject");
}

TEST(PolicyTests, Mtls_IsCompared) {
  const std::string text = R"(
segments:
  web: {tag: 100, members: [10.1.0.0/24]}
  db: {tag: 200, members: [10.2.0.0/24]}
policies: [{name: one, from: web, to: db, allow: [tcp/443], mtls: end_to_end}]
tests:
  - {from: web, to: db, service: tcp/443, expect: allow, mtls: )";
  EXPECT_TRUE(failing_policy_tests(*policy_of(text + "end_to_end}\n"), WallTime{0}).empty());
  auto failures = failing_policy_tests(*policy_of(text + "none}\n"), WallTime{0});
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].message, "expected mtls none, got end_to_end");
}

TEST(PolicyTests, ExpectationsThatHold_GiveNoFailure) {
  auto policy = policy_of(std::string(kPolicy) + R"(tests:
  - {from: 10.1.0.5, to: 10.2.0.9, service: tcp/5432, expect: allow}
  - {from: web, to: db, service: tcp/23, expect: deny}
  - {from: web, to: db, service: udp/53, at: 2019-01-01T00:00:00Z, expect: allow}
)");
  EXPECT_TRUE(failing_policy_tests(*policy, at("2029-01-01T00:00:00Z")).empty());
}

TEST(PolicyTests, AnotherVerdict_FailsWithItsExplanation) {
  auto policy =
      policy_of(std::string(kPolicy) + "tests:\n  - {from: web, to: db, service: tcp/23, expect: allow}\n");
  auto failures = failing_policy_tests(*policy, at("2029-01-01T00:00:00Z"));
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].message, "expected allow, got deny (policy_explicit_deny)");
  EXPECT_EQ(failures[0].explanation.rule, "no-telnet");
  EXPECT_EQ(failures[0].explanation.source.segment, "web");
}

TEST(PolicyTests, Now_DecidesWhereNoInstantIsNamed) {
  auto policy =
      policy_of(std::string(kPolicy) + "tests:\n  - {from: web, to: db, service: udp/53, expect: deny}\n");
  EXPECT_TRUE(failing_policy_tests(*policy, at("2029-01-01T00:00:00Z")).empty());
  EXPECT_EQ(failing_policy_tests(*policy, at("2019-01-01T00:00:00Z")).size(), 1u);
}

}  // namespace
}  // namespace bulkhead
