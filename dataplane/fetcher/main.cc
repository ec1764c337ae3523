// bulkhead-svid-fetcher: takes the relay's SVIDs from an agent of the SPIFFE Workload API, so that the
// process with workloads' connections links no gRPC. Started by `bulkhead run` or systemd, as the relay's
// user, for whom the agent has the SVIDs.
#include <getopt.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include "dataplane/fetcher/agent.h"
#include "dataplane/fetcher/confinement.h"
#include "dataplane/fetcher/delivery.h"
#include "dataplane/fetcher/log.h"

namespace bulkhead {
namespace {

constexpr char kUsage[] =
    "usage: bulkhead-svid-fetcher --agent unix:/PATH --relay SOCKET\n"
    "\n"
    "  --agent unix:/PATH  the SPIFFE Workload API's socket\n"
    "  --relay SOCKET      bulkhead-relay's --svid-socket\n"
    "  --check-confinement  try what it must not be able to do, say what came of it, and end\n"
    "  --version\n";

constexpr std::string_view kScheme = "unix:";

struct FetcherOptions {
  std::string agent, relay;  ///< paths
  bool check_confinement = false;
};

[[noreturn]] void wrong_usage(const std::string& what) {
  std::fprintf(stderr, "bulkhead-svid-fetcher: %s\n%s", what.c_str(), kUsage);
  std::exit(2);
}

FetcherOptions parse_options(int argc, char** argv) {
  static const option known[] = {{"agent", required_argument, nullptr, 'a'},
                                 {"relay", required_argument, nullptr, 'r'},
                                 {"check-confinement", no_argument, nullptr, 'C'},
                                 {"version", no_argument, nullptr, 'V'},
                                 {"help", no_argument, nullptr, 'h'},
                                 {nullptr, 0, nullptr, 0}};
  FetcherOptions options;
  for (int chosen; (chosen = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    switch (chosen) {
      case 'a':
        options.agent = optarg;
        break;
      case 'r':
        options.relay = optarg;
        break;
      case 'C':
        options.check_confinement = true;
        break;
      case 'V':
        std::puts("bulkhead-svid-fetcher " BULKHEAD_VERSION);
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
  if (!options.agent.starts_with("unix:/")) wrong_usage("--agent unix:/PATH is missing");
  options.agent.erase(0, kScheme.size());
  if (options.relay.empty()) wrong_usage("--relay SOCKET is missing");
  return options;
}

Expected<> run(const FetcherOptions& options) {
  if (geteuid() == 0)
    return fail(ErrorCode::kPermission,
                "must not run as root: start it as the relay's user, for whom the agent has SVIDs");
  std::signal(SIGPIPE, SIG_IGN);
  auto destinations = fix_destinations(options.agent, options.relay);
  if (!destinations) return std::unexpected(destinations.error());
  const Destinations& to = **destinations;
  if (auto confined = confine_fetcher(to); !confined) return confined;
  if (options.check_confinement)
    return check_fetcher_confinement(to) ? Expected<>{}
                                         : fail(ErrorCode::kPermission, "something was not refused");
  auto mailbox = Mailbox::create();
  if (!mailbox) return std::unexpected(mailbox.error());
  std::thread listener([&] { follow_agent(to.agent, **mailbox); });
  deliver(to.relay, **mailbox);
}

}  // namespace
}  // namespace bulkhead

int main(int argc, char** argv) {
  auto ended = bulkhead::run(bulkhead::parse_options(argc, argv));
  if (!ended) bulkhead::log_fetcher("error: " + ended.error().message);
  return ended ? 0 : 1;
}
