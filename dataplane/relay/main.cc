// bulkhead-relay: mTLS for workloads that don't speak it. Started by `bulkhead run` or systemd, as an
// unprivileged user; speaks with the dataplane through one interface and with its control plane.
#include <getopt.h>
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "dataplane/relay/confinement.h"
#include "dataplane/relay/log.h"
#include "dataplane/relay/namespaces.h"
#include "dataplane/relay/relay.h"

namespace bulkhead {
namespace {

constexpr char kUsage[] =
    "usage: bulkhead-relay --control FD {--svids DIR | --svid-socket SOCKET} [option...]\n"
    "\n"
    "  --control FD              a listening Unix socket, inherited, where the control plane attaches: who "
    "may open "
    "it may\n"
    "  --svids DIR               SVIDs, bundles and CRLs, as `bulkhead svid` writes them\n"
    "  --svid-socket SOCKET      where bulkhead-svid-fetcher attaches, and hands over what an agent has\n"
    "  --interface NAME          the interface to the dataplane (relay0)\n"
    "  --user-namespace PATH     the user namespace to live in, made by the same user; default: a new one\n"
    "  --network-namespace PATH  the network namespace that it owns; given together with it\n"
    "  --threads N               1-64 (1)\n"
    "  --memory-mib N            for all connections (2048)\n"
    "  --max-connections N       in all (65536)\n"
    "  --max-per-source N        of one client's address (16384)\n"
    "  --max-opening-per-source N  of those, not yet established (512)\n"
    "  --check-confinement       try what is forbidden in there, say what came of it, and end: 0 if all was "
    "refused\n"
    "  --version\n";

std::atomic<bool> stop_requested{false};

void request_stop(int) {
  stop_requested.store(true);
}

[[noreturn]] void wrong_usage(const std::string& what) {
  std::fprintf(stderr, "bulkhead-relay: %s\n%s", what.c_str(), kUsage);
  std::exit(2);
}

template <class Number>
Number number(const char* option, const char* text, Number least, Number most) {
  Number value{};
  auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
  if (error != std::errc{} || *end != '\0' || value < least || value > most)
    wrong_usage(std::string("--") + option + ": '" + text + "' should be a number from " +
                std::to_string(least) + " to " + std::to_string(most));
  return value;
}

RelayOptions parse_options(int argc, char** argv) {
  static const option known[] = {{"control", required_argument, nullptr, 'c'},
                                 {"svids", required_argument, nullptr, 's'},
                                 {"svid-socket", required_argument, nullptr, 'S'},
                                 {"interface", required_argument, nullptr, 'i'},
                                 {"user-namespace", required_argument, nullptr, 'u'},
                                 {"network-namespace", required_argument, nullptr, 'n'},
                                 {"threads", required_argument, nullptr, 't'},
                                 {"memory-mib", required_argument, nullptr, 'm'},
                                 {"max-connections", required_argument, nullptr, 'a'},
                                 {"max-per-source", required_argument, nullptr, 'b'},
                                 {"max-opening-per-source", required_argument, nullptr, 'o'},
                                 {"check-confinement", no_argument, nullptr, 'x'},
                                 {"version", no_argument, nullptr, 'V'},
                                 {"help", no_argument, nullptr, 'h'},
                                 {nullptr, 0, nullptr, 0}};
  RelayOptions options;
  constexpr uint32_t kMany = 10'000'000;
  for (int chosen, at = 0; (chosen = getopt_long(argc, argv, "", known, &at)) != -1;) {
    const char* name = chosen == '?' ? "" : known[at].name;
    switch (chosen) {
      case 'c':
        options.control = number<int>(name, optarg, 3, INT_MAX);
        break;
      case 's':
        options.svids = optarg;
        break;
      case 'S':
        options.svid_socket = optarg;
        break;
      case 'i':
        options.interface = optarg;
        break;
      case 'u':
        options.user_namespace = optarg;
        break;
      case 'n':
        options.network_namespace = optarg;
        break;
      case 't':
        options.threads = number<unsigned>(name, optarg, 1, 64);
        break;
      case 'm':
        options.memory_mib = number<uint64_t>(name, optarg, 16, 1 << 20);
        break;
      case 'a':
        options.limits.connections = number<uint32_t>(name, optarg, 1, kMany);
        break;
      case 'b':
        options.limits.connections_per_source = number<uint32_t>(name, optarg, 1, kMany);
        break;
      case 'o':
        options.limits.opening_per_source = number<uint32_t>(name, optarg, 1, kMany);
        break;
      case 'x':
        options.check_confinement = true;
        break;
      case 'V':
        std::puts("bulkhead-relay " BULKHEAD_VERSION);
        std::exit(0);
      case 'h':
        std::fputs(kUsage, stdout);
        std::exit(0);
      default:
        std::fputs(kUsage, stderr);
        std::exit(2);
    }
  }
  if (optind != argc) wrong_usage(std::string("unexpected argument '") + argv[optind] + "'");
  if (options.control < 0) wrong_usage("--control FD is missing");
  if (options.svids.empty() == options.svid_socket.empty())
    wrong_usage("one of --svids DIR and --svid-socket SOCKET is needed");
  if (options.interface.empty() || options.interface.size() > 15 ||
      options.interface.find_first_of("\"/ \n\\{};") != std::string::npos)
    wrong_usage("--interface: '" + options.interface + "' can't be the name of an interface");
  if (options.user_namespace.empty() != options.network_namespace.empty())
    wrong_usage("--user-namespace and --network-namespace belong together");
  return options;
}

/// A connection is two sockets. Where fewer may be open, fewer connections are taken.
void raise_descriptors(RelayOptions& options) {
  constexpr rlim_t kOthers = 64;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  rlim_t most = limit.rlim_max > 2 * kOthers ? (limit.rlim_max - kOthers) / 2 : kOthers / 2;
  if (most >= options.limits.connections) return;
  options.limits.connections = static_cast<uint32_t>(most);
  log_line("at most " + std::to_string(most) +
           " connections: raise the limit on open files (LimitNOFILE=) for more");
}

Expected<> enter(const RelayOptions& options) {
  auto entered = options.user_namespace.empty()
                     ? enter_new_namespaces()
                     : enter_namespaces(options.user_namespace, options.network_namespace);
  if (!entered) return entered;
  return prepare_network(options.interface);
}

void take_signals() {
  struct sigaction action{};
  action.sa_handler = request_stop;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

Expected<> run(RelayOptions options) {
  if (geteuid() == 0)
    return fail(ErrorCode::kPermission,
                "must not run as root: start it as a user that has nothing else to lose");
  take_signals();
  raise_descriptors(options);
  if (auto entered = enter(options); !entered) return entered;
  // No configuration file decides what TLS is here.
  OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
  auto relay = Relay::open(options);
  if (!relay) return std::unexpected(relay.error());
  if (auto confined = confine(options.svids); !confined) return confined;
  if (options.check_confinement)
    return check_confinement(options.svids) ? Expected<>{}
                                            : fail(ErrorCode::kPermission, "something was not refused");
  return (*relay)->run(stop_requested);
}

}  // namespace
}  // namespace bulkhead

int main(int argc, char** argv) {
  auto ended = bulkhead::run(bulkhead::parse_options(argc, argv));
  if (!ended) bulkhead::log_line("error: " + ended.error().message);
  return ended ? 0 : 1;
}
