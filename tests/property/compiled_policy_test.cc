// The compiled state and the naive evaluator agree. BULKHEAD_SEED chooses another run, BULKHEAD_POLICIES its
// length.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "controlplane/compiler/compile.h"
#include "naive_policy.h"
#include "policy/evaluate.h"
#include "random_policy.h"

namespace bulkhead {
namespace {

constexpr size_t kPacketsOfPolicy = 50;

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

const naive::Gateway kGateway{"edge-1", {IpAddress::v4(0x0a0100fe), IpAddress::v4(0xc0a80001)}};
const CompileTarget kTarget{"edge-1", {"left", "right"}, kGateway.own_addresses};

std::string text(const std::optional<size_t>& rule) {
  return rule ? std::to_string(*rule) : "none";
}
std::string text(RuleIndex rule) {
  return rule == kRuleNone ? "none" : std::to_string(rule.value);
}

/// What both sides say of an end, and of the decision, in words: so that a difference reads at once.
std::string text(const std::string& segment, bool bound, bool contained, bool spoofed) {
  return segment + (bound ? " bound" : "") + (contained ? " contained" : "") + (spoofed ? " spoofed" : "");
}
std::string text(const naive::Answer& answer, const Policy& policy) {
  Tier tier = answer.rule                                ? policy.rules[*answer.rule].tier
              : answer.reason == DropReason::k_contained ? Tier::kContainment
                                                         : Tier::kDefault;
  Action audit = answer.audit_rule ? policy.rules[*answer.audit_rule].action : Action::kDeny;
  return text(answer.source.segment, answer.source.bound, answer.source.contained, answer.source.spoofed) +
         " to " +
         text(answer.destination.segment, answer.destination.bound, answer.destination.contained, false) +
         ": verdict " + std::to_string(static_cast<int>(answer.verdict)) + " " +
         std::string(name_of(answer.reason)) + " tier " + std::to_string(static_cast<int>(tier)) + " rule " +
         text(answer.rule) + (answer.reject ? " reject" : "") + (answer.log ? " log" : "") + " mtls " +
         std::to_string(static_cast<int>(answer.mtls)) + (answer.admits_name ? " admits" : "") + " until " +
         std::to_string(answer.until.value_or(INT64_MAX)) + " audit " + text(answer.audit_rule) + "/" +
         std::to_string(static_cast<int>(audit));
}
std::string text(const Evaluation& e, const ImageView& image) {
  const Decision& d = e.decision;
  return text(std::string(image.segment_name(e.source.identity)), e.source.source == IdentitySource::kBinding,
              e.source.contained, e.source.spoofed) +
         " to " +
         text(std::string(image.segment_name(e.destination.identity)),
              e.destination.source == IdentitySource::kBinding, e.destination.contained, false) +
         ": verdict " + std::to_string(static_cast<int>(d.verdict)) + " " + std::string(name_of(d.reason)) +
         " tier " + std::to_string(static_cast<int>(d.tier)) + " rule " + text(d.rule) +
         (d.reject ? " reject" : "") + (d.log ? " log" : "") + " mtls " +
         std::to_string(static_cast<int>(d.mtls)) + (d.admits_name ? " admits" : "") + " until " +
         std::to_string(d.until.ns) + " audit " + text(d.audit_rule) + "/" +
         std::to_string(static_cast<int>(d.audit_action));
}

/// One policy, compiled and loaded as a dataplane does it.
class Enforced {
 public:
  Enforced(const CompiledPolicy& compiled, const std::set<Prefix>& contained)
      : image_(read_image(compiled.image.span())), endpoints_(compiled.endpoints.size()) {
    for (Endpoint endpoint : compiled.endpoints) {
      if (contained.contains(Prefix{endpoint.address, endpoint.bits})) endpoint.flags |= kEndpointContained;
      EXPECT_TRUE(endpoints_.put(endpoint));
    }
  }
  bool accepted() const { return image_.has_value(); }
  std::string refusal() const { return image_ ? "" : image_.error().message; }
  const ImageView& image() const { return *image_; }

  Evaluation judge(const naive::Packet& packet, int64_t now) const {
    Origin origin{packet.from, PortId{static_cast<uint8_t>(packet.port == "left" ? 0 : 1)}, packet.vlan,
                  packet.mac};
    std::string_view name = packet.server_name;
    return evaluate(*image_, endpoints_, origin, packet.to, packet.service, BootTime{now}, &name);
  }

 private:
  Expected<ImageView> image_;
  EndpointTable endpoints_;
};

std::string text(const naive::Packet& packet, int64_t now) {
  return to_string(packet.from) + " to " + to_string(packet.to) + " " + to_string(packet.service) + " on " +
         packet.port + " vlan " + std::to_string(packet.vlan) + " at " + std::to_string(now);
}

/// The verdict stands until next_change: asked at each instant before it, nothing is different.
void expect_stands_until_next_change(const Enforced& enforced, const naive::Packet& packet, int64_t now) {
  Evaluation first = enforced.judge(packet, now);
  std::string before = text(first, enforced.image());
  EXPECT_GT(first.decision.next_change.ns, now);
  for (int64_t later = now + 1; later <= naive::kLastInstant + 2 && later < first.decision.next_change.ns;
       ++later)
    EXPECT_EQ(text(enforced.judge(packet, later), enforced.image()), before)
        << "at " << later << ", before next_change " << first.decision.next_change.ns;
}

/// How often each kind of answer came up: a run in which one hardly does proves nothing about it.
using Seen = std::map<std::string, size_t>;
void note(const Decision& decision, Seen& seen) {
  constexpr const char* kVerdicts[] = {"deny", "ask", "allow"};
  constexpr const char* kModes[] = {"no mtls", "end_to_end", "relay"};
  ++seen[kVerdicts[static_cast<int>(decision.verdict)]];
  ++seen[std::string(name_of(decision.reason))];
  ++seen[kModes[static_cast<int>(decision.mtls)]];
  if (decision.mtls == MtlsMode::kEndToEnd) ++seen[decision.admits_name ? "name admitted" : "name refused"];
  if (decision.reject) ++seen["reject"];
  if (decision.until != kNever) ++seen["allow with a deadline"];
  if (decision.next_change != kNever) ++seen["change ahead"];
  if (decision.audit_rule != kRuleNone) ++seen["audit"];
}
constexpr const char* kMustBeSeen[] = {"deny",
                                       "ask",
                                       "allow",
                                       "policy_denied",
                                       "policy_explicit_deny",
                                       "grant_expired",
                                       "identity_unknown",
                                       "contained",
                                       "spoofed_source",
                                       "end_to_end",
                                       "name admitted",
                                       "name refused",
                                       "relay",
                                       "reject",
                                       "allow with a deadline",
                                       "change ahead",
                                       "audit"};

/// Judges packets of one random policy both ways; returns how many.
size_t check_one(uint64_t seed, Seen& seen) {
  naive::Chance chance(seed);
  Policy policy = naive::random_policy(chance, kGateway);
  auto compiled = compile(policy, kTarget, wall_as_boot);
  EXPECT_EQ(!compiled, naive::has_mtls_conflict(policy))
      << (compiled ? "compiled" : compiled.error().message);
  if (!compiled) return 0;
  auto again = compile(policy, kTarget, wall_as_boot);
  EXPECT_TRUE(again && std::ranges::equal(compiled->image.span(), again->image.span()))
      << "the same policy gave other bytes";

  auto contained = naive::random_containment(chance, policy);
  Enforced enforced(*compiled, contained);
  EXPECT_TRUE(enforced.accepted()) << enforced.refusal();
  if (!enforced.accepted()) return 0;
  for (size_t i = 0; i < kPacketsOfPolicy && !testing::Test::HasFailure(); ++i) {
    naive::Packet packet = naive::random_packet(chance, policy, kGateway);
    int64_t now = chance.between(-1, naive::kLastInstant + 1);
    SCOPED_TRACE("packet " + std::to_string(i) + ": " + text(packet, now));
    Evaluation evaluation = enforced.judge(packet, now);
    note(evaluation.decision, seen);
    EXPECT_EQ(text(evaluation, enforced.image()),
              text(naive::judge(policy, kGateway, contained, packet, now), policy));
    expect_stands_until_next_change(enforced, packet, now);
  }
  return kPacketsOfPolicy;
}

TEST(CompiledPolicy, AgreesWithTheNaiveEvaluator_OnRandomPoliciesAndPackets) {
  uint64_t first = from_environment("BULKHEAD_SEED", 1);
  uint64_t policies = from_environment("BULKHEAD_POLICIES", 2500);
  size_t packets = 0;
  Seen seen;
  for (uint64_t seed = first; seed < first + policies && !HasFailure(); ++seed) {
    SCOPED_TRACE("BULKHEAD_SEED=" + std::to_string(seed) + " BULKHEAD_POLICIES=1 repeats it");
    packets += check_one(seed, seen);
  }
  if (HasFailure()) return;
  RecordProperty("packets", static_cast<int>(packets));
  EXPECT_GE(packets, policies * kPacketsOfPolicy * 8 / 10)
      << "too many random policies were refused for the run to mean much";
  if (policies < 1000) return;
  for (const char* kind : kMustBeSeen)
    EXPECT_GE(seen[kind] * 500, packets) << kind << " came up only " << seen[kind] << " times";
}

}  // namespace
}  // namespace bulkhead
