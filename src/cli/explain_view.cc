#include "cli/explain_view.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/drop_reason.h"
#include "cli/text.h"

namespace bulkhead {

static ExplainView::End view_of(const ExplainedEnd& end) {
  return {end.address, end.segment,  std::string(name_of(end.source)), end.binding, end.workload,
          end.spiffe,  end.tag.value};
}

ExplainView view_of(const Explanation& e) {
  ExplainView view;
  view.verdict = name_of(e.decision.verdict);
  view.reason = reason_name(e.decision.verdict, e.decision.reason);
  view.rule = e.rule;
  view.rule_file = e.rule_where.file;
  view.rule_line = e.rule_where.line;
  view.tier = name_of(e.decision.tier);
  view.mtls = name_of(e.decision.mtls);
  view.sni = e.sni;
  view.reject = e.decision.reject;
  if (e.until) view.until = to_string(*e.until);
  view.source = view_of(e.source);
  view.destination = view_of(e.destination);
  view.service = to_string(e.service);
  for (const LostRule& lost : e.lost)
    view.lost.push_back({lost.rule, std::string(name_of(lost.tier)), lost.why});
  return view;
}

static Json or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

static Json to_json(const ExplainView::End& end) {
  Json json{{"address", or_null(end.address)},
            {"segment", end.segment},
            {"tag", end.tag},
            {"source", end.source},
            {"binding", or_null(end.binding)}};
  if (!end.workload.empty()) json["workload"] = end.workload;
  if (!end.spiffe.empty()) json["spiffe"] = end.spiffe;
  return json;
}

Json to_json(const ExplainView& view) {
  Json lost = Json::array();
  for (const auto& l : view.lost) lost.push_back({{"rule", l.rule}, {"tier", l.tier}, {"why", l.why}});
  Json json{{"verdict", view.verdict},
            {"reason", view.reason},
            {"rule", or_null(view.rule)},
            {"tier", view.tier},
            {"mtls", view.mtls},
            {"until", or_null(view.until)},
            {"src", to_json(view.source)},
            {"dst", to_json(view.destination)},
            {"service", view.service},
            {"lost", std::move(lost)},
            {"generation", view.generation}};
  if (view.mtls == "end_to_end") json["sni"] = view.sni;
  return json;
}

static std::string end_text(const ExplainView::End& end) {
  std::string text = end.address.empty()
                         ? end.segment + " (any member, tag " + std::to_string(end.tag) + ")"
                         : end.address + "  " + end.segment + " (tag " + std::to_string(end.tag) + ")";
  if (!end.address.empty()) text += end.binding.empty() ? ", no binding" : ", bound by " + end.binding;
  for (const std::string* name : {&end.workload, &end.spiffe})
    if (!name->empty()) text += ", " + *name;
  return printable(text);
}

static std::string rule_text(const ExplainView& view) {
  if (view.rule.empty() && view.tier == "containment") return "quarantine of an end (tier containment)";
  if (view.rule.empty()) return "none: the implicit deny";
  std::string text = view.rule + " (tier " + view.tier;
  if (!view.rule_file.empty()) text += fmt::format(", {}:{}", view.rule_file, view.rule_line);
  return printable(text + ")");
}

static std::string mtls_text(const ExplainView& view) {
  if (view.mtls != "end_to_end") return view.mtls;
  if (view.sni.empty()) return view.mtls + ", any server name";
  return fmt::format("{}, server name {}", view.mtls, fmt::join(view.sni, ", "));
}

std::string to_text(const ExplainView& view, const Screen& screen, size_t indent) {
  std::string out;
  auto line = [&](const std::string& key, const std::string& value) {
    out += std::string(indent, ' ') + coloured(screen, "2", fmt::format("{:<9}", key)) + value + "\n";
  };
  const char* colour = view.verdict == "allow" ? "1;32" : view.verdict == "ask" ? "1;33" : "1;31";
  std::string how = view.reason;
  auto drop = drop_reason_named(view.reason);
  if (drop) how += ": " + std::string(help_of(*drop));
  if (view.reject) how += "; answered, as on_deny: reject";
  line("verdict", coloured(screen, colour, printable(view.verdict)) + "  " + printable(how));
  line("from", end_text(view.source));
  line("to", end_text(view.destination));
  line("service", printable(view.service));
  line("rule", rule_text(view));
  if (view.mtls != "none") line("mtls", printable(mtls_text(view)));
  if (!view.until.empty()) line("until", view.until);
  for (size_t i = 0; i < view.lost.size(); ++i)
    line(i == 0 ? "lost" : "",
         printable(fmt::format("{} (tier {}): {}", view.lost[i].rule, view.lost[i].tier, view.lost[i].why)));
  return out;
}

}  // namespace bulkhead
