// bulkhead-controlplane: reads the configuration, gives up root, and wires the parts together.
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>

#include "config/gateway.h"
#include "controlplane/api/operator_server.h"
#include "controlplane/engine/engine.h"
#include "controlplane/observe/event_drain.h"
#include "controlplane/observe/metrics.h"
#include "controlplane/observe/metrics_server.h"
#include "controlplane/privileges.h"

namespace bulkhead {
namespace {

struct Options {
  std::string config;
  std::string dataplane_socket;  ///< empty: the configuration's
  std::string user;              ///< empty: the configuration's
};

/// The engine that signals are for.
std::atomic<Engine*> signalled{nullptr};

void on_signal(int signal) {
  Engine* engine = signalled.load();
  if (engine == nullptr) return;
  if (signal == SIGHUP)
    engine->reread();
  else
    engine->stop();
}

void heed_signals(Engine* engine) {
  signalled = engine;
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaction(signal, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

void log_to_stderr() {
  auto log = spdlog::stderr_color_mt("controlplane");
  log->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ controlplane %^%l%$: %v", spdlog::pattern_time_type::utc);
  spdlog::set_default_logger(log);
}

/// As many descriptors as this process may have, and a use for: operators' connections shouldn't take those
/// that policy is read through.
void raise_descriptor_limit() {
  constexpr rlim_t kEnough = 65'536;
  rlimit limit{};
  bool known = ::getrlimit(RLIMIT_NOFILE, &limit) == 0;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min(limit.rlim_max, kEnough));
  if (!known || ::setrlimit(RLIMIT_NOFILE, &limit) != 0)
    spdlog::warn("the limit of open files can't be raised: {}", std::strerror(errno));
}

std::vector<std::string> port_names(const DataplaneSettings& settings) {
  std::vector<std::string> names;
  for (const PortSetting& port : settings.ports) names.push_back(port.name);
  return names;
}

std::optional<GatewayConfig> load_config(const std::string& path) {
  LoadedGateway loaded = load_gateway(path);
  for (const Diagnostic& diagnostic : loaded.diagnostics) std::cerr << to_string(diagnostic) << '\n';
  return std::move(loaded.config);
}

Expected<Deadlines> open_deadlines(const std::string& directory) {
  auto clocks = system_clocks();
  if (!clocks) return std::unexpected(clocks.error());
  auto deadlines = Deadlines::open(directory, std::move(*clocks));
  if (!deadlines)
    return with_context(deadlines.error(),
                        "deadlines are kept in controlplane.state, and without them no policy is enforced");
  return deadlines;
}

/// Everything that runs, from first to last to start; ends when the engine does.
Expected<void> run(const GatewayConfig& config, const Options& options) {
  const ControlplaneConfig& control = config.controlplane;
  if (config.policy.empty())
    return fail(ErrorCode::kInvalid,
                config.file + ": `policy:` is missing: name the directory of the policy to enforce");
  if (auto done = become_unprivileged(config, options.user.empty() ? control.user : options.user); !done)
    return done;
  StateBoard board;
  BusyMeter busy;
  RetiredHits retired;
  auto names = std::make_shared<NameHistory>();
  std::vector<std::string> ports = port_names(config.dataplane);

  RelayBoard relay_board(!control.flow_log.path.empty());
  auto operators = OperatorServer::start(control.socket, control.socket_group,
                                         {board, busy, *names, config.dataplane, BULKHEAD_VERSION,
                                          config.svid.is_there() ? &relay_board : nullptr});
  if (!operators) return std::unexpected(operators.error());

  auto deadlines = open_deadlines(control.state);
  if (!deadlines) return std::unexpected(deadlines.error());
  auto feed = FileFeed::open(config.policy);
  if (!feed) return std::unexpected(feed.error());

  std::unique_ptr<RelayLink> relay;
  if (config.svid.is_there()) {
    auto started = RelayLink::start(config.relay_socket(), relay_board);
    if (!started) return std::unexpected(started.error());
    relay = std::move(*started);
  }
  std::optional<FlowLog> flow_log;
  if (!control.flow_log.path.empty()) {
    auto opened = FlowLog::open(control.flow_log, ports, names, relay ? &relay_board : nullptr);
    if (!opened) return std::unexpected(opened.error());
    flow_log.emplace(std::move(*opened));
  }
  FlowLog* log = flow_log ? &*flow_log : nullptr;

  std::string contract_socket =
      options.dataplane_socket.empty() ? config.contract_socket() : options.dataplane_socket;
  auto engine = Engine::create({config.dataplane, contract_socket, std::move(*feed), std::move(*deadlines),
                                board, *names, retired, relay.get()});
  if (!engine) return std::unexpected(engine.error());

  MetricsSources sources{board,
                         busy,
                         retired,
                         [log] { return log != nullptr ? log->lost() : 0; },
                         ports,
                         BULKHEAD_VERSION,
                         relay ? &relay_board : nullptr};
  std::unique_ptr<MetricsServer> metrics;
  if (!control.metrics.empty()) {
    auto started = MetricsServer::start(control.metrics, [&sources](MetricsFormat format) {
      return metrics_text(read_metrics(sources, boot_now()), format);
    });
    if (!started) return std::unexpected(started.error());
    metrics = std::move(*started);
  }
  EventDrain drain(board, log, busy);

  spdlog::info("gateway {}: policy {}, operators at {}, metrics at {}", config.dataplane.name, config.policy,
               control.socket, control.metrics.empty() ? "nowhere" : control.metrics);
  heed_signals(engine->get());
  (*engine)->run();
  signalled = nullptr;
  operators->reset();  // before the engine, which its answers wake
  spdlog::info("stopped; the dataplane goes on enforcing what it has");
  return {};
}

}  // namespace
}  // namespace bulkhead

int main(int argc, char** argv) {
  using namespace bulkhead;
  CLI::App app{"Bulkhead's control plane: compiles policy and publishes it to the dataplane.",
               "bulkhead-controlplane"};
  Options options;
  app.add_option("--config", options.config, "The gateway's configuration")->required();
  app.add_option("--dataplane-socket", options.dataplane_socket,
                 "Where the dataplane listens, if not beside controlplane.socket");
  app.add_option("--user", options.user, "Run as this user, if not as controlplane.user");
  app.set_version_flag("--version", BULKHEAD_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& wrong) {
    return app.exit(wrong) == 0 ? 0 : 2;
  }
  log_to_stderr();
  raise_descriptor_limit();
  auto config = load_config(options.config);
  if (!config) return 1;
  auto done = run(*config, options);
  if (done) return 0;
  spdlog::error("{}", done.error().message);
  return 1;
}
