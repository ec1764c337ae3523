#include "sample_image.h"

namespace bulkhead {

namespace {

Selector named(std::vector<std::string> names) {
  return {Selector::Kind::kNames, std::move(names), {}};
}
ServiceRange range(IpProto proto, uint16_t first, uint16_t last) {
  return {service_key(proto, first), service_key(proto, last)};
}

Rule rule(std::string name, Tier tier, Action action, Selector from, Selector to,
          std::vector<ServiceRange> services) {
  Rule rule;
  rule.name = std::move(name);
  rule.tier = tier;
  rule.action = action;
  rule.from = std::move(from);
  rule.to = std::move(to);
  rule.services = std::move(services);
  rule.where = {"policy.yaml", 1, 1};
  return rule;
}

void add_segments(Policy& policy) {
  for (uint16_t i = 0; i < 10; ++i) {
    Segment segment;
    segment.name = "segment-" + std::to_string(i);
    segment.tag = SegmentTag{static_cast<uint16_t>(100 + 10 * i)};
    segment.labels["parity"] = i % 2 == 0 ? "even" : "odd";
    Member member;
    member.prefix = {IpAddress::v4(0x0a000000 + i * 256u), 120};
    segment.members.push_back(member);
    policy.segments.push_back(std::move(segment));
  }
}

}  // namespace

Policy sample_policy() {
  Policy policy;
  policy.files = {"policy.yaml"};
  add_segments(policy);
  std::vector<std::string> first_nine;
  for (size_t i = 0; i < 9; ++i) first_nine.push_back(policy.segments[i].name);
  const ServiceRange ssh = range(IpProto::kTcp, 22, 22), web = range(IpProto::kTcp, 80, 443),
                     ping = range(IpProto::kIcmp, 0x0800, 0x0800);
  const ServiceRange every_tcp = range(IpProto::kTcp, 0, 65535), every_udp = range(IpProto::kUdp, 0, 65535);
  const Selector any, even{Selector::Kind::kLabels, {}, {{"parity", "even"}}};

  auto& rules = policy.rules;
  rules.push_back(
      rule("no-telnet", Tier::kGuardrail, Action::kDeny, any, any, {range(IpProto::kTcp, 23, 23)}));
  rules.back().reject = true;
  rules.push_back(rule("nine-to-nine", Tier::kSegment, Action::kAllow, named(first_nine), named(first_nine),
                       {web, ping}));
  rules.push_back(
      rule("web", Tier::kSegment, Action::kAllow, named({"segment-0"}), named({"segment-1"}), {web, ssh}));
  rules.back().mtls = MtlsMode::kRelay;
  rules.push_back(
      rule("grant", Tier::kSegment, Action::kAllow, named({"segment-0"}), named({"segment-9"}), {ssh}));
  rules.back().until = WallTime{1000};
  rules.push_back(
      rule("later", Tier::kSegment, Action::kAsk, named({"segment-0"}), named({"segment-9"}), {every_tcp}));
  rules.back().after = WallTime{2000};
  rules.push_back(
      rule("tried-out", Tier::kSegment, Action::kDeny, any, named({"segment-9"}), {every_tcp, every_udp}));
  rules.back().audit = true;
  rules.push_back(rule("logged", Tier::kBaseline, Action::kAllow, even, even, {every_udp}));
  rules.back().log = true;
  for (uint16_t port = 1; port < 20; ++port)
    rules.push_back(rule("port-" + std::to_string(port), Tier::kBaseline, Action::kAllow,
                         named({"segment-2"}), named({"segment-3"}),
                         {range(IpProto::kTcp, port * 2, port * 2)}));
  for (const char* name : {"encrypted", "encrypted-too"}) {
    rules.push_back(rule(name, Tier::kSegment, Action::kAllow, named({"segment-4"}), named({"segment-5"}),
                         {range(IpProto::kTcp, 8443, 8443)}));
    rules.back().mtls = MtlsMode::kEndToEnd;
  }
  rules[rules.size() - 2].sni = {"*.apps.example", "db.corp.example"};
  rules.back().sni = {"mail.corp.example"};
  rules.push_back(rule("encrypted-for-now", Tier::kSegment, Action::kAllow, named({"segment-4"}),
                       named({"segment-5"}), {range(IpProto::kTcp, 8443, 8443)}));
  rules.back().mtls = MtlsMode::kEndToEnd;
  rules.back().until = WallTime{1000};
  rules.push_back(rule("visitors", Tier::kBaseline, Action::kAllow, named({"unknown"}),
                       named({"gateway", "segment-1"}), {ping}));
  return policy;
}

CompiledPolicy compiled_sample() {
  return compile(sample_policy(), {"edge-1", {"left"}, {}}, wall_as_boot).value();
}

}  // namespace bulkhead
