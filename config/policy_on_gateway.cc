#include "config/policy_on_gateway.h"

#include <algorithm>
#include <map>

#include "config/report.h"

namespace bulkhead {
namespace {

/// Checks members and rules one by one. Most members have neither a port nor a whole address to compare.
class GatewayCheck {
 public:
  GatewayCheck(const Policy& policy, const DataplaneSettings& settings)
      : policy_(policy), settings_(settings) {
    for (const PortSetting& port : settings.ports)
      for (const Prefix& own : port.addresses) own_.emplace(own.address, port.name);
  }

  void check(const Member& member) {
    if (!member.port.empty()) check_port(member);
    if (own_.empty() || !member.prefix.is_host()) return;
    if (auto own = own_.find(member.prefix.address); own != own_.end())
      report_.error(where(member), to_string(member.prefix.address) + " is gateway " +
                                       in_quotes(settings_.name) + "'s own address on port " +
                                       in_quotes(own->second) +
                                       ", so it is of segment 'gateway'; remove the member");
  }
  void check(const Rule& rule) {
    if (settings_.ports.empty()) return;  // a policy by itself: no gateway is known to lack anything
    bool has_relay = std::ranges::any_of(settings_.ports, &PortSetting::relay);
    if (has_relay || rule.mtls != MtlsMode::kRelay || rule.action == Action::kDeny) return;
    report_.warning(rule.where, "gateway " + in_quotes(settings_.name) +
                                    " has no mTLS relay, so what this covers is denied as relay_unavailable; "
                                    "give it 'svid', or let traffic of this policy go elsewhere");
  }
  Diagnostics finish() { return report_.finish(); }

 private:
  void check_port(const Member& member) {
    std::string_view text = member.port;
    size_t slash = text.find('/');
    if (text.substr(0, slash) != settings_.name) return;
    std::string_view name = text.substr(slash + 1);
    auto port = std::ranges::find(settings_.ports, name, &PortSetting::name);
    if (port == settings_.ports.end()) {
      std::vector<std::string> names;
      for (const PortSetting& one : settings_.ports) names.push_back(one.name);
      report_.error(where(member), "gateway " + in_quotes(settings_.name) + " has no port " +
                                       in_quotes(name) + report_.did_you_mean(name, names) + " to bind " +
                                       to_string(member.prefix) +
                                       " to; correct the name, or remove the key 'port'");
    } else if (!port->any_source && !is_within(member.prefix, port->sources)) {
      report_.warning(where(member), to_string(member.prefix) + " is outside the sources of port " +
                                         in_quotes(member.port) +
                                         ", so its packets are dropped as spoofed_source; add it there, or "
                                         "correct the port");
    }
  }

  static bool is_within(const Prefix& prefix, const std::vector<Prefix>& sources) {
    return std::ranges::any_of(
        sources, [&](const Prefix& s) { return s.bits <= prefix.bits && s.contains(prefix.address); });
  }
  Location where(const Member& member) const {
    return {policy_.files[member.file], member.line, member.column};
  }

  const Policy& policy_;
  const DataplaneSettings& settings_;
  std::map<IpAddress, std::string> own_;
  Report report_;
};

}  // namespace

void check_on_gateway(LoadedPolicy& loaded, const DataplaneSettings& settings) {
  if (!loaded.policy) return;
  GatewayCheck on_gateway(*loaded.policy, settings);
  for (const Segment& segment : loaded.policy->segments)
    for (const Member& member : segment.members) on_gateway.check(member);
  for (const Rule& rule : loaded.policy->rules) on_gateway.check(rule);
  Diagnostics found = on_gateway.finish();
  loaded.diagnostics.insert(loaded.diagnostics.end(), found.begin(), found.end());
  if (has_errors(found)) loaded.policy.reset();
}

}  // namespace bulkhead
