#include "naive_policy.h"

#include <algorithm>

namespace bulkhead::naive {

namespace {

bool bit_of(const IpAddress& address, int bit) {
  return (address.bytes[bit / 8] >> (7 - bit % 8)) & 1;
}

bool holds(const Prefix& prefix, const IpAddress& address) {
  if (prefix.address.is_v4() != address.is_v4()) return false;
  for (int bit = 0; bit < prefix.bits; ++bit)
    if (bit_of(prefix.address, bit) != bit_of(address, bit)) return false;
  return true;
}

/// The longest prefix wins across segments; the gateway's own addresses are segment `gateway`.
Who who_is(const Policy& policy, const Gateway& gateway, const std::set<Prefix>& contained,
           const IpAddress& address, const Packet* sent) {
  for (const IpAddress& own : gateway.own_addresses)
    if (own == address) return {"gateway", true, contained.contains(Prefix{own, 128}), false};
  const Member* longest = nullptr;
  Who who;
  for (const Segment& segment : policy.segments) {
    for (const Member& member : segment.members) {
      if (!holds(member.prefix, address)) continue;
      if (longest != nullptr && longest->prefix.bits >= member.prefix.bits) continue;
      longest = &member;
      who = {segment.name, true, contained.contains(member.prefix), false};
    }
  }
  if (longest == nullptr || sent == nullptr) return who;
  bool port_binds_here = longest->port.starts_with(gateway.name + "/");
  if (!longest->port.empty() && !port_binds_here) return who;  // port, VLAN and MAC are for that gateway
  if (port_binds_here && longest->port != gateway.name + "/" + sent->port) who.spoofed = true;
  if (longest->vlan && *longest->vlan != sent->vlan) who.spoofed = true;
  if (longest->mac && *longest->mac != sent->mac) who.spoofed = true;
  return who;
}

bool names(const Selector& selector, const Policy& policy, const std::string& segment) {
  const Segment* defined = nullptr;
  for (const Segment& s : policy.segments)
    if (s.name == segment) defined = &s;
  switch (selector.kind) {
    case Selector::Kind::kAny:
      return defined != nullptr;
    case Selector::Kind::kNames:
      return std::count(selector.names.begin(), selector.names.end(), segment) > 0;
    case Selector::Kind::kLabels:
      break;
  }
  if (defined == nullptr) return false;
  for (const auto& [key, value] : selector.labels) {
    auto label = defined->labels.find(key);
    if (label == defined->labels.end() || label->second != value) return false;
  }
  return true;
}

bool is_tunnel(uint32_t key) {
  uint32_t port = key & 0xffff;
  return key >> 24 == 17 && (port == 3544 || port == 4789 || port == 6080 || port == 6081);
}

/// "UDP to [a tunnel's port] only under a rule that names that port": which widens nothing for a deny.
bool asks_about(const Rule& rule, uint32_t key) {
  for (const ServiceRange& range : rule.services) {
    if (key < range.first.value || key > range.last.value) continue;
    bool exact = range.first == range.last;
    if (rule.action == Action::kDeny || exact || !is_tunnel(key)) return true;
  }
  return false;
}

bool matches(const Rule& rule, const Policy& policy, const std::string& source,
             const std::string& destination, uint32_t key) {
  return names(rule.from, policy, source) && names(rule.to, policy, destination) && asks_about(rule, key);
}
bool holds_at(const Rule& rule, int64_t now) {
  return (!rule.after || now >= rule.after->ns) && (!rule.until || now < rule.until->ns);
}

/// The rules of the first tier with a match, of the strongest action in it, in order.
std::vector<size_t> deciding(const Policy& policy, const std::vector<size_t>& candidates) {
  for (Tier tier : {Tier::kGuardrail, Tier::kSegment, Tier::kBaseline}) {
    for (Action action : {Action::kDeny, Action::kAsk, Action::kAllow}) {
      std::vector<size_t> found;
      for (size_t index : candidates)
        if (policy.rules[index].tier == tier && policy.rules[index].action == action) found.push_back(index);
      if (!found.empty()) return found;
    }
  }
  return {};
}

/// Whether a name is the pattern's, or all but its first label is what stands behind the pattern's "*".
bool is_meant(const std::string& pattern, const std::string& name) {
  if (pattern[0] != '*') return pattern == name;
  size_t label = name.find('.');
  return label != std::string::npos && name.substr(label) == pattern.substr(1);
}

void decide(Answer& answer, const Policy& policy, uint32_t key, const std::string& server_name, int64_t now) {
  std::vector<size_t> live, live_and_audited;
  bool grant_ran_out = false;
  for (size_t index = 0; index < policy.rules.size(); ++index) {
    const Rule& rule = policy.rules[index];
    if (!matches(rule, policy, answer.source.segment, answer.destination.segment, key)) continue;
    if (holds_at(rule, now)) {
      live_and_audited.push_back(index);
      if (!rule.audit) live.push_back(index);
    }
    if (!rule.audit && rule.action == Action::kAllow && rule.until && now >= rule.until->ns)
      grant_ran_out = true;
  }

  auto with_audit = deciding(policy, live_and_audited);
  if (!with_audit.empty() && policy.rules[with_audit.front()].audit) answer.audit_rule = with_audit.front();

  auto decision = deciding(policy, live);
  if (decision.empty()) {
    bool unknown = answer.source.segment == "unknown" || answer.destination.segment == "unknown";
    answer.reason = grant_ran_out ? DropReason::k_grant_expired
                    : unknown     ? DropReason::k_identity_unknown
                                  : DropReason::k_policy_denied;
    return;
  }
  const Rule& first = policy.rules[decision.front()];
  answer.rule = decision.front();
  answer.verdict = first.action;
  answer.log = first.log;
  if (first.action == Action::kDeny) {
    answer.reason = DropReason::k_policy_explicit_deny;
    answer.reject = first.reject;
  }
  if (first.action == Action::kAsk) answer.mtls = first.mtls;
  if (first.action != Action::kAllow) return;
  answer.until = INT64_MIN;
  for (size_t index : decision) {
    const Rule& rule = policy.rules[index];
    answer.mtls = std::max(answer.mtls, rule.mtls);
    if (rule.mtls == MtlsMode::kEndToEnd)
      answer.admits_name |=
          rule.sni.empty() || std::ranges::any_of(rule.sni, [&](const std::string& pattern) {
            return is_meant(pattern, server_name);
          });
    if (!rule.until) answer.until.reset();
    if (rule.until && answer.until) answer.until = std::max(*answer.until, rule.until->ns);
  }
}

}  // namespace

Answer judge(const Policy& policy, const Gateway& gateway, const std::set<Prefix>& contained,
             const Packet& packet, int64_t now_ns) {
  Answer answer;
  answer.source = who_is(policy, gateway, contained, packet.from, &packet);
  answer.destination = who_is(policy, gateway, contained, packet.to, nullptr);
  if (answer.source.spoofed) {
    answer.reason = DropReason::k_spoofed_source;
  } else if (answer.source.contained || answer.destination.contained) {
    answer.reason = DropReason::k_contained;
  } else {
    decide(answer, policy, packet.service.value, packet.server_name, now_ns);
  }
  return answer;
}

bool has_mtls_conflict(const Policy& policy) {
  std::vector<std::string> everyone{"unknown", "gateway"};
  for (const Segment& segment : policy.segments) everyone.push_back(segment.name);
  auto share = [&](const Selector& a, const Selector& b) {
    return std::ranges::any_of(everyone,
                               [&](const auto& s) { return names(a, policy, s) && names(b, policy, s); });
  };
  // Two unions of ranges meet in a key that is the first of one of their parts, or that follows a tunnel port
  // left out.
  auto share_service = [](const Rule& a, const Rule& b) {
    std::vector<uint32_t> keys;
    for (const Rule* rule : {&a, &b})
      for (const ServiceRange& range : rule->services) keys.push_back(range.first.value);
    for (uint32_t port : {3544, 4789, 6080, 6081, 6082})
      keys.insert(keys.end(), {17u << 24 | port, 17u << 24 | (port + 1)});
    return std::ranges::any_of(keys, [&](uint32_t key) { return asks_about(a, key) && asks_about(b, key); });
  };
  for (const Rule& a : policy.rules)
    for (const Rule& b : policy.rules)
      if (a.action == Action::kAllow && b.action == Action::kAllow && a.tier == b.tier &&
          a.mtls == MtlsMode::kEndToEnd && b.mtls == MtlsMode::kRelay && share(a.from, b.from) &&
          share(a.to, b.to) && share_service(a, b))
        return true;
  return false;
}

}  // namespace bulkhead::naive
