#include "controlplane/api/clear_rules.h"

#include <algorithm>

#include "controlplane/compiler/explain.h"

namespace bulkhead {
namespace {

std::string range_text(const ServiceRange& range) {
  std::string first = to_string(range.first);
  if (range.first == range.last) return first;
  uint32_t low = range.first.value & 0xffffff, high = range.last.value & 0xffffff;
  if (low == 0 && high >= 0xffff) return first.substr(0, first.find('/'));
  if (!has_ports(proto_of(range.first)) && high - low == 0xff) return first.substr(0, first.rfind('/'));
  std::string last = to_string(range.last);
  return first + "-" + last.substr(last.find('/') + 1);
}

}  // namespace

std::vector<std::string> service_texts(const std::vector<ServiceRange>& services) {
  static const std::vector<ServiceRange> kAny = *parse_service("any");
  std::vector<std::string> texts;
  for (auto at = services.begin(); at != services.end();) {
    if (static_cast<size_t>(services.end() - at) >= kAny.size() && std::equal(kAny.begin(), kAny.end(), at)) {
      texts.push_back("any");
      at += static_cast<ptrdiff_t>(kAny.size());
    } else {
      texts.push_back(range_text(*at++));
    }
  }
  return texts;
}

std::string selector_text(const Selector& selector) {
  if (selector.kind == Selector::Kind::kAny) return "any";
  std::string text;
  auto add = [&text](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  for (const std::string& name : selector.names) add(name);
  for (const auto& [key, value] : selector.labels) add(key + ": " + value);
  return text;
}

std::vector<v1::ClearRule> clear_rules(const Policy& policy, WallTime now) {
  std::vector<v1::ClearRule> clear;
  for (const Rule& rule : policy.rules) {
    bool holds = (!rule.after || *rule.after <= now) && (!rule.until || now < *rule.until);
    if (rule.action != Action::kAllow || rule.audit || rule.mtls != MtlsMode::kNone || !holds) continue;
    v1::ClearRule& line = clear.emplace_back();
    line.set_rule(rule.name);
    line.set_tier(std::string(name_of(rule.tier)));
    line.set_from(selector_text(rule.from));
    line.set_to(selector_text(rule.to));
    for (std::string& service : service_texts(rule.services)) line.add_services(std::move(service));
    if (rule.until) line.set_until_ns(rule.until->ns);
  }
  return clear;
}

}  // namespace bulkhead
