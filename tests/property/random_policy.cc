#include "random_policy.h"

#include <algorithm>
#include <span>

#include "base/service.h"

namespace bulkhead::naive {

namespace {

constexpr const char* kPorts[] = {"left", "right"};
const MacAddress kMacs[] = {{{2, 0, 0, 0, 0, 1}}, {{2, 0, 0, 0, 0, 2}}};
constexpr uint16_t kVlans[] = {0, 10, 20};

/// Few distinct bits, at the places where prefixes end.
IpAddress random_address(Chance& chance) {
  if (chance.one_in(2)) {
    constexpr uint32_t kBases[] = {0x0a000000, 0x0a010000, 0x0a018000, 0x0a010200, 0xc0a80000, 0x80000000};
    return IpAddress::v4(chance.of(kBases) + static_cast<uint32_t>(chance.below(4)));
  }
  IpAddress address;
  constexpr uint8_t kFirst[] = {0xfd, 0x20, 0x80};
  address.bytes[0] = chance.of(kFirst);
  address.bytes[7] = static_cast<uint8_t>(chance.below(2));
  address.bytes[8] = static_cast<uint8_t>(chance.below(2) << 7);
  address.bytes[15] = static_cast<uint8_t>(chance.below(4));
  return address;
}

Prefix random_prefix(Chance& chance) {
  constexpr uint8_t kV4Bits[] = {96, 97, 104, 112, 113, 120, 126, 127, 128, 128, 128};
  constexpr uint8_t kV6Bits[] = {0, 1, 8, 32, 63, 64, 65, 96, 120, 127, 128, 128};
  IpAddress address = random_address(chance);
  uint8_t bits = address.is_v4() ? chance.of(kV4Bits) : chance.of(kV6Bits);
  for (int bit = bits; bit < 128; ++bit) address.bytes[bit / 8] &= static_cast<uint8_t>(~(0x80 >> bit % 8));
  return {address, bits};
}

Member random_member(Chance& chance, const Prefix& prefix, const Gateway& gateway) {
  Member member;
  member.prefix = prefix;
  if (chance.one_in(6))
    member.port = (chance.one_in(3) ? "elsewhere" : gateway.name) + "/" + chance.of(kPorts);
  if (member.port.starts_with("elsewhere")) member.port = "elsewhere/uplink";
  if (chance.one_in(8)) member.vlan = chance.of(kVlans);
  if (chance.one_in(8)) member.mac = chance.of(kMacs);
  if (chance.one_in(3)) member.spiffe = "spiffe://corp.example/" + std::to_string(chance.below(5));
  if (chance.one_in(3)) member.workload = "workload-" + std::to_string(chance.below(5));
  return member;
}

std::vector<Segment> random_segments(Chance& chance, const Gateway& gateway) {
  std::vector<Segment> segments(chance.one_in(8) ? 10 + chance.below(15) : 1 + chance.below(6));
  std::set<uint16_t> tags{kTagFirstUser.value, kTagLastUser.value};
  while (tags.size() < segments.size()) tags.insert(static_cast<uint16_t>(chance.between(2, 65534)));
  std::set<Prefix> taken;
  for (const IpAddress& own : gateway.own_addresses) taken.insert({own, 128});
  auto tag = tags.begin();
  for (size_t i = 0; i < segments.size(); ++i, ++tag) {
    Segment& segment = segments[i];
    segment.name = "s" + std::string(1, static_cast<char>('a' + (i * 7) % 26));
    segment.tag = SegmentTag{*tag};
    for (const char* key : {"tier", "data"})
      if (!chance.one_in(3)) segment.labels[key] = chance.one_in(2) ? "red" : "blue";
    for (size_t members = chance.below(5); members-- > 0;) {
      Prefix prefix = random_prefix(chance);
      if (taken.insert(prefix).second) segment.members.push_back(random_member(chance, prefix, gateway));
    }
  }
  std::ranges::sort(segments, {}, &Segment::name);
  return segments;
}

Selector random_selector(Chance& chance, const std::vector<Segment>& segments) {
  Selector selector;
  if (chance.one_in(4)) return selector;
  if (chance.one_in(4)) {
    selector.kind = Selector::Kind::kLabels;
    selector.labels["tier"] = chance.one_in(2) ? "red" : "blue";
    if (chance.one_in(3)) selector.labels["data"] = "red";
    return selector;
  }
  selector.kind = Selector::Kind::kNames;
  size_t count = chance.one_in(3) ? 1 + chance.below(segments.size()) : 1;
  std::set<std::string> names;
  for (size_t i = 0; i < count; ++i) names.insert(chance.of(segments).name);
  if (chance.one_in(8)) names.insert("unknown");
  if (chance.one_in(8)) names.insert("gateway");
  if (chance.one_in(16)) names = {chance.one_in(2) ? "unknown" : "gateway"};
  selector.names.assign(names.begin(), names.end());
  return selector;
}

ServiceRange range(IpProto proto, uint16_t first, uint16_t last) {
  return {service_key(proto, first), service_key(proto, last)};
}

std::vector<ServiceRange> random_services(Chance& chance) {
  static const std::vector<ServiceRange> kEvery{
      range(IpProto::kTcp, 0, 65535), range(IpProto::kUdp, 0, 65535), range(IpProto::kSctp, 0, 65535),
      range(IpProto::kIcmp, 0, 65535), range(IpProto::kIcmpv6, 0, 65535)};
  static const ServiceRange kSome[] = {range(IpProto::kTcp, 0, 65535),
                                       range(IpProto::kTcp, 1, 1),
                                       range(IpProto::kTcp, 2, 4),
                                       range(IpProto::kTcp, 3, 6),
                                       range(IpProto::kTcp, 5, 5),
                                       range(IpProto::kTcp, 7, 65535),
                                       range(IpProto::kUdp, 0, 65535),
                                       range(IpProto::kUdp, 53, 53),
                                       range(IpProto::kUdp, 4789, 4789),
                                       range(IpProto::kUdp, 4700, 4800),
                                       range(IpProto::kUdp, 6080, 6081),
                                       range(IpProto::kUdp, 6081, 6081),
                                       range(IpProto::kUdp, 6000, 6081),
                                       range(IpProto::kUdp, 3544, 3545),
                                       range(IpProto::kIcmp, 0, 65535),
                                       range(IpProto::kIcmp, 0x0800, 0x0800),
                                       range(IpProto::kIcmp, 0x0300, 0x03ff),
                                       range(IpProto::kIcmpv6, 0x8000, 0x80ff),
                                       range(IpProto::kGre, 0, 0),
                                       range(IpProto::kSctp, 1, 9)};
  std::vector<ServiceRange> services;
  if (chance.one_in(4)) services = kEvery;
  do services.push_back(chance.of(kSome));
  while (chance.one_in(2));
  return services;
}

ServiceKey random_service(Chance& chance) {
  constexpr uint16_t kUdp[] = {0,    52,   53,   54,   3543, 3544, 3545, 4699,
                               4788, 4789, 4790, 6079, 6080, 6081, 6082, 65535};
  constexpr uint16_t kIcmp[] = {0,      0x02ff, 0x0300, 0x0303, 0x03ff, 0x0400,
                                0x0800, 0x0801, 0x8000, 0x80ff, 0xffff};
  switch (chance.below(8)) {
    case 0:
    case 1:
      return service_key(IpProto::kUdp, chance.of(kUdp));
    case 2:
      return service_key(IpProto::kIcmp, chance.of(kIcmp));
    case 3:
      return service_key(IpProto::kIcmpv6, chance.of(kIcmp));
    case 4:
      return service_key(chance.one_in(2) ? IpProto::kGre : IpProto::kSctp, 0);
    default:
      return service_key(IpProto::kTcp, static_cast<uint16_t>(chance.one_in(8) ? 65535 : chance.below(9)));
  }
}

constexpr const char* kPatterns[] = {"*.a.example", "*.example", "a.example", "b.a.example", "example"};
constexpr const char* kServerNames[] = {"",         "example", "a.example", "b.a.example", "c.b.a.example",
                                        "b.example"};

Rule random_rule(Chance& chance, const std::vector<Segment>& segments, std::span<const MtlsMode> modes) {
  constexpr Tier kTiers[] = {Tier::kGuardrail, Tier::kSegment, Tier::kSegment, Tier::kBaseline};
  constexpr Action kActions[] = {Action::kDeny, Action::kAsk, Action::kAllow, Action::kAllow, Action::kAllow};
  Rule rule;
  rule.tier = chance.of(kTiers);
  rule.action = chance.of(kActions);
  rule.from = random_selector(chance, segments);
  rule.to = random_selector(chance, segments);
  rule.services = random_services(chance);
  if (rule.action != Action::kDeny) rule.mtls = chance.of(modes);
  if (rule.action == Action::kAllow && rule.mtls == MtlsMode::kEndToEnd)
    for (const char* pattern : kPatterns)  // in their order
      if (chance.one_in(4)) rule.sni.push_back(pattern);
  if (rule.action == Action::kDeny) rule.reject = chance.one_in(2);
  if (chance.one_in(4)) rule.after = WallTime{chance.between(0, kLastInstant)};
  if (chance.one_in(3)) rule.until = WallTime{chance.between(0, kLastInstant)};
  rule.log = chance.one_in(3);
  rule.audit = chance.one_in(5);
  return rule;
}

IpAddress random_end(Chance& chance, const Policy& policy, const Gateway& gateway) {
  if (chance.one_in(10)) return chance.of(gateway.own_addresses);
  const Segment& segment = chance.of(policy.segments);
  if (segment.members.empty() || chance.one_in(4)) return random_address(chance);
  IpAddress address = chance.of(segment.members).prefix.address;
  if (chance.one_in(2)) address.bytes[15] ^= static_cast<uint8_t>(chance.below(4));
  return address;
}

}  // namespace

Policy random_policy(Chance& chance, const Gateway& gateway) {
  constexpr MtlsMode kEither[] = {MtlsMode::kNone, MtlsMode::kEndToEnd, MtlsMode::kRelay};
  Policy policy;
  policy.files = {"a.yaml"};
  policy.segments = random_segments(chance, gateway);
  // Mostly one mode a policy, since policies that mix them are mostly refused.
  std::span<const MtlsMode> modes = kEither;
  if (!chance.one_in(8)) modes = chance.one_in(2) ? modes.first(2) : modes.first(1);
  size_t count = chance.below(chance.one_in(4) ? 30 : 8);
  for (size_t i = 0; i < count; ++i) {
    policy.rules.push_back(random_rule(chance, policy.segments, modes));
    policy.rules.back().name = "rule-" + std::to_string(i);
    policy.rules.back().where = {"a.yaml", static_cast<uint32_t>(i + 1), 1};
  }
  if (modes.size() == 2 && chance.one_in(2))
    for (Rule& rule : policy.rules)
      if (rule.mtls == MtlsMode::kEndToEnd) rule.mtls = MtlsMode::kRelay, rule.sni.clear();
  return policy;
}

Packet random_packet(Chance& chance, const Policy& policy, const Gateway& gateway) {
  return {.from = random_end(chance, policy, gateway),
          .to = random_end(chance, policy, gateway),
          .port = chance.of(kPorts),
          .vlan = chance.of(kVlans),
          .mac = chance.of(kMacs),
          .service = random_service(chance),
          .server_name = chance.of(kServerNames)};
}

std::set<Prefix> random_containment(Chance& chance, const Policy& policy) {
  std::set<Prefix> contained;
  if (!chance.one_in(4)) return contained;
  for (const Segment& segment : policy.segments)
    for (const Member& member : segment.members)
      if (member.prefix.bits != 0 && chance.one_in(4)) contained.insert(member.prefix);
  return contained;
}

}  // namespace bulkhead::naive
