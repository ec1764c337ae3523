#include <algorithm>
#include <array>
#include <set>

#include "config/policy_reader.h"

namespace bulkhead {
namespace {

std::optional<MtlsMode> read_mtls(const yaml::Node& node, Source& source) {
  return Choice<MtlsMode>{{"none", MtlsMode::kNone},
                          {"end_to_end", MtlsMode::kEndToEnd},
                          {"relay", MtlsMode::kRelay}}(node, source);
}

const Choice<Action>& action_words() {
  static const Choice<Action> words{
      {"allow", Action::kAllow}, {"deny", Action::kDeny}, {"ask", Action::kAsk}};
  return words;
}

}  // namespace

void RuleReader::read_rules(const yaml::Node& policies, Source& source) {
  if (policies.kind != yaml::Kind::kSequence)
    return source.error(policies.mark, "policies must be a list; write each after '- '");
  for (const yaml::Node& node : policies.items) read_rule(node, source);
}

void RuleReader::read_rule(const yaml::Node& node, Source& source) {
  static const Choice<Tier> kTiers{
      {"guardrail", Tier::kGuardrail}, {"segment", Tier::kSegment}, {"baseline", Tier::kBaseline}};
  Rule rule;
  rule.where = source.at(node.mark);
  Fields fields(node, source, "a policy");
  if (node.kind != yaml::Kind::kMapping) return;
  read_name(fields, rule);
  fields.optional("tier", rule.tier, kTiers);
  auto selector = [this](const yaml::Node& value, Source& in) { return read_selector(value, in); };
  fields.required("from", rule.from, selector);
  fields.required("to", rule.to, selector);
  read_action(fields, rule);
  read_mtls_of(fields, rule);
  fields.unavailable("when");
  read_deadlines(fields, rule);
  fields.optional("log", rule.log, read_boolean);
  fields.optional("audit", rule.audit, read_boolean);
  fields.done();
  policy_.rules.push_back(std::move(rule));
}

void RuleReader::read_name(Fields& fields, Rule& rule) {
  if (!fields.required("name", rule.name, bulkhead::read_name)) return;
  Mark mark = fields.node().find("name")->mark;
  auto [first, is_new] = rule_names_.try_emplace(rule.name, fields.source().at(mark));
  if (!is_new)
    fields.source().error(mark, "policy " + in_quotes(rule.name) + " is there twice, first in " +
                                    to_string(first->second) + "; rename one");
}

void RuleReader::read_action(Fields& fields, Rule& rule) {
  struct Word {
    std::string_view key;
    Action action;
  };
  constexpr Word kWords[] = {{"allow", Action::kAllow}, {"deny", Action::kDeny}, {"ask", Action::kAsk}};
  Source& source = fields.source();
  Mark mark = fields.node().mark;
  size_t actions = 0;
  for (const Word& word : kWords) {
    actions += fields.has(word.key) ? 1 : 0;
    std::vector<std::vector<ServiceRange>> services;
    if (!fields.optional(word.key, services, list_of(parsed(parse_service)))) continue;
    rule.action = word.action;
    for (const auto& ranges : services)
      rule.services.insert(rule.services.end(), ranges.begin(), ranges.end());
  }
  if (actions != 1 && fields.node().kind == yaml::Kind::kMapping)
    source.error(mark, "a policy needs exactly one of 'allow', 'deny' and 'ask', and this has " +
                           std::to_string(actions) + "; make it one, or several policies");
  if (fields.has("ask"))
    source.warning(fields.node().find("ask")->mark,
                   "there is no policy engine to ask in this version: what this covers "
                   "is denied with the reason ask_timeout");
  fields.optional("on_deny", rule.reject, Choice<bool>{{"drop", false}, {"reject", true}});
  if (fields.has("on_deny") && !fields.has("deny"))
    source.error(fields.node().find("on_deny")->mark,
                 "'on_deny' has a meaning only beside 'deny'; remove it");
}

void RuleReader::read_mtls_of(Fields& fields, Rule& rule) {
  Source& source = fields.source();
  bool written = fields.optional("mtls", rule.mtls, read_mtls);
  if (written && rule.mtls != MtlsMode::kNone && !fields.has("allow"))
    source.error(fields.node().find("mtls")->mark,
                 "'mtls' asks something of what passes, so it has a meaning only beside 'allow'; remove it");
  bool named = fields.optional("sni", rule.sni, list_of(parsed(parse_server_name)));
  if (!fields.has("sni")) return;
  const yaml::Node& sni = *fields.node().find("sni");
  if (written ? rule.mtls != MtlsMode::kEndToEnd : !fields.has("mtls"))
    source.error(sni.mark, "'sni' has a meaning only beside 'mtls: end_to_end'; write that, or remove it");
  if (!named) return;
  std::set<std::string> seen;
  for (const yaml::Node& item : sni.items)
    if (auto name = parse_server_name(item.text); name && !seen.insert(*name).second)
      source.error(item.mark, "server name " + in_quotes(*name) + " is there twice; remove one");
  std::ranges::sort(rule.sni);
}

void RuleReader::read_deadlines(Fields& fields, Rule& rule) {
  fields.optional("after", rule.after, parsed(parse_time));
  fields.optional("until", rule.until, parsed(parse_time));
  if (!rule.until) return;
  Mark mark = fields.node().find("until")->mark;
  if (rule.after && *rule.until <= *rule.after)
    return fields.source().error(mark,
                                 "'until' isn't later than 'after', so this policy never holds; correct one");
  if (*rule.until <= now_) fields.source().warning(mark, "this time is past, so this policy holds no more");
}

std::optional<Selector> RuleReader::read_selector(const yaml::Node& node, Source& source) {
  if (node.is_scalar() && node.text == "any") return Selector{};
  if (node.kind == yaml::Kind::kMapping) return read_labelled(node, source);
  return read_named(node, source);
}

std::optional<Selector> RuleReader::read_named(const yaml::Node& node, Source& source) {
  Selector selector{Selector::Kind::kNames, {}, {}};
  auto one = [&](const yaml::Node& item, Source& in) -> std::optional<std::string> {
    auto name = read_text(item, in);
    if (name && *name == "any") {
      in.error(item.mark, "'any' can't stand in a list; write it alone, or name the segments");
      return std::nullopt;
    }
    if (!name || !names_.check(*name, item.mark, in)) return std::nullopt;
    return name;
  };
  if (node.is_scalar()) {
    auto name = one(node, source);
    if (!name) return std::nullopt;
    selector.names.push_back(std::move(*name));
    return selector;
  }
  auto names = list_of(one)(node, source);
  if (!names) return std::nullopt;
  selector.names = std::move(*names);
  std::ranges::sort(selector.names);
  if (std::ranges::adjacent_find(selector.names) != selector.names.end())
    report_repeated(node, "segment ", source);
  return selector;
}

std::optional<Selector> RuleReader::read_labelled(const yaml::Node& node, Source& source) {
  Selector selector{Selector::Kind::kLabels, {}, {}};
  Fields fields(node, source, "a selector");
  bool right = fields.required("labels", selector.labels, read_labels);
  fields.done();
  if (!right) return std::nullopt;
  if (!names_.any_with(selector.labels))
    source.warning(node.mark, "no segment has these labels, so this policy concerns nothing");
  return selector;
}

void RuleReader::read_tests(const yaml::Node& tests, Source& source) {
  if (tests.kind != yaml::Kind::kSequence)
    return source.error(tests.mark, "tests must be a list; write each after '- '");
  for (const yaml::Node& node : tests.items) read_test(node, source);
}

void RuleReader::read_test(const yaml::Node& node, Source& source) {
  PolicyTest test;
  test.where = source.at(node.mark);
  Fields fields(node, source, "a test");
  if (node.kind != yaml::Kind::kMapping) return;
  auto end = [this](const yaml::Node& value, Source& in) { return read_end(value, in); };
  fields.required("from", test.from, end);
  fields.required("to", test.to, end);
  fields.required("service", test.service, parsed(parse_exact_service));
  fields.optional("at", test.at, parsed(parse_time));
  fields.required("expect", test.expect, action_words());
  test.has_mtls = fields.optional("mtls", test.mtls, read_mtls);
  fields.unavailable("posture");
  fields.done();
  policy_.tests.push_back(std::move(test));
}

std::optional<std::string> RuleReader::read_end(const yaml::Node& node, Source& source) {
  auto text = read_text(node, source);
  if (!text || parse_address(*text)) return text;
  if (text->find_first_of(":/") != std::string::npos) {
    source.error(node.mark, in_quotes(*text) + " is neither an address nor a segment; write one of them");
    return std::nullopt;
  }
  if (!names_.check(*text, node.mark, source)) return std::nullopt;
  return text;
}

bool selects(const Selector& selector, std::string_view segment,
             const std::map<std::string, std::string>& labels) {
  switch (selector.kind) {
    case Selector::Kind::kAny:
      return segment != "unknown" && segment != "gateway";
    case Selector::Kind::kNames:
      return std::ranges::binary_search(selector.names, segment);
    case Selector::Kind::kLabels:
      return std::ranges::includes(labels, selector.labels);
  }
  return false;
}

}  // namespace bulkhead
