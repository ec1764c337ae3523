// `bulkhead replay`: captured packets through the real pipeline, on a virtual clock.
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/command.h"
#include "cli/json.h"
#include "cli/policy_source.h"
#include "cli/replay_input.h"
#include "cli/replay_output.h"
#include "cli/replay_packets.h"
#include "cli/table.h"
#include "cli/text.h"
#include "config/gateway.h"

namespace bulkhead {
namespace {

struct Options {
  std::string config, out, verdicts;
  std::vector<std::string> in;
  bool ignore_checksums = false;
  bool json = false;
};

/// A port without `mac:` gets 02:00:00:00:00:NN, NN its place in the list.
void give_macs(DataplaneSettings& settings) {
  for (size_t i = 0; i < settings.ports.size(); ++i)
    if (settings.ports[i].mac.is_zero())
      settings.ports[i].mac = MacAddress{{0x02, 0, 0, 0, 0, static_cast<uint8_t>(i + 1)}};
}

/// What a replay needs, read and checked before the first packet runs.
struct Prepared {
  GatewayConfig config;
  std::unique_ptr<ExplainablePolicy> policy;  ///< nullptr: the configuration names none
  ReplayInput input;
};

Expected<std::unique_ptr<Prepared>> prepare(const Options& options) {
  auto prepared = std::make_unique<Prepared>();
  LoadedGateway gateway = load_gateway(options.config, true);
  print_diagnostics(gateway.diagnostics);
  if (!gateway.config) return fail(ErrorCode::kInvalid, options.config + " has errors");
  prepared->config = std::move(*gateway.config);
  DataplaneSettings& settings = prepared->config.dataplane;
  give_macs(settings);
  if (!prepared->config.policy.empty()) {
    auto policy = read_policy(prepared->config.policy, settings);
    if (!policy) return std::unexpected(policy.error());
    prepared->policy = std::move(*policy);
  }
  std::vector<CaptureArgument> captures;
  for (const std::string& text : options.in) {
    auto capture = parse_capture_argument(text, settings);
    if (!capture) return with_context(capture.error(), "--in");
    captures.push_back(std::move(*capture));
  }
  auto input = read_captures(captures, settings, prepared->policy ? &prepared->policy->endpoints : nullptr);
  if (!input) return std::unexpected(input.error());
  prepared->input = std::move(*input);
  return prepared;
}

/// Packets by verdict and reason.
std::string summary(const ReplayOutput& output, const Screen& screen) {
  Table table({{"VERDICT", Align::kLeft, 0, false},
               {"REASON", Align::kLeft, 0, false},
               {"PACKETS", Align::kRight, 0, false}});
  uint64_t total = 0;
  for (const auto& [what, count] : output.tally()) {
    table.add({what.first, what.second, std::to_string(count)});
    total += count;
  }
  return (total == 0 ? "" : table.render(screen.width, screen.colour)) + fmt::format("{} packets\n", total);
}

ExitCode replay(const Options& options) {
  auto prepared = prepare(options);
  if (!prepared)
    return complain("replay", prepared.error().message,
                    prepared.error().message.starts_with("--in: ") ? ExitCode::kUsage : ExitCode::kNo);
  for (const std::string& warning : (*prepared)->input.warnings)
    std::fprintf(stderr, "bulkhead replay: warning: %s\n", printable(warning).c_str());
  std::string verdicts = options.verdicts.empty() && options.json ? "-" : options.verdicts;
  auto output =
      ReplayOutput::open((*prepared)->config.dataplane,
                         (*prepared)->policy ? &(*prepared)->policy->view : nullptr, options.out, verdicts);
  if (!output) return complain("replay", output.error());
  if (auto done = replay_packets((*prepared)->input, (*prepared)->config.dataplane, (*prepared)->policy.get(),
                                 options.ignore_checksums, **output);
      !done)
    return complain("replay", done.error());
  if (auto closed = (*output)->close(); !closed) return complain("replay", closed.error());
  if (verdicts != "-") print(summary(**output, standard_output()));
  return ExitCode::kSuccess;
}

}  // namespace

void add_replay(CLI::App& app, Task& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, "replay", "Run captured packets through the real pipeline",
                  "bulkhead replay --config gateway.yaml --in left=a.pcap --in right=b.pcap --verdicts -");
  command
      ->add_option("--config", options->config, "The gateway; `device:` and `controlplane:` may be missing")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--in", options->in,
                   "A capture of what came in on a port; PORT+PORT: of both directions, told apart by source")
      ->required()
      ->type_name("PORT=PCAP");
  command->add_option("--out", options->out, "Gets PORT.pcap for every port")->type_name("DIR");
  command
      ->add_option("--verdicts", options->verdicts,
                   "One JSON object a line for each packet; - is standard output")
      ->type_name("FILE");
  command->add_flag("--ignore-checksums", options->ignore_checksums,
                    "For captures of a host that offloads them");
  command->add_flag("--json", options->json, "The same as --verdicts -, where that isn't given");
  command->callback([options, &chosen] { chosen = [options] { return replay(*options); }; });
}

}  // namespace bulkhead
