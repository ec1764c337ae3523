#include "dataplane/relay/network.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <nftables/libnftables.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "contract/relay_flow.h"
#include "dataplane/relay/log.h"

namespace bulkhead {

namespace {

constexpr uint32_t kSteeredTable = 100;
constexpr int kBacklog = 4096;

/// Under /proc/sys/net, of the whole namespace; what the kernel doesn't have it can't do either.
constexpr const char* kNamespaceSettings[][2] = {
    {"ipv4/ip_forward", "0"},
    {"ipv6/conf/all/forwarding", "0"},
    {"ipv4/ip_unprivileged_port_start", "0"},  // a client's port may be any
    {"ipv4/tcp_tw_reuse", "1"},                // the client chose its port again: so must we
    {"ipv4/tcp_tw_reuse_delay", "1"},
    {"ipv4/tcp_fastopen", "0"},  // nothing is taken before the verdict
    {"ipv4/icmp_echo_ignore_all", "1"},
    {"ipv6/icmp/echo_ignore_all", "1"},
};
/// Under conf/INTERFACE, for interfaces to come (`default`) and for one that is there.
constexpr const char* kInterfaceSettings[][3] = {
    {"ipv4", "rp_filter", "0"},        {"ipv4", "forwarding", "0"},    {"ipv4", "accept_redirects", "0"},
    {"ipv6", "addr_gen_mode", "1"},    {"ipv6", "autoconf", "0"},      {"ipv6", "accept_ra", "0"},
    {"ipv6", "accept_dad", "0"},       {"ipv6", "dad_transmits", "0"}, {"ipv6", "router_solicitations", "0"},
    {"ipv6", "accept_redirects", "0"}, {"ipv4", "arp_ignore", "8"},
};

/// Errors: but for a setting that this kernel doesn't have.
Expected<> set(const std::string& setting, const char* value) {
  std::string path = "/proc/sys/net/" + setting;
  Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return {};
  if (!fd || write(fd.get(), value, 1) != 1) return fail_errno(errno, path);
  return {};
}

Expected<> set_interface(const std::string& name) {
  for (const auto& [family, key, value] : kInterfaceSettings)
    if (auto done = set(std::string(family) + "/conf/" + name + "/" + key, value); !done) return done;
  return {};
}

/// What comes in is handed to the socket that it belongs to, found by both its ends, else to a listener of
/// ours; all that isn't TCP, the dataplane's own datagrams or an ICMP error about what we sent, ends here.
std::string rules_for(const std::string& interface) {
  std::string port = std::to_string(kTransparentPort), datagram = std::to_string(kRelayPort);
  std::string here = to_string(kRelayAddress), there = to_string(kRelayDataplaneAddress);
  std::string in = "iifname \"" + interface + "\" ", out = "oifname \"" + interface + "\" ";
  return "add table inet bulkhead_relay\n"
         "delete table inet bulkhead_relay\n"
         "table inet bulkhead_relay {\n"
         " chain steered { type filter hook prerouting priority mangle; policy accept;\n"
         "  " +
         in + "meta nfproto ipv4 meta l4proto tcp tproxy ip to 127.0.0.1:" + port +
         "\n"
         "  " +
         in + "meta nfproto ipv6 meta l4proto tcp tproxy ip6 to [::1]:" + port +
         "\n"
         " }\n"
         " chain incoming { type filter hook input priority filter; policy drop;\n"
         "  " +
         in +
         "meta l4proto tcp accept\n"
         "  " +
         in + "ip saddr " + there + " ip daddr " + here + " udp sport " + datagram + " udp dport " +
         datagram +
         " accept\n"
         "  " +
         in +
         "icmp type { destination-unreachable, time-exceeded, parameter-problem } accept\n"
         "  " +
         in +
         "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept\n"
         " }\n"
         " chain outgoing { type filter hook output priority filter; policy drop;\n"
         "  " +
         out +
         "meta l4proto tcp accept\n"
         "  " +
         out + "ip saddr " + here + " ip daddr " + there + " udp dport " + datagram +
         " accept\n"
         " }\n"
         " chain passing { type filter hook forward priority filter; policy drop; }\n"
         "}\n";
}

Expected<> load_rules(const std::string& rules) {
  std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)> context(nft_ctx_new(NFT_CTX_DEFAULT), nft_ctx_free);
  if (!context) return fail(ErrorCode::kExhausted, "nftables");
  nft_ctx_buffer_error(context.get());
  if (nft_run_cmd_from_buffer(context.get(), rules.c_str()) == 0) return {};
  const char* said = nft_ctx_get_error_buffer(context.get());
  return fail(ErrorCode::kSystem,
              std::string("nftables refused the relay's rules; does this kernel have nft_tproxy? ") +
                  (said ? said : ""));
}

Expected<> keep_steered_packets(const std::string& interface) {
  auto routes = RouteSocket::open();
  if (!routes) return std::unexpected(routes.error());
  int loopback = static_cast<int>(if_nametoindex("lo"));
  if (auto up = routes->set_up(loopback); !up) return up;
  for (Family family : {Family::kIpv4, Family::kIpv6}) {
    if (auto added = routes->add_local_table(family, kSteeredTable, loopback); !added) return added;
    if (auto added = routes->add_rule(family, interface, kSteeredTable); !added) return added;
  }
  return {};
}

int enable(const Fd& fd, int level, int option) {
  int on = 1;
  return setsockopt(fd.get(), level, option, &on, sizeof on);
}

}  // namespace

Expected<> prepare_network(const std::string& interface) {
  for (const auto& [setting, value] : kNamespaceSettings)
    if (auto done = set(setting, value); !done) return done;
  for (const std::string& name : {std::string("all"), std::string("default"), interface})
    if (auto done = set_interface(name); !done) return done;
  if (auto loaded = load_rules(rules_for(interface)); !loaded) return loaded;
  return keep_steered_packets(interface);
}

Expected<Fd> listen_transparently(Family family) {
  bool v4 = family == Family::kIpv4;
  Fd fd(socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno(errno, "listener");
  int transparent = v4 ? enable(fd, IPPROTO_IP, IP_TRANSPARENT) : enable(fd, IPPROTO_IPV6, IPV6_TRANSPARENT);
  if (transparent != 0 || enable(fd, SOL_SOCKET, SO_REUSEADDR) != 0 ||
      enable(fd, SOL_SOCKET, SO_REUSEPORT) != 0)
    return fail_errno(errno, "transparent listener");
  sockaddr_in here{.sin_family = AF_INET,
                   .sin_port = htons(kTransparentPort),
                   .sin_addr = {htonl(INADDR_LOOPBACK)},
                   .sin_zero = {}};
  sockaddr_in6 here6{.sin6_family = AF_INET6,
                     .sin6_port = htons(kTransparentPort),
                     .sin6_flowinfo = 0,
                     .sin6_addr = in6addr_loopback,
                     .sin6_scope_id = 0};
  int bound = v4 ? bind(fd.get(), reinterpret_cast<sockaddr*>(&here), sizeof here)
                 : bind(fd.get(), reinterpret_cast<sockaddr*>(&here6), sizeof here6);
  if (bound != 0 || listen(fd.get(), kBacklog) != 0) return fail_errno(errno, "transparent listener");
  return fd;
}

Expected<DataplaneLink> DataplaneLink::open(std::string interface) {
  auto routes = RouteSocket::open();
  if (!routes) return std::unexpected(routes.error());
  auto events = LinkEvents::open();
  if (!events) return std::unexpected(events.error());
  return DataplaneLink(std::move(interface), std::move(*routes), std::move(*events));
}

DataplaneLink::Change DataplaneLink::look() {
  events_.take();
  auto link = routes_.link(interface_);
  if (!link) {
    log_line(link.error().message);
    return Change::kNone;
  }
  std::optional<int> before = current_;
  bool same = *link && before == (*link)->index;
  bool good = same && (*link)->up && !(*link)->resolves && (*link)->mac == kRelayMac;
  if (good || (!*link && !before)) return Change::kNone;
  current_.reset();
  if (*link) {
    if (auto configured = configure(**link); !configured)
      log_line(interface_ + ": " + configured.error().message);
    else
      current_ = (*link)->index;
  }
  if (same && current_) return Change::kNone;
  if (before) return Change::kWent;
  return current_ ? Change::kCame : Change::kNone;
}

Expected<> DataplaneLink::configure(const LinkState& link) {
  if (auto done = routes_.configure(link.index, kRelayMac); !done) return done;
  if (auto done = routes_.add_address(link.index, kRelayAddress, 30); !done) return done;
  for (Family family : {Family::kIpv4, Family::kIpv6})
    if (auto done = routes_.add_default_route(family, link.index); !done) return done;
  return {};
}

}  // namespace bulkhead
