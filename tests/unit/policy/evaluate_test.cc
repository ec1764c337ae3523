#include "policy/evaluate.h"

#include <gtest/gtest.h>

#include "sample_image.h"

namespace bulkhead {
namespace {

constexpr PortId kLeft{0}, kRight{1};
constexpr MacAddress kMac{{2, 0, 0, 0, 0, 7}}, kOtherMac{{2, 0, 0, 0, 0, 8}};

class Evaluate : public testing::Test {
 protected:
  Evaluate() {
    for (const Endpoint& endpoint : sample_.endpoints) EXPECT_TRUE(endpoints_.put(endpoint));
  }
  /// Segment `from` to segment `to`, by their numbers in the sample.
  Evaluation judged(uint32_t from, uint32_t to, ServiceKey service, int64_t now = 0) const {
    Origin origin{IpAddress::v4(0x0a000001 + from * 256), kLeft, 0, kMac};
    return evaluate(image_, endpoints_, origin, IpAddress::v4(0x0a000001 + to * 256), service, BootTime{now});
  }
  std::string rule(const Decision& decision) const { return std::string(image_.rule_name(decision.rule)); }
  static ServiceKey tcp(uint16_t port) { return service_key(IpProto::kTcp, port); }

  CompiledPolicy sample_ = compiled_sample();
  ImageView image_ = read_image(sample_.image.span()).value();
  EndpointTable endpoints_;
};

TEST_F(Evaluate, GuardrailDeny_BeatsASegmentsAllow) {
  EXPECT_EQ(rule(judged(2, 3, tcp(22)).decision), "port-11");
  auto decision = judged(2, 3, tcp(23)).decision;
  EXPECT_EQ(rule(decision), "no-telnet");
  EXPECT_EQ(decision.reason, DropReason::k_policy_explicit_deny);
  EXPECT_EQ(decision.tier, Tier::kGuardrail);
  EXPECT_TRUE(decision.reject);
}

TEST_F(Evaluate, TwoAllows_StrictestMtlsAndFirstRule) {
  auto decision = judged(0, 1, tcp(443)).decision;
  EXPECT_EQ(decision.verdict, Verdict::kAllow);
  EXPECT_EQ(decision.reason, DropReason::kNone);
  EXPECT_EQ(rule(decision), "nine-to-nine");
  EXPECT_EQ(decision.mtls, MtlsMode::kRelay);
}

/// Whether the hello's server name passes from segment 4 to 5.
TEST_F(Evaluate, ServerName_IsAdmittedByAnyOfTheAllowsThatHold) {
  auto admits = [this](std::string_view name, int64_t now = 1000) {
    Origin origin{IpAddress::v4(0x0a000401), kLeft, 0, kMac};
    auto e = evaluate(image_, endpoints_, origin, IpAddress::v4(0x0a000501), tcp(8443), BootTime{now}, &name);
    EXPECT_EQ(e.decision.mtls, MtlsMode::kEndToEnd);
    EXPECT_EQ(rule(e.decision), "encrypted");
    return e.decision.admits_name;
  };
  EXPECT_TRUE(admits("db.corp.example"));
  EXPECT_TRUE(admits("mail.corp.example")) << "the second rule's";
  EXPECT_TRUE(admits("a.apps.example"));
  for (const char* other : {"a.b.apps.example", "apps.example", ".apps.example.", "*.apps", "corp.example",
                            "xdb.corp.example", "db.corp.example.", "db", ""})
    EXPECT_FALSE(admits(other)) << other;
  EXPECT_TRUE(admits("else.where", 999)) << "until 1000 a rule without names holds, too";
  EXPECT_TRUE(admits("", 999));
  EXPECT_FALSE(judged(4, 5, tcp(8443)).decision.admits_name) << "nobody asks";
}

TEST_F(Evaluate, Grant_EndsAtItsInstant) {
  auto before = judged(0, 9, tcp(22), 999).decision;
  EXPECT_EQ(before.verdict, Verdict::kAllow);
  EXPECT_EQ(before.until, BootTime{1000});
  EXPECT_EQ(before.next_change, BootTime{1000});
  auto after = judged(0, 9, tcp(22), 1000).decision;
  EXPECT_EQ(after.reason, DropReason::k_grant_expired);
  EXPECT_EQ(after.rule, kRuleNone);
  EXPECT_EQ(after.tier, Tier::kDefault);
  EXPECT_EQ(after.next_change, BootTime{2000});
}

TEST_F(Evaluate, Ask_HoldsFromItsAfter) {
  EXPECT_EQ(judged(0, 9, tcp(80), 1999).decision.reason, DropReason::k_policy_denied);
  auto decision = judged(0, 9, tcp(80), 2000).decision;
  EXPECT_EQ(decision.verdict, Verdict::kAsk);
  EXPECT_EQ(decision.reason, DropReason::kNone);
  EXPECT_EQ(decision.until, kNever);
  EXPECT_EQ(decision.next_change, kNever);
}

TEST_F(Evaluate, RuleInAuditMode_DecidesNothingAndIsNamed) {
  auto decision = judged(0, 9, tcp(22)).decision;
  EXPECT_EQ(rule(decision), "grant");
  EXPECT_EQ(image_.rule_name(decision.audit_rule), "tried-out");
  EXPECT_EQ(decision.audit_action, Action::kDeny);
  EXPECT_EQ(judged(0, 9, tcp(23)).decision.audit_rule, kRuleNone)
      << "a guardrail would have decided all the same";
}

TEST_F(Evaluate, UnboundEnd_IsIdentityUnknown) {
  Origin stranger{IpAddress::v4(0xc0000201), kLeft, 0, kMac};
  auto to = IpAddress::v4(0x0a000001);
  auto result = evaluate(image_, endpoints_, stranger, to, tcp(443), BootTime{0});
  EXPECT_EQ(result.source.identity, kIdentityUnknown);
  EXPECT_EQ(result.source.source, IdentitySource::kNone);
  EXPECT_EQ(result.decision.reason, DropReason::k_identity_unknown);
  EXPECT_EQ(evaluate(image_, endpoints_, stranger, to, tcp(23), BootTime{0}).decision.reason,
            DropReason::k_identity_unknown)
      << "`any` does not mean `unknown`";
  auto ping = service_key(IpProto::kIcmp, 0x0800);
  EXPECT_EQ(
      rule(evaluate(image_, endpoints_, stranger, IpAddress::v4(0x0a000101), ping, BootTime{0}).decision),
      "visitors");
}

TEST_F(Evaluate, ContainedAtEitherEnd_IsContained) {
  for (uint32_t end : {0u, 1u}) {
    Endpoint endpoint = *endpoints_.find(IpAddress::v4(0x0a000001 + end * 256));
    endpoint.flags |= kEndpointContained;
    ASSERT_TRUE(endpoints_.put(endpoint));
    auto decision = judged(0, 1, tcp(443)).decision;
    EXPECT_EQ(decision.verdict, Verdict::kDeny);
    EXPECT_EQ(decision.reason, DropReason::k_contained);
    EXPECT_EQ(decision.tier, Tier::kContainment);
    endpoint.flags = 0;
    ASSERT_TRUE(endpoints_.put(endpoint));
  }
  EXPECT_EQ(judged(0, 1, tcp(443)).decision.verdict, Verdict::kAllow);
}

TEST_F(Evaluate, IdentityThatTheImageDoesNotKnow_IsUnknown) {
  Endpoint endpoint = *endpoints_.find(IpAddress::v4(0x0a000001));
  endpoint.identity = identity_of(SegmentTag{4711}).value;
  ASSERT_TRUE(endpoints_.put(endpoint));
  EXPECT_EQ(judged(0, 1, tcp(443)).decision.reason, DropReason::k_identity_unknown);
}

class Binding : public Evaluate {
 protected:
  Binding() {
    Endpoint bound = *endpoints_.find(origin_.address);
    bound.port = kLeft.value;
    bound.vlan = 20;
    bound.mac = kMac;
    bound.flags = kEndpointHasMac | kEndpointHasVlan;
    EXPECT_TRUE(endpoints_.put(bound));
  }
  bool spoofed() const { return classify_source(endpoints_, origin_).spoofed; }
  Origin origin_{IpAddress::v4(0x0a000001), kLeft, 20, kMac};
};

TEST_F(Binding, PacketThatAgrees_IsNotSpoofed) {
  EXPECT_FALSE(spoofed());
}
TEST_F(Binding, AnotherPort_IsSpoofed) {
  origin_.port = kRight;
  EXPECT_TRUE(spoofed());
}
TEST_F(Binding, AnotherVlan_IsSpoofed) {
  origin_.vlan = 0;
  EXPECT_TRUE(spoofed());
}
TEST_F(Binding, AnotherMac_IsSpoofed) {
  origin_.mac = kOtherMac;
  EXPECT_TRUE(spoofed());
  auto result = evaluate(image_, endpoints_, origin_, IpAddress::v4(0x0a000101), tcp(443), BootTime{0});
  EXPECT_EQ(result.decision.reason, DropReason::k_spoofed_source);
  EXPECT_EQ(result.decision.verdict, Verdict::kDeny);
}
TEST_F(Binding, PortNotKnown_ChecksNothing) {
  origin_ = {origin_.address, kPortNone, 7, kOtherMac};
  EXPECT_FALSE(spoofed());
}
TEST_F(Binding, Tag_IsTheSegmentWhateverTheBindingSays) {
  origin_.tag = SegmentTag{4711};
  End end = classify_source(endpoints_, origin_);
  EXPECT_EQ(end.identity, identity_of(SegmentTag{4711}));
  EXPECT_EQ(end.source, IdentitySource::kTag);
  EXPECT_FALSE(end.spoofed);
  EXPECT_EQ(
      evaluate(image_, endpoints_, origin_, IpAddress::v4(0x0a000101), tcp(443), BootTime{0}).decision.reason,
      DropReason::k_identity_unknown)
      << "no segment has it";
}
TEST_F(Binding, TagOfTheBindingsSegment_KeepsItsIdentity) {
  IdentityId bound = classify_source(endpoints_, origin_).identity;
  origin_.tag = tag_of(bound);
  End end = classify_source(endpoints_, origin_);
  EXPECT_EQ(end.identity, bound);
  EXPECT_EQ(end.source, IdentitySource::kTag);
}
TEST_F(Binding, TagFromAnotherPort_IsSpoofedAllTheSame) {
  origin_.tag = tag_of(classify_source(endpoints_, origin_).identity);
  EXPECT_FALSE(spoofed());
  origin_.port = kRight;
  EXPECT_TRUE(spoofed());
}
TEST_F(Binding, Destination_IsNeverSpoofed) {
  EXPECT_FALSE(classify_destination(endpoints_, origin_.address).spoofed);
}

}  // namespace
}  // namespace bulkhead
