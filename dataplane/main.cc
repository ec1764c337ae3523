// bulkhead-dataplane: the gateway's packet processing. Started by `bulkhead run` or systemd; speaks with its
// control plane only.
#include <fcntl.h>
#include <getopt.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include "contract/memfd.h"
#include "contract/settings.h"
#include "dataplane/fastpath/eal.h"
#include "dataplane/fastpath/gateway.h"
#include "dataplane/fastpath/log.h"
#include "dataplane/fastpath/privileges.h"

namespace bulkhead {
namespace {

constexpr char kUsage[] =
    "usage: bulkhead-dataplane --settings FILE --socket PATH [--peer-uid UID] [--relay-namespace PATH]\n"
    "\n"
    "  --settings FILE  what `bulkhead run` made of the gateway's configuration; /dev/fd/N for a descriptor\n"
    "  --socket PATH    where the control plane attaches\n"
    "  --peer-uid UID   who may attach beside root\n"
    "  --relay-namespace PATH  the mTLS relay's network namespace, where the settings have its port\n"
    "  --version\n"
    "\n"
    "SIGTERM stops it and leaves its interfaces guarded, SIGINT hands them back to the host.\n";

std::atomic<bool> stop_requested{false};
std::atomic<bool> hand_back_requested{false};

/// SIGTERM may be one half of a restart, in which the host must not forward what the gateway would judge;
/// SIGINT is the end, after which the interfaces are the host's own again.
void request_stop(int signal) {
  if (signal == SIGINT) hand_back_requested.store(true);
  stop_requested.store(true);
}

struct Options {
  std::string settings;
  std::string socket;
  std::optional<uid_t> peer;
  std::string relay_namespace;
};

Expected<uid_t> parse_uid(const char* text) {
  uid_t uid = 0;
  auto [end, error] = std::from_chars(text, text + std::strlen(text), uid);
  if (error != std::errc{} || *end != '\0')
    return fail(ErrorCode::kInvalid, std::string("--peer-uid: '") + text + "' is not a user's number");
  return uid;
}

Expected<Options> parse_options(int argc, char** argv) {
  static const option known[] = {{"settings", required_argument, nullptr, 's'},
                                 {"socket", required_argument, nullptr, 'c'},
                                 {"peer-uid", required_argument, nullptr, 'u'},
                                 {"version", no_argument, nullptr, 'V'},
                                 {"relay-namespace", required_argument, nullptr, 'n'},
                                 {"help", no_argument, nullptr, 'h'},
                                 {nullptr, 0, nullptr, 0}};
  Options options;
  for (int chosen; (chosen = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    switch (chosen) {
      case 's':
        options.settings = optarg;
        break;
      case 'c':
        options.socket = optarg;
        break;
      case 'u': {
        auto uid = parse_uid(optarg);
        if (!uid) return std::unexpected(uid.error());
        options.peer = *uid;
        break;
      }
      case 'n':
        options.relay_namespace = optarg;
        break;
      case 'V':
        std::puts("bulkhead-dataplane " BULKHEAD_VERSION);
        std::exit(0);
      case 'h':
        std::fputs(kUsage, stdout);
        std::exit(0);
      default:
        std::fputs(kUsage, stderr);
        std::exit(2);
    }
  }
  if (options.settings.empty() || options.socket.empty() || optind != argc) {
    std::fputs(kUsage, stderr);
    std::exit(2);
  }
  return options;
}

Expected<DataplaneSettings> settings_in(const std::string& path) {
  Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno(errno, "settings " + path);
  auto settings = read_settings(file.get());
  if (!settings) return with_context(settings.error(), path);
  return settings;
}

void stop_on_signals() {
  struct sigaction action{};
  action.sa_handler = request_stop;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

/// The control plane's user is one that has nothing to lose to us, and may end us anyway.
Expected<> give_up_root(const Gateway& gateway, std::optional<uid_t> control_plane) {
  uid_t user = control_plane.value_or(kNobody);
  if (!gateway.may_reopen() && geteuid() == 0 && user != 0)
    if (auto became = become(user); !became) return became;
  if (auto forbidden = forbid_inspection(); !forbidden) return forbidden;
  return drop_privileges(gateway.may_reopen());
}

Expected<> run(int argc, char** argv) {
  auto options = parse_options(argc, argv);
  if (!options) return std::unexpected(options.error());
  auto settings = settings_in(options->settings);
  if (!settings) return std::unexpected(settings.error());
  stop_on_signals();
  if (auto forbidden = forbid_new_privileges(); !forbidden) return forbidden;
  if (auto started = start_eal(*settings); !started) return started;
  ControlOptions control{.socket = options->socket,
                         .control_plane = options->peer,
                         .gateway = settings->name,
                         .max_flows = settings->max_flows};
  auto gateway = Gateway::create(*settings, std::move(control), options->relay_namespace);
  if (!gateway) return std::unexpected(gateway.error());
  if (auto dropped = give_up_root(**gateway, options->peer); !dropped) return dropped;
  if (auto started = (*gateway)->start(); !started) return started;
  log_line("running: " + std::to_string(settings->ports.size()) + " ports, " +
           std::to_string(settings->cores.size()) + " workers");
  (*gateway)->serve(stop_requested);
  (*gateway)->stop(hand_back_requested ? AfterStop::kHandInterfacesBack : AfterStop::kKeepGuards);
  log_line("stopped");
  return {};
}

}  // namespace
}  // namespace bulkhead

int main(int argc, char** argv) {
  auto ended = bulkhead::run(argc, argv);
  if (!ended) bulkhead::log_line("error: " + ended.error().message);
  return ended ? 0 : 1;
}
