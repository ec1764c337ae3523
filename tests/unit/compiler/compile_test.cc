#include "controlplane/compiler/compile.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "policy/evaluate.h"
#include "policy_text.h"

namespace bulkhead {
namespace {

using text::rule;

const CompileTarget kTarget{"edge-1", {"left", "right"}, {}};

/// Segments a to d (tags 10 to 40), with no members.
Policy four_segments() {
  Policy policy;
  policy.files = {"p.yaml"};
  for (uint16_t i = 0; i < 4; ++i) {
    Segment segment;
    segment.name = std::string(1, static_cast<char>('a' + i));
    segment.tag = SegmentTag{static_cast<uint16_t>(10 * (i + 1))};
    policy.segments.push_back(segment);
  }
  return policy;
}

/// A compiled policy, judged by segments' names.
class Compiled {
 public:
  explicit Compiled(const Policy& policy) : compiled_(compile(policy, kTarget, wall_as_boot).value()) {
    view_ = read_image(compiled_.image.span()).value();
  }
  Decision judged(std::string_view from, std::string_view to, ServiceKey service, int64_t now = 0) const {
    return judge(view_, index_of(from), index_of(to), false, service, BootTime{now});
  }
  std::string rule_for(std::string_view from, std::string_view to, ServiceKey service) const {
    return std::string(view_.rule_name(judged(from, to, service).rule));
  }
  const ImageView& view() const { return view_; }

 private:
  uint32_t index_of(std::string_view segment) const {
    for (uint32_t i = 0; i < view_.identities.size(); ++i)
      if (view_.text(view_.segments[view_.identities[i].segment].name) == segment) return i;
    ADD_FAILURE() << "no segment " << segment;
    return 0;
  }
  CompiledPolicy compiled_;
  ImageView view_;
};

std::string error_of(const Policy& policy, const CompileTarget& target = kTarget) {
  auto compiled = compile(policy, target, wall_as_boot);
  return compiled ? "compiled" : compiled.error().message;
}

constexpr ServiceKey tcp(uint16_t port) {
  return service_key(IpProto::kTcp, port);
}
constexpr ServiceKey udp(uint16_t port) {
  return service_key(IpProto::kUdp, port);
}

TEST(Compile, EmptyPolicy_DeniesEverything) {
  Compiled compiled(Policy{});
  EXPECT_EQ(compiled.judged("gateway", "gateway", tcp(80)).reason, DropReason::k_policy_denied);
  EXPECT_EQ(compiled.judged("unknown", "gateway", tcp(80)).reason, DropReason::k_identity_unknown);
}

TEST(Compile, Any_IsNeitherUnknownNorGateway) {
  Policy policy = four_segments();
  policy.rules = {rule("r", "allow", "any", "any", {{tcp(0), tcp(65535)}})};
  Compiled compiled(policy);
  EXPECT_EQ(compiled.rule_for("a", "d", tcp(80)), "r");
  EXPECT_EQ(compiled.rule_for("a", "gateway", tcp(80)), "");
  EXPECT_EQ(compiled.rule_for("gateway", "a", tcp(80)), "");
  EXPECT_EQ(compiled.rule_for("unknown", "a", tcp(80)), "");
}

TEST(Compile, TunnelPorts_OnlyWhereNamedExactly) {
  Policy policy = four_segments();
  policy.rules = {rule("all", "allow", "a", "b", {{udp(0), udp(65535)}}),
                  rule("vxlan", "ask", "a", "c", {{udp(4789), udp(4789)}}),
                  rule("near", "allow", "a", "c", {{udp(6079), udp(6082)}}),
                  rule("none", "deny", "a", "d", {{udp(0), udp(65535)}})};
  Compiled compiled(policy);
  for (uint16_t port : kTunnelUdpPorts) {
    EXPECT_EQ(compiled.rule_for("a", "b", udp(port)), "") << port;
    EXPECT_EQ(compiled.rule_for("a", "b", udp(port - 1)), port == 6081 ? "" : "all") << port;
    EXPECT_EQ(compiled.rule_for("a", "b", udp(port + 1)), port == 6080 ? "" : "all") << port;
    EXPECT_EQ(compiled.rule_for("a", "d", udp(port)), "none") << port;
  }
  EXPECT_EQ(compiled.rule_for("a", "c", udp(4789)), "vxlan");
  EXPECT_EQ(compiled.rule_for("a", "c", udp(6080)), "");
  EXPECT_EQ(compiled.rule_for("a", "c", udp(6082)), "near");
}

TEST(Compile, RulesOfAnotherPair_PruneNothing) {
  Policy policy = four_segments();
  policy.rules = {rule("deny-a", "deny", "a", "b", {{tcp(80), tcp(80)}}),
                  rule("any-b", "allow", "any", "b", {{tcp(80), tcp(80)}})};
  Compiled compiled(policy);
  EXPECT_EQ(compiled.rule_for("a", "b", tcp(80)), "deny-a");
  EXPECT_EQ(compiled.rule_for("c", "b", tcp(80)), "any-b");
}

TEST(Compile, RulesThatCannotMatter_AreLeftOut) {
  Policy policy = four_segments();
  policy.rules = {rule("deny", "deny", "a", "b", {{tcp(1), tcp(9)}}),
                  rule("allow", "allow", "a", "b", {{tcp(1), tcp(9)}}),
                  rule("again", "deny", "a", "b", {{tcp(1), tcp(9)}})};
  Compiled compiled(policy);
  EXPECT_EQ(compiled.view().entries.size(), 1u);
  EXPECT_EQ(compiled.rule_for("a", "b", tcp(5)), "deny");
}

TEST(Compile, EndToEnd_RulesWhoseServerNamesAddUp_AreKept) {
  Policy policy = four_segments();
  auto encrypted = [](const char* name, std::vector<std::string> sni) {
    Rule r = rule(name, "allow", "a", "b", {{tcp(1), tcp(9)}});
    r.mtls = MtlsMode::kEndToEnd;
    r.sni = std::move(sni);
    return r;
  };
  policy.rules = {rule("clear", "allow", "a", "b", {{tcp(1), tcp(9)}}),
                  encrypted("one", {"one.example"}),
                  rule("clear-too", "allow", "a", "b", {{tcp(1), tcp(9)}}),
                  encrypted("two", {"two.example"}),
                  encrypted("all", {}),
                  encrypted("three", {"three.example"})};
  Compiled compiled(policy);
  EXPECT_EQ(compiled.view().entries.size(), 4u) << "clear, one, two and all";
  policy.rules.erase(policy.rules.begin() + 4);
  EXPECT_EQ(Compiled(policy).view().entries.size(), 4u) << "clear, one, two and three";
}

TEST(Compile, EqualPrograms_StandOnce) {
  Policy policy = four_segments();
  policy.rules = {rule("r", "allow", "a,b,c,d", "a,b,c,d", {{tcp(80), tcp(80)}, {tcp(443), tcp(443)}})};
  Compiled compiled(policy);
  EXPECT_EQ(compiled.view().programs.size(), 1u);
  EXPECT_EQ(compiled.view().intervals.size(), 2u);
  EXPECT_EQ(compiled.view().entries.size(), 1u);
  EXPECT_EQ(std::ranges::count_if(compiled.view().pairs,
                                  [](const PairRecord& p) { return p.program != kNoProgram; }),
            16);
}

TEST(Compile, LargeLists_BecomeSelectorsNotProducts) {
  Policy policy;
  std::string all;
  for (uint16_t i = 0; i < 100; ++i) {
    Segment segment;
    segment.name = "s" + std::to_string(100 + i);
    segment.tag = SegmentTag{static_cast<uint16_t>(2 + i)};
    all += (i == 0 ? "" : ",") + segment.name;
    policy.segments.push_back(segment);
  }
  policy.rules = {rule("r", "allow", all, all, {{tcp(80), tcp(80)}})};
  Compiled compiled(policy);
  EXPECT_EQ(std::ranges::count_if(compiled.view().pairs,
                                  [](const PairRecord& p) { return p.program != kNoProgram; }),
            1);
  EXPECT_EQ(compiled.rule_for("s100", "s199", tcp(80)), "r");
  EXPECT_EQ(compiled.rule_for("s100", "gateway", tcp(80)), "");
}

TEST(Compile, RulesThatPileUpOnOnePair_AreRefusedInTimeAndMemory) {
  Policy policy = four_segments();
  for (uint16_t i = 1; i <= 10'000; ++i) {
    policy.rules.push_back(rule("r" + std::to_string(i), "allow", "a", "b", {{tcp(1), tcp(i)}}));
    policy.rules.back().until = WallTime{2'000'000'000'000'000'000};
  }
  EXPECT_NE(error_of(policy).find("too many rules overlap"), std::string::npos) << error_of(policy);
}

TEST(Compile, SegmentInTooManyLists_IsAnErrorThatNamesIt) {
  Policy policy = four_segments();
  for (uint16_t i = 0; i < 70; ++i) {
    Segment segment;
    segment.name = "x" + std::to_string(i);
    segment.tag = SegmentTag{static_cast<uint16_t>(1000 + i)};
    policy.segments.push_back(segment);
  }
  for (uint32_t i = 0; i <= kMaxSelectorsOfIdentity; ++i) {
    std::string list = "a";  // 65 of the x, a different choice for each rule
    for (uint32_t x = 0; x < 70; ++x)
      if (x != i % 70 && x != (i / 70 + i + 1) % 70) list += ",x" + std::to_string(x);
    policy.rules.push_back(rule("r" + std::to_string(i), "allow", list, "b", {{tcp(80), tcp(80)}}));
  }
  EXPECT_NE(error_of(policy).find("segment 'a' stands in"), std::string::npos) << error_of(policy);
}

TEST(Compile, SamePolicy_SameBytes) {
  Policy policy = four_segments();
  policy.rules = {rule("r", "allow", "a,b", "c", {{tcp(80), tcp(90)}}),
                  rule("s", "deny", "any", "c", {{tcp(85), tcp(85)}})};
  auto first = compile(policy, kTarget, wall_as_boot), second = compile(policy, kTarget, wall_as_boot);
  ASSERT_TRUE(first && second);
  EXPECT_TRUE(std::ranges::equal(first->image.span(), second->image.span()));
}

TEST(Compile, CopiedImage_StaysAligned) {
  auto compiled = compile(four_segments(), kTarget, wall_as_boot).value();
  CompiledPolicy copy = compiled;
  EXPECT_TRUE(read_image(copy.image.span()));
}

/// The boot times that a rule with both deadlines gets, on a clock that opens 1000 and closes 2000 later.
std::pair<int64_t, int64_t> compiled_deadlines(const char* action) {
  Policy policy = four_segments();
  policy.rules = {rule("r", action, "a", "b", {{tcp(80), tcp(80)}})};
  policy.rules[0].after = WallTime{100};
  policy.rules[0].until = WallTime{200};
  auto shifted = [](Turn turn, WallTime time) {
    return BootTime{time.ns + (turn == Turn::kOpens ? 1000 : 2000)};
  };
  auto compiled = compile(policy, kTarget, shifted).value();
  auto view = read_image(compiled.image.span()).value();
  return {view.entries[0].after_ns, view.entries[0].until_ns};
}

TEST(Compile, AllowsDeadlines_OpenAndClose) {
  EXPECT_EQ(compiled_deadlines("allow"), std::pair(int64_t{1100}, int64_t{2200}));
}
TEST(Compile, DenysDeadlines_CloseAndOpen) {
  EXPECT_EQ(compiled_deadlines("deny"), std::pair(int64_t{2100}, int64_t{1200}));
}
TEST(Compile, AsksDeadlines_AreADenys) {
  EXPECT_EQ(compiled_deadlines("ask"), std::pair(int64_t{2100}, int64_t{1200}));
}

TEST(Compile, Deadlines_StandInTheRulesAsWritten) {
  Policy policy = four_segments();
  policy.rules = {rule("r", "allow", "a", "b", {{tcp(80), tcp(80)}})};
  policy.rules[0].after = WallTime{100};
  policy.rules[0].until = WallTime{200};
  auto compiled = compile(policy, kTarget, wall_as_boot).value();
  auto view = read_image(compiled.image.span()).value();
  EXPECT_EQ(view.rules[0].after_wall_ns, 100);
  EXPECT_EQ(view.rules[0].until_wall_ns, 200);
}

TEST(Compile, SegmentThatDoesNotExist_IsAnErrorWithItsRule) {
  Policy policy = four_segments();
  policy.rules = {rule("r", "allow", "a", "nowhere", {{tcp(80), tcp(80)}})};
  EXPECT_EQ(error_of(policy), "p.yaml:1: rule 'r', `to`: no segment is named 'nowhere'");
}

TEST(Compile, ReservedOrRepeatedTag_IsAnError) {
  for (uint16_t tag : {0, 1, 20, 65535}) {
    Policy policy = four_segments();
    policy.segments[0].tag = SegmentTag{tag};
    EXPECT_NE(error_of(policy).find("is reserved or another segment's"), std::string::npos) << tag;
  }
}

class MtlsConflict : public testing::Test {
 protected:
  /// Two allows that ask for end_to_end and relay.
  Policy both(std::string from1, std::string to1, std::string from2, std::string to2) {
    Policy policy = four_segments();
    policy.rules = {rule("first", "allow", from1, to1, {{tcp(80), tcp(90)}}),
                    rule("second", "allow", from2, to2, {{tcp(90), tcp(99)}})};
    policy.rules[0].mtls = MtlsMode::kEndToEnd;
    policy.rules[1].mtls = MtlsMode::kRelay;
    return policy;
  }
  const std::string kMessage =
      "p.yaml:1: rule 'second' overlaps p.yaml:1: rule 'first': one asks for mtls end_to_end and the other "
      "for relay; give both the "
      "same mode, or part their services";
};

TEST_F(MtlsConflict, OnThePairItself_IsAnError) {
  EXPECT_EQ(error_of(both("a", "b", "a", "b")), kMessage);
}
TEST_F(MtlsConflict, OfAnyAndASegment_IsAnError) {
  EXPECT_EQ(error_of(both("any", "b", "a", "b")), kMessage);
  EXPECT_EQ(error_of(both("a", "b", "a", "any")), kMessage);
  EXPECT_EQ(error_of(both("a", "any", "any", "b")), kMessage);
}
TEST_F(MtlsConflict, OfListsThatMeet_IsAnError) {
  EXPECT_EQ(error_of(both("a,b", "c,d", "b,c", "d")), kMessage);
}
TEST_F(MtlsConflict, OfOtherSegments_IsNone) {
  EXPECT_EQ(error_of(both("a", "b", "b", "a")), "compiled");
  EXPECT_EQ(error_of(both("any", "gateway", "a", "any")), "compiled") << "`any` holds no gateway";
}
TEST_F(MtlsConflict, OfOtherServices_IsNone) {
  Policy policy = both("a", "b", "a", "b");
  policy.rules[1].services = {{tcp(91), tcp(99)}};
  EXPECT_EQ(error_of(policy), "compiled");
}
TEST_F(MtlsConflict, OfOtherTiers_IsNone) {
  Policy policy = both("a", "b", "a", "b");
  policy.rules[1].tier = Tier::kBaseline;
  EXPECT_EQ(error_of(policy), "compiled");
}
TEST_F(MtlsConflict, WithNoMtlsAtAll_IsNone) {
  Policy policy = both("a", "b", "a", "b");
  policy.rules[1].mtls = MtlsMode::kNone;
  EXPECT_EQ(error_of(policy), "compiled");
}

}  // namespace
}  // namespace bulkhead
