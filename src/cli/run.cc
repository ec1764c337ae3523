// `bulkhead run`: the gateway in the foreground, all its processes.
#include <pwd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/command.h"
#include "cli/json.h"
#include "cli/relay_listener.h"
#include "cli/relay_namespaces.h"
#include "cli/supervisor.h"
#include "cli/text.h"
#include "config/gateway.h"
#include "contract/channel.h"

namespace bulkhead {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string config;
  bool json = false;
};

/// Where an executable may stand: beside this one, in the build tree that this one stands in, as installed,
/// in PATH.
Expected<std::string> find_program(const std::string& name, const std::string& build_directory) {
  std::error_code error;
  fs::path here = fs::read_symlink("/proc/self/exe", error).parent_path();
  std::vector<fs::path> places{here / name, here / "../.." / build_directory / name,
                               here / "../libexec/bulkhead" / name, here / "../libexec" / name};
  std::string_view path = std::getenv("PATH") ? std::getenv("PATH") : "";
  while (!path.empty()) {
    size_t colon = path.find(':');
    places.push_back(fs::path(path.substr(0, colon)) / name);
    path = colon == std::string_view::npos ? std::string_view{} : path.substr(colon + 1);
  }
  for (const fs::path& place : places)
    if (place.is_absolute() && access(place.c_str(), X_OK) == 0 && !fs::is_directory(place, error))
      return place.lexically_normal().string();
  return fail(ErrorCode::kNotFound, name + " is neither beside " + (here / "bulkhead").string() +
                                        " nor in PATH; is the installation complete?");
}

/// The process that listens at a Unix socket; 0: nobody does.
pid_t listener_of(const std::string& path, int type) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return 0;
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd fd(socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return 0;
  ucred peer{};
  socklen_t bytes = sizeof peer;
  return getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 ? peer.pid : -1;
}

Expected<void> check_alone(const GatewayConfig& config) {
  for (auto [path, type] : {std::pair{config.controlplane.socket, SOCK_STREAM},
                            std::pair{config.contract_socket(), SOCK_SEQPACKET}})
    if (pid_t pid = listener_of(path, type); pid != 0)
      return fail(ErrorCode::kExists, fmt::format("a gateway runs already at {} (pid {}); stop it, or give "
                                                  "this one another `controlplane.socket`",
                                                  path, pid));
  return {};
}

/// `role`: who shall run as it; `key`: what names it in the configuration.
Expected<Account> find_user(const std::string& name, const char* role, const char* key) {
  errno = 0;
  if (passwd* user = getpwnam(name.c_str())) return Account{user->pw_uid, user->pw_gid};
  return fail(ErrorCode::kNotFound,
              fmt::format("the user '{0}' that the {1} shall run as doesn't exist; create it with "
                          "`useradd --system --no-create-home {0}`, or name another one as `{2}`",
                          name, role, key));
}

/// The control plane's own directories, which it couldn't make itself. Those that exist stay as they are.
Expected<void> make_directories(const ControlplaneConfig& config, const Account& owner) {
  for (auto [directory, mode] : {std::pair{fs::path(config.socket).parent_path(), mode_t{0755}},
                                 {fs::path(config.state), mode_t{0750}},
                                 {fs::path(config.flow_log.path).parent_path(), mode_t{0750}}})
    if (!directory.empty())
      if (auto made = make_directory_for(owner, mode, directory); !made) return made;
  return {};
}

/// The settings in memory that the dataplane reads at each of its starts: /dev/fd/N opens them from the
/// beginning.
Expected<Fd> settings_file(const DataplaneSettings& settings) {
  std::string text = encode(settings);
  Fd fd(memfd_create("bulkhead-settings", MFD_CLOEXEC));
  if (!fd) return fail_errno(errno, "memfd_create");
  if (write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return fail_errno(errno, "writing the settings");
  return fd;
}

bool is_socket(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

LineSink line_sink(bool json) {
  return [json](const std::string& from, const std::string& line) {
    std::string text = json ? json_line({{"from", from.empty() ? "run" : from}, {"line", line}})
                            : (from.empty() ? "bulkhead run" : from) + ": " + printable(line) + "\n";
    std::fputs(text.c_str(), stderr);
  };
}

/// The relay's words for where its SVIDs come from.
std::vector<std::string> svid_arguments(const GatewayConfig& config) {
  if (config.svid.workload_api.empty()) return {"--svids", config.svid.directory};
  return {"--svid-socket", config.svid_socket()};
}

/// The process that takes the relay's SVIDs from an agent. It knows nothing of the relay's namespaces.
Expected<> add_svid_fetcher(const GatewayConfig& config, const Account& account,
                            std::vector<ChildProgram>& programs) {
  auto directory = claim_directory(account, 0700, config.svid_directory(),
                                   fs::path(config.svid_socket()).filename().string());
  if (!directory) return std::unexpected(directory.error());
  auto fetcher = find_program("bulkhead-svid-fetcher", "dataplane/fetcher");
  if (!fetcher) return std::unexpected(fetcher.error());
  programs.push_back(
      {.name = "svid-fetcher",
       .arguments = {*fetcher, "--agent", config.svid.workload_api, "--relay", config.svid_socket()},
       .user = account.user,
       .group = account.group});
  return {};
}

/// What the relay's processes are given anew at each start.
struct RelayGround {
  RelayNamespaces namespaces;
  Fd listener;
};

/// The third process, and with an agent the fourth: the relay in namespaces of its own, and the dataplane
/// that puts its interface there. Output: what lives as long as that is kept.
Expected<RelayGround> add_relay(const GatewayConfig& config, const Account& control_plane,
                                std::vector<ChildProgram>& programs) {
  auto relay = find_program("bulkhead-relay", "dataplane/relay");
  if (!relay) return std::unexpected(relay.error());
  auto account = find_user(config.svid.user, "mTLS relay", "svid.user");
  if (!account) return std::unexpected(account.error());
  if (account->user == 0)
    return fail(ErrorCode::kInvalid, "the mTLS relay never runs as root: name another user as `svid.user`");
  auto listener = relay_listener(config.relay_socket(), control_plane);
  if (!listener) return std::unexpected(listener.error());
  auto namespaces = make_relay_namespaces(*account);
  if (!namespaces) return std::unexpected(namespaces.error());
  int user = namespaces->user.get(), network = namespaces->network.get();
  ChildProgram& dataplane = programs.front();
  dataplane.arguments.insert(dataplane.arguments.end(),
                             {"--relay-namespace", fmt::format("/dev/fd/{}", network)});
  dataplane.inherited_fds.push_back(network);
  auto svids = svid_arguments(config);
  programs.push_back(
      {"relay",
       {*relay, "--control", std::to_string(listener->get()), svids[0], svids[1], "--user-namespace",
        fmt::format("/dev/fd/{}", user), "--network-namespace", fmt::format("/dev/fd/{}", network)},
       {listener->get(), user, network},
       false,
       {},
       SIGTERM,
       account->user,
       account->group});
  if (!config.svid.workload_api.empty())
    if (auto added = add_svid_fetcher(config, *account, programs); !added)
      return std::unexpected(added.error());
  return RelayGround{std::move(*namespaces), std::move(*listener)};
}

Expected<void> run_gateway(const GatewayConfig& config, const LineSink& sink) {
  if (geteuid() != 0)
    return fail(ErrorCode::kPermission,
                "needs root, to open ports and hugepages; the control plane gives it up, the dataplane keeps "
                "what it needs");
  if (auto alone = check_alone(config); !alone) return alone;
  auto owner = find_user(config.controlplane.user, "control plane", "controlplane.user");
  if (!owner) return std::unexpected(owner.error());
  auto dataplane = find_program("bulkhead-dataplane", "dataplane");
  if (!dataplane) return std::unexpected(dataplane.error());
  auto controlplane = find_program("bulkhead-controlplane", "controlplane");
  if (!controlplane) return std::unexpected(controlplane.error());
  if (auto made = make_directories(config.controlplane, *owner); !made) return made;
  auto settings = settings_file(config.dataplane);
  if (!settings) return std::unexpected(settings.error());

  std::string contract = config.contract_socket();
  unlink(contract.c_str());  // left behind: nobody listens there
  std::vector<ChildProgram> programs(2);
  programs[0] = {"dataplane",
                 {*dataplane, "--settings", fmt::format("/dev/fd/{}", settings->get()), "--socket", contract,
                  "--peer-uid", std::to_string(owner->user)},
                 {settings->get()},
                 false,
                 {},
                 SIGINT};  // the end, and no restart: the interfaces are the host's own again
  programs[1] = {
      "controlplane",
      {*controlplane, "--config", fs::absolute(config.file).string(), "--dataplane-socket", contract},
      {},
      true,
      [contract] { return is_socket(contract); }};
  Expected<RelayGround> ground{};
  if (config.svid.is_there()) {
    ground = add_relay(config, *owner, programs);
    if (!ground) return std::unexpected(ground.error());
  }
  return supervise(programs, sink);
}

ExitCode run(const Options& options) {
  LoadedGateway loaded = load_gateway(options.config);
  print_diagnostics(loaded.diagnostics);
  if (!loaded.config)
    return complain("run", options.config + " has errors; nothing was started", ExitCode::kNo);
  if (loaded.config->policy.empty())
    return complain(
        "run",
        options.config +
            " names no 'policy', and there is no directory policy/ beside it; nothing was started",
        ExitCode::kNo);
  auto done = run_gateway(*loaded.config, line_sink(options.json));
  return done ? ExitCode::kSuccess : complain("run", done.error().message, ExitCode::kNo);
}

}  // namespace

void add_run(CLI::App& app, Task& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "run", "Start the gateway in the foreground, all its processes",
                                  "bulkhead run --config /etc/bulkhead/gateway.yaml");
  command->add_option("--config", options->config, "The gateway's configuration")
      ->required()
      ->type_name("FILE");
  command->add_flag("--json", options->json, "Log lines on standard error as JSON objects");
  command->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace bulkhead
