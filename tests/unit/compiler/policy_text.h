// Rules and members in a line each, for tests.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/policy.h"

namespace bulkhead::text {

/// "any", or names with commas.
inline Selector selector(std::string_view names) {
  Selector selector;
  if (names == "any") return selector;
  selector.kind = Selector::Kind::kNames;
  while (true) {
    size_t comma = names.find(',');
    selector.names.emplace_back(names.substr(0, comma));
    if (comma == std::string_view::npos) return selector;
    names.remove_prefix(comma + 1);
  }
}

/// A rule of tier `segment`, at p.yaml:1.
inline Rule rule(std::string name, std::string_view action, std::string_view from, std::string_view to,
                 std::vector<ServiceRange> services) {
  Rule rule;
  rule.name = std::move(name);
  rule.action = action == "allow" ? Action::kAllow : action == "ask" ? Action::kAsk : Action::kDeny;
  rule.from = selector(from);
  rule.to = selector(to);
  rule.services = std::move(services);
  rule.where = {"p.yaml", 1, 1};
  return rule;
}

inline Member member(std::string_view prefix, uint32_t line) {
  Member member;
  member.prefix = parse_prefix(prefix).value();
  member.line = line;
  return member;
}

}  // namespace bulkhead::text
