#include "expectation.h"

#include <array>
#include <stdexcept>

#include "packet_words.h"

namespace bulkhead::test {
namespace {

constexpr std::array<const char*, 7> kFates{"forward", "drop",     "reject", "consume",
                                            "hold",    "hand off", "relay"};               // by Fate
constexpr std::array<const char*, 4> kRelations{"none", "new", "established", "related"};  // by FlowRelation
constexpr std::array<const char*, 5> kTiers{"containment", "guardrail", "segment", "baseline",
                                            "default"};  // by Tier

Fate fate_named(const std::string& name) {
  for (size_t i = 0; i < kFates.size(); ++i)
    if (name == kFates[i]) return static_cast<Fate>(i);
  throw std::invalid_argument("'" + name +
                              "' isn't a fate; write forward, drop, reject, consume, hold or relay");
}

constexpr std::array<const char*, 3> kSources{"none", "binding", "tag"};  // by IdentitySource

IdentitySource source_named(const std::string& name) {
  for (size_t i = 0; i < kSources.size(); ++i)
    if (name == kSources[i]) return static_cast<IdentitySource>(i);
  throw std::invalid_argument("'" + name + "' isn't where an identity comes from");
}

Tier tier_named(const std::string& name) {
  for (size_t i = 0; i < kTiers.size(); ++i)
    if (name == kTiers[i]) return static_cast<Tier>(i);
  throw std::invalid_argument("'" + name + "' isn't a tier");
}

std::string segment(const Rig& rig, IdentityId id) {
  return rig.snapshot() != nullptr ? std::string(rig.snapshot()->image->segment_name(id)) : "unknown";
}

std::string rule(const Rig& rig, RuleIndex index) {
  return rig.snapshot() == nullptr || index == kRuleNone
             ? "none"
             : std::string(rig.snapshot()->image->rule_name(index));
}

bool is_dropped(Fate fate) {
  return fate == Fate::kDrop || fate == Fate::kReject;
}

}  // namespace

Expectation parse_expectation(const std::string& text) {
  constexpr std::string_view kLeaving = " leaving ";
  size_t leaving = text.find(kLeaving);
  Layer words(text.substr(0, leaving));
  Expectation e;
  if (leaving != std::string::npos) e.leaving = text.substr(leaving + kLeaving.size());
  e.fate = fate_named(words.kind());
  if (e.fate == Fate::kForward) e.out = words.next("the port that it leaves by");
  if (is_dropped(e.fate)) {
    std::string name = words.next("its reason");
    auto reason = drop_reason_named(name);
    if (!reason) throw std::invalid_argument("'" + name + "' isn't a drop reason");
    e.reason = *reason;
  }
  e.rule = words.value("rule");
  if (auto tier = words.value("tier")) e.tier = tier_named(*tier);
  e.source = words.value("src");
  e.destination = words.value("dst");
  if (auto from = words.value("source")) e.source_from = source_named(*from);
  if (auto mac = words.value("to")) e.to = mac_of(*mac);
  for (size_t i = 0; i < kRelations.size(); ++i)
    if (words.flag(kRelations[i])) e.relation = static_cast<FlowRelation>(i);
  words.done();
  return e;
}

std::string describe(const Rig& rig, const DataplaneSettings& settings, const PacketVerdict& v) {
  std::string text = kFates[static_cast<size_t>(v.fate)];
  if (v.fate == Fate::kForward) text += " " + settings.ports[v.out.value].name;
  if (is_dropped(v.fate)) text += " " + std::string(name_of(v.reason));
  text += std::string(" ") + kRelations[static_cast<size_t>(v.flow)];
  return text + " rule " + rule(rig, v.rule) + " tier " + kTiers[v.tier] + " src " + segment(rig, v.source) +
         " dst " + segment(rig, v.destination) + " source " + kSources[v.source_from];
}

std::string differences(const Expectation& e, const Rig& rig, const DataplaneSettings& settings,
                        const PacketVerdict& v) {
  bool same = e.fate == v.fate;
  if (same && e.fate == Fate::kForward) same = settings.ports[v.out.value].name == e.out;
  if (same && is_dropped(e.fate)) same = e.reason == v.reason;
  same = same && (!e.relation || *e.relation == v.flow);
  same = same && (!e.rule || *e.rule == rule(rig, v.rule));
  same = same && (!e.tier || *e.tier == static_cast<Tier>(v.tier));
  same = same && (!e.source || *e.source == segment(rig, v.source));
  same = same && (!e.destination || *e.destination == segment(rig, v.destination));
  same = same && (!e.source_from || *e.source_from == static_cast<IdentitySource>(v.source_from));
  return same ? "" : "it was: " + describe(rig, settings, v);
}

}  // namespace bulkhead::test
