// `bulkhead explain`: the verdict on one flow, and why, from a policy on disk or from the running gateway.
#include <memory>
#include <optional>

#include <CLI/CLI.hpp>

#include "cli/command.h"
#include "cli/explain_view.h"
#include "cli/gateway_client.h"
#include "cli/policy_source.h"

namespace bulkhead {
namespace {

struct Options {
  std::string policy, from, to, service, expect, at, socket;
  bool json = false;
};

/// The question, read.
struct Question {
  IpAddress from, to;
  ServiceKey service;
  std::optional<WallTime> at;
};

Expected<Question> read_question(const Options& options) {
  auto from = parse_address(options.from);
  if (!from) return with_context(from.error(), "--from");
  auto to = parse_address(options.to);
  if (!to) return with_context(to.error(), "--to");
  if (from->family() != to->family())
    return fail(ErrorCode::kInvalid, "--from and --to are of different families, so no packet can have both");
  auto service = parse_exact_service(options.service);
  if (!service) return with_context(service.error(), "--service");
  Question question{*from, *to, *service, std::nullopt};
  if (options.at.empty()) return question;
  auto at = parse_time(options.at);
  if (!at) return with_context(at.error(), "--at");
  if (options.policy.empty())
    return fail(ErrorCode::kInvalid, "--at needs --policy: the running gateway is asked about now");
  question.at = *at;
  return question;
}

Expected<ExplainView> explain_from_disk(const std::string& directory, const Question& question) {
  auto policy = read_policy(directory);
  if (!policy) return std::unexpected(policy.error());
  WallTime now = question.at.value_or(wall_now());
  return view_of(explain(**policy, question.from, question.to, question.service, BootTime{now.ns}, now));
}

ExplainView::End view_of(const v1::Explanation::End& end) {
  return {end.address(), end.segment(), end.source(), end.binding(), end.workload(), end.spiffe(), end.tag()};
}

ExplainView view_of(const v1::Explanation& e) {
  ExplainView view;
  view.verdict = e.verdict();
  view.reason = e.reason();
  view.rule = e.rule();
  view.rule_file = e.rule_file();
  view.rule_line = e.rule_line();
  view.tier = e.tier();
  view.mtls = e.mtls();
  view.sni.assign(e.sni().begin(), e.sni().end());
  view.reject = e.reject();
  if (e.until_ns() != 0) view.until = to_string(WallTime{e.until_ns()});
  view.source = view_of(e.source());
  view.destination = view_of(e.destination());
  view.service = e.service();
  for (const auto& lost : e.lost()) view.lost.push_back({lost.rule(), lost.tier(), lost.why()});
  view.generation = e.generation();
  return view;
}

Expected<ExplainView> explain_from_gateway(const std::string& socket, const Question& question) {
  v1::ExplainRequest request;
  request.set_from(to_string(question.from));
  request.set_to(to_string(question.to));
  request.set_service(to_string(question.service));
  auto answer = GatewayClient(socket).call(&v1::Operator::Stub::Explain, request);
  if (!answer) return std::unexpected(answer.error());
  return view_of(*answer);
}

ExitCode run_explain(const Options& options) {
  auto question = read_question(options);
  if (!question) return complain("explain", question.error().message, ExitCode::kUsage);
  auto view = options.policy.empty() ? explain_from_gateway(options.socket, *question)
                                     : explain_from_disk(options.policy, *question);
  if (!view) return complain("explain", view.error());
  print(options.json ? json_line(to_json(*view)) : to_text(*view, standard_output()));
  if (options.expect.empty() || options.expect == view->verdict) return ExitCode::kSuccess;
  return complain("explain", "expected " + options.expect + ", got " + view->verdict, ExitCode::kNo);
}

}  // namespace

void add_explain(CLI::App& app, Task& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, "explain", "The verdict on a flow, and why",
                  "bulkhead explain --policy policy/ --from 10.1.0.5 --to 10.2.0.9 --service tcp/5432");
  command
      ->add_option("--policy", options->policy, "A policy directory; without it the running gateway is asked")
      ->type_name("DIR");
  command->add_option("--from", options->from, "Who opens the flow")->required()->type_name("IP");
  command->add_option("--to", options->to, "Whom it is for")->required()->type_name("IP");
  command->add_option("--service", options->service, "tcp/443, udp/53, icmp/echo, proto/47, ...")
      ->required()
      ->type_name("SERVICE");
  command->add_option("--expect", options->expect, "Exit 1 when the verdict is another")
      ->check(CLI::IsMember({"allow", "deny", "ask"}));
  command->add_option("--at", options->at, "Judge at that instant (RFC 3339), with --policy only")
      ->type_name("TIME");
  add_socket_option(*command, options->socket);
  command->add_flag("--json", options->json, "Print a JSON object");
  command->callback([options, &chosen] { chosen = [options] { return run_explain(*options); }; });
}

}  // namespace bulkhead
