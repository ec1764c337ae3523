#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/config/load_text.h"

namespace bulkhead {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const char kSegments[] =
    "segments:\n"
    "  web: {tag: 100, members: [10.1.0.0/24], labels: {tier: frontend}}\n"
    "  db: {tag: 200, members: [10.2.0.0/24]}\n";

/// What is told of one segment's body, which starts at 2:8.
std::vector<std::string> segment(const std::string& body) {
  return policy_errors("segments:\n  web: " + body + "\n");
}
/// What is told of one policy's body, which starts at 5:5.
std::vector<std::string> rule(const std::string& body) {
  return policy_errors(std::string(kSegments) + "policies:\n  - " + body + "\n");
}
/// What is told of one test's body, which starts at 5:5.
std::vector<std::string> test_line(const std::string& body) {
  return policy_errors(std::string(kSegments) + "tests:\n  - " + body + "\n");
}

TEST(PolicyLoad, WholeExample_IsTyped) {
  LoadedPolicy loaded = load_policy_text(
      {{"b.yaml",
        "policies:\n  - {name: last, from: any, to: unknown, deny: [any], on_deny: reject, tier: "
        "baseline}\n"},
       {"a.yaml",
        std::string(kSegments) +
            "policies:\n"
            "  - name: web-calls-db\n"
            "    from: [web, unknown]\n"
            "    to: {labels: {tier: frontend}}\n"
            "    allow: [tcp/5432, udp/53]\n"
            "    mtls: none\n"
            "    after: 2026-01-01T00:00:00Z\n"
            "    until: 2028-01-01T00:00:00Z\n"
            "    log: true\n"
            "    audit: true\n"
            "tests:\n"
            "  - {from: 10.1.0.5, to: db, service: tcp/5432, expect: allow, at: 2027-02-01T00:00:00Z}\n"}},
      kNow);
  ASSERT_TRUE(loaded.policy) << told(loaded.diagnostics).front();
  const Policy& policy = *loaded.policy;
  EXPECT_THAT(policy.files, ElementsAre("a.yaml", "b.yaml"));
  ASSERT_EQ(policy.segments.size(), 2u);
  EXPECT_EQ(policy.segments[0].name, "db");
  EXPECT_EQ(policy.segments[1].tag, SegmentTag{100});
  EXPECT_EQ(policy.segments[1].where.line, 2u);
  ASSERT_EQ(policy.rules.size(), 2u);
  const Rule& first = policy.rules[0];
  EXPECT_EQ(first.name, "web-calls-db");
  EXPECT_EQ(first.tier, Tier::kSegment);
  EXPECT_EQ(first.action, Action::kAllow);
  EXPECT_THAT(first.from.names, ElementsAre("unknown", "web"));
  EXPECT_EQ(first.to.kind, Selector::Kind::kLabels);
  EXPECT_EQ(first.services.size(), 2u);
  EXPECT_TRUE(first.log && first.audit && !first.reject);
  EXPECT_EQ(first.where.line, 5u);
  EXPECT_EQ(first.where.column, 5u);
  const Rule& second = policy.rules[1];
  EXPECT_EQ(second.tier, Tier::kBaseline);
  EXPECT_EQ(second.action, Action::kDeny);
  EXPECT_EQ(second.from.kind, Selector::Kind::kAny);
  EXPECT_EQ(second.services.size(), 5u);
  EXPECT_TRUE(second.reject);
  EXPECT_TRUE(second.log) << "unless the rule says false";
  ASSERT_EQ(policy.tests.size(), 1u);
  EXPECT_EQ(policy.tests[0].expect, Action::kAllow);
  EXPECT_EQ(policy.tests[0].service, service_key(IpProto::kTcp, 5432));
  EXPECT_FALSE(policy.tests[0].has_mtls);
}

TEST(PolicyLoad, EmptyFile_IsAnEmptyPolicy) {
  LoadedPolicy loaded = load_policy_text({{"p.yaml", ""}}, kNow);
  ASSERT_TRUE(loaded.policy);
  EXPECT_TRUE(loaded.policy->segments.empty() && loaded.policy->rules.empty());
}

TEST(PolicyLoad, AllErrorsOfAllFiles_ComeInOneGo) {
  LoadedPolicy loaded =
      load_policy_text({{"a.yaml", "segments:\n  web: {tag: 1}\n  DB: {tag: 2}\n"},
                        {"b.yaml", "policies:\n  - {name: x, from: wbe, to: nowhere, allow: []}\n"}},
                       kNow);
  EXPECT_FALSE(loaded.policy);
  EXPECT_THAT(told(loaded.diagnostics),
              ElementsAre(IsAt("a.yaml:2:14", "from 2 to 65534"), IsAt("a.yaml:3:3", "isn't a name"),
                          IsAt("b.yaml:2:21", "no segment 'wbe' (did you mean 'web'?)"),
                          IsAt("b.yaml:2:30", "no segment 'nowhere'"), IsAt("b.yaml:2:46", "list is empty")));
}

TEST(PolicyLoad, ABrokenFile_DoesNotMakeOthersSegmentsUnknown) {
  LoadedPolicy loaded =
      load_policy_text({{"a.yaml", "segments: &x\n"},
                        {"b.yaml", "policies:\n  - {name: x, from: web, to: web, allow: [any]}\n"}},
                       kNow);
  EXPECT_THAT(told(loaded.diagnostics), ElementsAre(IsAt("a.yaml:1:11", "anchors")));
}

TEST(PolicyLoad, AKeyTwice_DoesNotHideUnknownSegments) {
  EXPECT_THAT(
      rule("{name: x, name: y, from: wbe, to: db, allow: [any]}"),
      ElementsAre(IsAt("p.yaml:5:15", "'name' is there twice"), IsAt("p.yaml:5:30", "no segment 'wbe'")));
}

TEST(PolicyLoad, UnknownKeys_AreRefusedWithASuggestion) {
  EXPECT_THAT(policy_errors("segmnets: {}\n"), ElementsAre(IsAt("p.yaml:1:1", "did you mean 'segments'?")));
  EXPECT_THAT(segment("{tag: 2, member: []}"), ElementsAre(IsAt("p.yaml:2:17", "did you mean 'members'?")));
  EXPECT_THAT(rule("{name: x, from: web, to: db, alow: [any]}"),
              ElementsAre(IsAt("p.yaml:5:5", "exactly one of 'allow', 'deny' and 'ask'"),
                          IsAt("p.yaml:5:34", "did you mean 'allow'?")));
  EXPECT_THAT(test_line("{from: web, to: db, service: tcp/1, expect: deny, protocol: x}"),
              ElementsAre(IsAt("p.yaml:5:55", "no key 'protocol'")));
  EXPECT_THAT(policy_errors("gateway: {name: x}\n"),
              ElementsAre(IsAt("p.yaml:1:1", "gateway's configuration")));
}

TEST(PolicyLoad, KeysOfLaterVersions_AreRefusedByName) {
  EXPECT_THAT(rule("{name: x, from: web, to: db, allow: [any], when: {}}"),
              ElementsAre(IsAt("p.yaml:5:48", "'when' is not available")));
  EXPECT_THAT(test_line("{from: web, to: db, service: tcp/1, expect: deny, posture: {risk: high}}"),
              ElementsAre(IsAt("p.yaml:5:55", "'posture' is not available")));
}

TEST(PolicyLoad, SegmentsSpiffeIds) {
  EXPECT_THAT(segment("{tag: 2, spiffe: [\"spiffe://a/b\", \"spiffe://a/c/*\"], relay_id: \"spiffe://a/r\"}"),
              IsEmpty());
  EXPECT_THAT(segment("{tag: 2, spiffe: [\"spiffe://a/b*\"]}"), ElementsAre(IsAt("p.yaml:2:26", "SPIFFE")));
  EXPECT_THAT(segment("{tag: 2, relay_id: \"spiffe://a/*\"}"), ElementsAre(IsAt("p.yaml:2:27", "SPIFFE")));
  for (const char* mode : {"none", "relay"})
    EXPECT_THAT(rule("{name: x, from: web, to: db, allow: [any], mtls: " + std::string(mode) + "}"),
                IsEmpty());
}

TEST(Mtls, EndToEnd_IsForAllowsAndMayNameServers) {
  LoadedPolicy loaded = load_policy_text(
      {{"p.yaml", std::string(kSegments) +
                      "policies:\n"
                      "  - {name: x, from: web, to: db, allow: [tcp/1], mtls: end_to_end,\n"
                      "     sni: [db.Corp.example, \"*.corp.example\", a_1-b.x]}\n"
                      "  - {name: y, from: web, to: db, allow: [tcp/1], mtls: end_to_end}\n"
                      "tests:\n"
                      "  - {from: web, to: db, service: tcp/1, expect: allow, mtls: end_to_end}\n"}},
      kNow);
  ASSERT_TRUE(loaded.policy) << told(loaded.diagnostics).front();
  EXPECT_EQ(loaded.policy->rules[0].mtls, MtlsMode::kEndToEnd);
  EXPECT_THAT(loaded.policy->rules[0].sni, ElementsAre("*.corp.example", "a_1-b.x", "db.corp.example"));
  EXPECT_THAT(loaded.policy->rules[1].sni, IsEmpty());
  EXPECT_TRUE(loaded.policy->tests[0].has_mtls);
  EXPECT_EQ(loaded.policy->tests[0].mtls, MtlsMode::kEndToEnd);
}

TEST(Mtls, WhereItMeansNothing_IsAnError) {
  EXPECT_THAT(rule("{name: x, from: web, to: db, deny: [any], mtls: end_to_end}"),
              ElementsAre(IsAt("p.yaml:5:53", "only beside 'allow'")));
  EXPECT_THAT(rule("{name: x, from: web, to: db, deny: [any], mtls: none}"), IsEmpty());
  EXPECT_THAT(rule("{name: x, from: web, to: db, allow: [any], sni: [a.b]}"),
              ElementsAre(IsAt("p.yaml:5:53", "only beside 'mtls: end_to_end'")));
  EXPECT_THAT(rule("{name: x, from: web, to: db, allow: [any], mtls: none, sni: [a.b]}"),
              ElementsAre(IsAt("p.yaml:5:65", "only beside 'mtls: end_to_end'")));
}

TEST(Mtls, ServerNames_AreDnsNamesWithAWildcardOfOneLabel) {
  auto name = [](const std::string& text) {
    return rule("{name: x, from: web, to: db, allow: [any], mtls: end_to_end, sni: [" + text + "]}");
  };
  const std::string label63(63, 'a'), label64(64, 'a');
  for (const std::string& good : {std::string("a"), std::string("db.corp.example"), std::string("\"*.a\""),
                                  label63 + ".b", std::string("xn--bcher-kva.example")})
    EXPECT_THAT(name(good), IsEmpty()) << good;
  for (const std::string& bad :
       {std::string("a..b"), std::string(".a"), std::string("\"a b\""), std::string("bücher.example"),
        label64, std::string("a/b"), label63 + "." + label63 + "." + label63 + "." + label63})
    EXPECT_THAT(name(bad), ElementsAre(IsAt("p.yaml:5:72", "isn't a DNS name"))) << bad;
  for (const char* bad : {"\"*\"", "\"a.*.b\"", "\"a*.b\"", "\"*.*.b\"", "\"**.b\""})
    EXPECT_THAT(name(bad), ElementsAre(IsAt("p.yaml:5:72", "one whole label, the first"))) << bad;
  EXPECT_THAT(name("a.b."), ElementsAre(IsAt("p.yaml:5:72", "ends in a dot")));
  EXPECT_THAT(name("10.0.0.1"), ElementsAre(IsAt("p.yaml:5:72", "is an address")));
  EXPECT_THAT(name("\"::1\""), ElementsAre(IsAt("p.yaml:5:72", "is an address")));
  EXPECT_THAT(name(""), ElementsAre(IsAt("p.yaml:5:71", "this list is empty")));
  EXPECT_THAT(name("A.b, a.b"), ElementsAre(IsAt("p.yaml:5:77", "there twice")));
}

TEST(Segments, Tags) {
  EXPECT_THAT(segment("{tag: 2}"), IsEmpty());
  EXPECT_THAT(segment("{tag: 65534}"), IsEmpty());
  for (const char* tag :
       {"0", "1", "65535", "-1", "0x10", "010", "1e3", "\"100\"", "yes", "[2]", "99999999999999999999"})
    EXPECT_THAT(segment("{tag: " + std::string(tag) + "}"),
                ElementsAre(IsAt("p.yaml:2:14", "decimal number from 2 to 65534")))
        << tag;
  EXPECT_THAT(segment("{members: [10.0.0.1]}"), ElementsAre(IsAt("p.yaml:2:8", "needs the key 'tag'")));
  EXPECT_THAT(segment("{tag: }"), ElementsAre(IsAt("p.yaml:2:9", "'tag' has no value")));
  EXPECT_THAT(policy_errors("segments:\n  a: {tag: 2}\n  b: {tag: 2}\n"),
              ElementsAre(IsAt("p.yaml:3:12", "tag 2 is that of segment 'a' already, in p.yaml:2:12")));
}

TEST(Segments, Names) {
  for (const char* name : {"unknown", "gateway", "any"})
    EXPECT_THAT(policy_errors("segments:\n  " + std::string(name) + ": {tag: 2}\n"),
                ElementsAre(IsAt("p.yaml:2:3", "is reserved")))
        << name;
  EXPECT_THAT(policy_errors("segments:\n  10.0.0.1: {tag: 2}\n"),
              ElementsAre(IsAt("p.yaml:2:3", "read as an address")));
  EXPECT_THAT(policy_errors("segments:\n  a: {tag: 2}\n  a: {tag: 3}\n"),
              ElementsAre(IsAt("p.yaml:3:3", "'a' is there twice, first in line 2")));
  LoadedPolicy two = load_policy_text(
      {{"a.yaml", "segments:\n  a: {tag: 2}\n"}, {"b.yaml", "segments:\n  a: {tag: 3}\n"}}, kNow);
  EXPECT_THAT(told(two.diagnostics),
              ElementsAre(IsAt("b.yaml:2:3", "segment 'a' is there twice, first in a.yaml:2:3")));
}

TEST(Members, MapForm_IsRead) {
  LoadedPolicy loaded = load_policy_text(
      {{"p.yaml",
        "segments:\n  web:\n    tag: 2\n    members:\n      - {prefix: 10.1.9.7, port: edge-1/left, vlan: 0, "
        "mac: "
        "\"02:00:00:00:00:07\", spiffe: \"spiffe://corp.example/web/7\", workload: web-7}\n"}},
      kNow);
  ASSERT_TRUE(loaded.policy) << told(loaded.diagnostics).front();
  const Member& member = loaded.policy->segments[0].members.at(0);
  EXPECT_EQ(member.port, "edge-1/left");
  EXPECT_EQ(member.vlan, 0);
  EXPECT_EQ(member.spiffe, "spiffe://corp.example/web/7");
  EXPECT_EQ(member.workload, "web-7");
  EXPECT_EQ(member.line, 5u);
  EXPECT_EQ(member.column, 9u);
}

TEST(Members, WrongPrefixes) {
  struct Wrong {
    const char* text;
    const char* words;
  };
  const Wrong kWrong[] = {{"10.1.0.1/24", "write 10.1.0.0/24"},
                          {"10.1.0.0/33", "0 to 32"},
                          {"10.1.0", "not an IPv4 or IPv6 address"},
                          {"0.0.0.0/0", "every address there is"},
                          {"::/0", "every address there is"},
                          {"::/8", "where IPv4 stands"},
                          {"127.0.0.1", "loopback"},
                          {"224.0.0.0/8", "multicast"},
                          {"255.255.255.255", "broadcast"},
                          {"0.1.2.3", "this network"},
                          {"::1", "loopback"},
                          {"fe80::1", "link-local"},
                          {"ff02::1", "multicast"},
                          {"\"::ffff:10.0.0.1\"", "write the IPv4 address itself"}};
  for (const Wrong& wrong : kWrong)
    EXPECT_THAT(segment("{tag: 2, members: [" + std::string(wrong.text) + "]}"),
                ElementsAre(IsAt("p.yaml:2:27", wrong.words)))
        << wrong.text;
  EXPECT_THAT(segment("{tag: 2, members: [10.1.0.0/24, 128.0.0.0/1, 1.2.3.4/32, \"fd00::/8\", 2001:db8::1]}"),
              IsEmpty());
}

TEST(Members, WrongBindings) {
  auto with = [](const char* more) {
    return segment("{tag: 2, members: [{prefix: 10.0.0.1, " + std::string(more) + "}]}");
  };
  EXPECT_THAT(with("vlan: 4094"), IsEmpty());
  EXPECT_THAT(with("vlan: 4095"), ElementsAre(IsAt("p.yaml:2:52", "0 to 4094")));
  EXPECT_THAT(with("port: left"), ElementsAre(IsAt("p.yaml:2:52", "GATEWAY/PORT")));
  EXPECT_THAT(with("mac: \"01:00:00:00:00:07\""), ElementsAre(IsAt("p.yaml:2:51", "unicast")));
  EXPECT_THAT(with("mac: 2"), ElementsAre(IsAt("p.yaml:2:51", "MAC address")));
  EXPECT_THAT(with("spiffe: \"http://a/b\""), ElementsAre(IsAt("p.yaml:2:54", "SPIFFE ID")));
  EXPECT_THAT(with("spiffe: \"spiffe://a/b/\""), ElementsAre(IsAt("p.yaml:2:54", "SPIFFE ID")));
  EXPECT_THAT(with("spiffe: \"spiffe://a/../b\""), ElementsAre(IsAt("p.yaml:2:54", "SPIFFE ID")));
  EXPECT_THAT(with("workload: \"a b\""), ElementsAre(IsAt("p.yaml:2:56", "workload's name")));
  EXPECT_THAT(segment("{tag: 2, members: [{vlan: 1}]}"),
              ElementsAre(IsAt("p.yaml:2:27", "needs the key 'prefix'")));
  EXPECT_THAT(segment("{tag: 2, members: 10.0.0.1}"), ElementsAre(IsAt("p.yaml:2:26", "must be a list")));
  EXPECT_THAT(segment("{tag: 2, members: []}"), IsEmpty());
}

TEST(Members, SamePrefix_InTwoSegmentsOrOne) {
  EXPECT_THAT(
      policy_errors(
          "segments:\n  b: {tag: 2, members: [10.0.0.0/24]}\n  a: {tag: 3, members: [10.0.0.0/24]}\n"),
      ElementsAre(IsAt("p.yaml:3:25", "10.0.0.0/24 is a member of segment 'b' already, in p.yaml:2:25")));
  EXPECT_THAT(segment("{tag: 2, members: [10.0.0.1, 10.0.0.1/32]}"),
              ElementsAre(IsAt("p.yaml:2:37", "already, in p.yaml:2:27")));
  EXPECT_THAT(segment("{tag: 2, members: [10.0.0.0/24, 10.0.0.0/25]}"), IsEmpty());
}

TEST(Rules, NeedNameFromToAndOneAction) {
  EXPECT_THAT(rule("{name: x, from: web, to: db, allow: [any]}"), IsEmpty());
  EXPECT_THAT(rule("{from: web, to: db, allow: [any]}"),
              ElementsAre(IsAt("p.yaml:5:5", "needs the key 'name'")));
  EXPECT_THAT(rule("{name: x, to: db, allow: [any]}"),
              ElementsAre(IsAt("p.yaml:5:5", "needs the key 'from'")));
  EXPECT_THAT(rule("{name: x, from: web, allow: [any]}"),
              ElementsAre(IsAt("p.yaml:5:5", "needs the key 'to'")));
  EXPECT_THAT(rule("{name: x, from: web, to: db}"), ElementsAre(IsAt("p.yaml:5:5", "this has 0")));
  EXPECT_THAT(rule("{name: x, from: web, to: db, allow: [any], deny: [any]}"),
              ElementsAre(IsAt("p.yaml:5:5", "this has 2")));
  EXPECT_THAT(rule("{name: x, from: web, to: db, allow: []}"),
              ElementsAre(IsAt("p.yaml:5:41", "list is empty")));
  EXPECT_THAT(rule("{name: x, from: web, to: db, allow: any}"),
              ElementsAre(IsAt("p.yaml:5:41", "must be a list")));
  EXPECT_THAT(rule("just-text"), ElementsAre(IsAt("p.yaml:5:5", "a policy must be a mapping")));
  EXPECT_THAT(rule("\n  - [a, b]"), ElementsAre(IsAt("p.yaml:5:3", "a policy must be a mapping"),
                                                IsAt("p.yaml:6:5", "a policy must be a mapping")));
}

TEST(Rules, Services_AreToldWhereTheyStand) {
  EXPECT_THAT(rule("{name: x, from: web, to: db, allow: [tcp/1, tcp/9-8, tcp/0]}"),
              ElementsAre(IsAt("p.yaml:5:49", "write 8-9"), IsAt("p.yaml:5:58", "port 0")));
}

TEST(Rules, DuplicateNames_AcrossFilesToo) {
  std::string one = "policies:\n  - {name: x, from: unknown, to: gateway, deny: [any]}\n";
  LoadedPolicy loaded = load_policy_text({{"a.yaml", one}, {"b.yaml", one}}, kNow);
  EXPECT_THAT(told(loaded.diagnostics),
              ElementsAre(IsAt("b.yaml:2:12", "policy 'x' is there twice, first in a.yaml:2:12")));
}

TEST(Rules, WordsAndTruthValues) {
  auto with = [](const char* more) {
    return rule("{name: x, from: web, to: db, deny: [any], " + std::string(more) + "}");
  };
  EXPECT_THAT(with("tier: guardrail"), IsEmpty());
  EXPECT_THAT(with("tier: containment"), ElementsAre(IsAt("p.yaml:5:53", "guardrail, segment, baseline")));
  EXPECT_THAT(with("log: false"), IsEmpty());
  for (const char* value : {"yes", "on", "True", "1", "\"true\""})
    EXPECT_THAT(with(("log: " + std::string(value)).c_str()),
                ElementsAre(IsAt("p.yaml:5:52", "true or false")))
        << value;
  EXPECT_THAT(with("on_deny: reject"), IsEmpty());
  EXPECT_THAT(with("on_deny: reset"), ElementsAre(IsAt("p.yaml:5:56", "drop, reject")));
  EXPECT_THAT(rule("{name: x, from: web, to: db, allow: [any], on_deny: drop}"),
              ElementsAre(IsAt("p.yaml:5:57", "only beside 'deny'")));
}

TEST(Rules, Selectors) {
  auto from = [](const char* selector) {
    return rule("{name: x, to: db, deny: [any], from: " + std::string(selector) + "}");
  };
  EXPECT_THAT(from("[web, db]"), IsEmpty());
  EXPECT_THAT(from("{labels: {tier: frontend}}"), IsEmpty());
  EXPECT_THAT(from("[]"), ElementsAre(IsAt("p.yaml:5:42", "list is empty")));
  EXPECT_THAT(from("[web, any]"), ElementsAre(IsAt("p.yaml:5:48", "'any' can't stand in a list")));
  EXPECT_THAT(from("[web, web]"), ElementsAre(IsAt("p.yaml:5:48",
                                                   "segment 'web' is in this list twice, first in "
                                                   "p.yaml:5:43")));
  EXPECT_THAT(from("[web, wep]"), ElementsAre(IsAt("p.yaml:5:48", "did you mean 'web'?")));
  EXPECT_THAT(from("10.0.0.1"), ElementsAre(IsAt("p.yaml:5:42", "no segment '10.0.0.1'")));
  EXPECT_THAT(from("{labels: {}}"), ElementsAre(IsAt("p.yaml:5:51", "at least one entry")));
  EXPECT_THAT(from("{label: {a: b}}"), ElementsAre(IsAt("p.yaml:5:42", "needs the key 'labels'"),
                                                   IsAt("p.yaml:5:43", "did you mean")));
  EXPECT_THAT(from("{labels: {tier: backend}}"),
              ElementsAre("p.yaml:5:42: warning: no segment has these labels, so this policy "
                          "concerns nothing"));
}

TEST(Rules, Deadlines) {
  auto with = [](const char* more) {
    return rule("{name: x, from: web, to: db, allow: [any], " + std::string(more) + "}");
  };
  EXPECT_THAT(with("until: 2027-01-15T08:00:00.001Z"), IsEmpty());
  EXPECT_THAT(with("until: 2027-01-15T08:00:00Z"),
              ElementsAre(IsAt("p.yaml:5:55: warning", "this time is past")));
  EXPECT_THAT(with("after: 2028-01-01T00:00:00Z, until: 2028-01-01T00:00:00Z"),
              ElementsAre(IsAt("p.yaml:5:84", "never holds")));
  EXPECT_THAT(with("after: 2028-01-01T00:00:00Z, until: 2028-01-01T00:00:01Z"), IsEmpty());
  EXPECT_THAT(with("until: 2028-01-01"), ElementsAre(IsAt("p.yaml:5:55", "RFC 3339")));
}

TEST(Rules, Ask_IsAWarning) {
  EXPECT_THAT(rule("{name: x, from: web, to: db, ask: [any]}"),
              ElementsAre(IsAt("p.yaml:5:39: warning", "ask_timeout")));
}

TEST(Tests, EndsServicesAndExpectations) {
  EXPECT_THAT(test_line("{from: fd00::1, to: unknown, service: icmp6/echo, expect: ask}"), IsEmpty());
  EXPECT_THAT(test_line("{from: wbe, to: db, service: tcp/1, expect: deny}"),
              ElementsAre(IsAt("p.yaml:5:12", "did you mean 'web'?")));
  EXPECT_THAT(test_line("{from: 10.0.0.0/8, to: db, service: tcp/1, expect: deny}"),
              ElementsAre(IsAt("p.yaml:5:12", "neither an address")));
  EXPECT_THAT(test_line("{from: web, to: db, service: tcp, expect: deny}"),
              ElementsAre(IsAt("p.yaml:5:34", "more than one service")));
  EXPECT_THAT(test_line("{from: web, to: db, service: tcp/1, expect: drop}"),
              ElementsAre(IsAt("p.yaml:5:49", "allow, deny, ask")));
  EXPECT_THAT(test_line("{from: web, to: db, expect: deny}"),
              ElementsAre(IsAt("p.yaml:5:5", "needs the key 'service'")));
}

TEST(PolicyLoad, ManyErrorsOfOneFile_AreCounted) {
  std::string text = "policies:\n";
  for (int i = 0; i < 150; ++i)
    text += "  - {name: r" + std::to_string(i) + ", from: x, to: any, deny: [any]}\n";
  std::vector<std::string> lines = policy_errors(text);
  ASSERT_EQ(lines.size(), 101u);
  EXPECT_EQ(lines.back(), "p.yaml: error: and 50 more");
}

class PolicyDirectory : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "policy.XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ + "/" + name) << text;
  }
  std::string directory_;
};

TEST_F(PolicyDirectory, EveryYamlInOrderOfName_HiddenOnesNot) {
  write("20-rules.yaml", "policies:\n  - {name: x, from: web, to: web, allow: [tcp/1]}\n");
  write("10-segments.yaml", "segments:\n  web: {tag: 2}\n");
  write("15-more.yaml", "policies:\n  - {name: y, from: web, to: web, allow: [tcp/1]}\n");
  write(".20-rules.yaml.swp.yaml", "nonsense");
  write("README.md", "nonsense");
  LoadedPolicy loaded = load_policy(directory_, kNow);
  ASSERT_TRUE(loaded.policy) << told(loaded.diagnostics).front();
  EXPECT_EQ(loaded.policy->files.size(), 3u);
  EXPECT_EQ(loaded.policy->rules[0].name, "y");
  EXPECT_EQ(loaded.policy->rules[1].name, "x");
}

TEST_F(PolicyDirectory, WhatCantBeRead_IsAnError) {
  std::filesystem::create_directory(directory_ + "/a.yaml");
  LoadedPolicy loaded = load_policy(directory_, kNow);
  EXPECT_FALSE(loaded.policy);
  EXPECT_THAT(told(loaded.diagnostics), ElementsAre(HasSubstr("a.yaml: error: this is no regular file")));
  EXPECT_THAT(told(load_policy(directory_ + "/none", kNow).diagnostics),
              ElementsAre(HasSubstr("/none: error: this file can't be read")));
}

TEST_F(PolicyDirectory, NothingThereAndWrongEndings_AreWarnings) {
  write("rules.yml", "policies: []\n");
  LoadedPolicy loaded = load_policy(directory_, kNow);
  EXPECT_TRUE(loaded.policy);
  EXPECT_THAT(told(loaded.diagnostics), ElementsAre(HasSubstr("rules.yml: warning: this isn't read"),
                                                    HasSubstr("warning: there is no *.yaml here")));
}

}  // namespace
}  // namespace bulkhead
