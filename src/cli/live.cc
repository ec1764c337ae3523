// `bulkhead status`, `flows`, `drops` and `segments`: what the running gateway says of itself.
#include <memory>

#include <CLI/CLI.hpp>

#include "base/address.h"
#include "base/clock.h"
#include "cli/command.h"
#include "cli/gateway_client.h"
#include "cli/json.h"
#include "cli/live_tables.h"

namespace bulkhead {
namespace {

struct Options {
  std::string socket;
  bool json = false;
  std::string address, segment, service, rule;
  bool unencrypted = false;
  uint32_t limit = 1000;
  bool all = false;
};

/// Asks, then prints the answer as JSON or as text.
template <class Request, class Answer, class ToJson, class ToText>
ExitCode ask(const std::string& command, const Options& options,
             grpc::Status (v1::Operator::Stub::*method)(grpc::ClientContext*, const Request&, Answer*),
             const Request& request, ToJson to_json, ToText to_text) {
  auto answer = GatewayClient(options.socket).call(method, request);
  if (!answer && answer.error().code == ErrorCode::kInvalid)
    return complain(command, answer.error().message, ExitCode::kUsage);
  if (!answer) return complain(command, answer.error());
  print(options.json ? json_line(to_json(*answer)) : to_text(*answer, standard_output()));
  return ExitCode::kSuccess;
}

ExitCode status(const Options& options) {
  return ask("status", options, &v1::Operator::Stub::GetStatus, v1::StatusRequest{}, status_json,
             [](const v1::Status& s, const Screen& screen) { return status_text(s, screen, wall_now()); });
}

ExitCode flows(const Options& options) {
  v1::FlowsRequest request;
  request.set_limit(options.limit);
  if (!options.address.empty()) {
    auto address = parse_address(options.address);
    if (!address) return complain("flows", "--address: " + address.error().message, ExitCode::kUsage);
    request.set_address(to_string(*address));
  }
  request.set_segment(options.segment);
  request.set_service(options.service);
  request.set_rule(options.rule);
  request.set_unencrypted(options.unencrypted);
  auto text = [&](const v1::FlowList& list, const Screen& screen) {
    std::string flows = flows_text(list, screen, wall_now());
    return options.unencrypted ? flows + clear_rules_text(list, screen, wall_now()) : flows;
  };
  auto json = [&](const v1::FlowList& list) {
    Json flows = flows_json(list);
    if (options.unencrypted) flows["clear_rules"] = clear_rules_json(list);
    return flows;
  };
  return ask("flows", options, &v1::Operator::Stub::ListFlows, request, json, text);
}

ExitCode drops(const Options& options) {
  return ask(
      "drops", options, &v1::Operator::Stub::ListDrops, v1::DropsRequest{}, drops_json,
      [&](const v1::DropList& list, const Screen& screen) { return drops_text(list, screen, options.all); });
}

ExitCode segments(const Options& options) {
  return ask("segments", options, &v1::Operator::Stub::ListSegments, v1::SegmentsRequest{}, segments_json,
             segments_text);
}

/// One command with --socket and --json.
CLI::App* add_live_command(CLI::App& app, const std::string& name, const std::string& what,
                           const std::string& example, const std::shared_ptr<Options>& options,
                           ExitCode (*carry_out)(const Options&), Task& chosen) {
  CLI::App* command = add_command(app, name, what, example);
  add_socket_option(*command, options->socket);
  command->add_flag("--json", options->json, "Print a JSON object, numbers exact");
  command->callback(
      [options, carry_out, &chosen] { chosen = [options, carry_out] { return carry_out(*options); }; });
  return command;
}

}  // namespace

void add_live(CLI::App& app, Task& chosen) {
  auto options = std::make_shared<Options>();
  add_live_command(app, "status", "What runs and what is enforced", "bulkhead status --json", options, status,
                   chosen);
  CLI::App* list = add_live_command(app, "flows", "Live flows", "bulkhead flows --segment db --limit 20",
                                    options, flows, chosen);
  list->add_option("--address", options->address, "Only flows with this end")->type_name("IP");
  list->add_option("--segment", options->segment, "Only flows with an end in this segment")
      ->type_name("NAME");
  list->add_option("--service", options->service, "Only flows of this service")->type_name("SERVICE");
  list->add_option("--rule", options->rule, "Only flows that this rule allows")->type_name("NAME");
  list->add_flag("--unencrypted", options->unencrypted,
                 "Only flows that policy lets pass in clear, and the rules that do");
  list->add_option("--limit", options->limit, "At most so many")
      ->check(CLI::Range(1u, 100'000u))
      ->capture_default_str();
  CLI::App* drop = add_live_command(app, "drops", "Why packets didn't pass", "bulkhead drops --all", options,
                                    drops, chosen);
  drop->add_flag("--all", options->all, "Reasons that never happened too");
  add_live_command(app, "segments", "The segments in force", "bulkhead segments", options, segments, chosen);
}

}  // namespace bulkhead
