#include "dataplane/relay/route_socket.h"

#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace bulkhead {

namespace {

constexpr size_t kMessageBytes = 1024;
constexpr size_t kAnswerBytes = 32768;

uint8_t af_of(Family family) {
  return family == Family::kIpv4 ? AF_INET : AF_INET6;
}

Expected<Fd> open_netlink(uint32_t groups) {
  Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!fd) return fail_errno(errno, "rtnetlink");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail_errno(errno, "rtnetlink");
  return fd;
}

/// A message being put together.
class Message {
 public:
  Message(uint16_t type, uint16_t flags) : header_(mnl_nlmsg_put_header(bytes_.data())) {
    header_->nlmsg_type = type;
    header_->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  }
  template <class Payload>
  Payload& payload() {
    return *static_cast<Payload*>(mnl_nlmsg_put_extra_header(header_, sizeof(Payload)));
  }
  void put(uint16_t type, const void* value, size_t bytes) { mnl_attr_put(header_, type, bytes, value); }
  void put(uint16_t type, uint32_t value) { mnl_attr_put_u32(header_, type, value); }
  void put(uint16_t type, const std::string& text) { mnl_attr_put_strz(header_, type, text.c_str()); }
  void put(uint16_t type, const IpAddress& address) {
    if (address.is_v4())
      put(type, address.bytes.data() + 12, 4);
    else
      put(type, address.bytes.data(), 16);
  }
  nlmsghdr* header() { return header_; }

 private:
  alignas(nlmsghdr) std::array<char, kMessageBytes> bytes_{};
  nlmsghdr* header_;
};

/// Waits for the kernel's answer, which it gives while it takes the request.
ssize_t receive(int fd, char* buffer) {
  for (;;) {
    ssize_t n = recv(fd, buffer, kAnswerBytes, 0);
    if (n >= 0 || errno != EINTR) return n;
  }
}

int take_attribute(const nlattr* attribute, void* state) {
  if (mnl_attr_get_type(attribute) == IFLA_ADDRESS &&
      mnl_attr_get_payload_len(attribute) == sizeof(MacAddress::bytes))
    std::memcpy(static_cast<LinkState*>(state)->mac.bytes.data(), mnl_attr_get_payload(attribute),
                sizeof(MacAddress::bytes));
  return MNL_CB_OK;
}

int take_link(const nlmsghdr* message, void* state) {
  if (message->nlmsg_type != RTM_NEWLINK) return MNL_CB_OK;
  const auto& info = *static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  auto& link = *static_cast<LinkState*>(state);
  link.index = info.ifi_index;
  link.up = (info.ifi_flags & IFF_UP) != 0;
  link.resolves = (info.ifi_flags & IFF_NOARP) == 0;
  return mnl_attr_parse(message, sizeof info, take_attribute, state);
}

}  // namespace

Expected<RouteSocket> RouteSocket::open() {
  auto fd = open_netlink(0);
  if (!fd) return std::unexpected(fd.error());
  return RouteSocket(std::move(*fd));
}

Expected<> RouteSocket::request(nlmsghdr* message, const char* what) {
  message->nlmsg_seq = ++sequence_;
  if (send(fd_.get(), message, message->nlmsg_len, 0) < 0) return fail_errno(errno, what);
  alignas(nlmsghdr) char answer[kAnswerBytes];
  ssize_t n = receive(fd_.get(), answer);
  if (n < 0) return fail_errno(errno, what);
  if (mnl_cb_run(answer, static_cast<size_t>(n), sequence_, 0, nullptr, nullptr) < 0 && errno != EEXIST)
    return fail_errno(errno, what);
  return {};
}

Expected<std::optional<LinkState>> RouteSocket::link(const std::string& name) {
  Message message(RTM_GETLINK, 0);
  message.payload<ifinfomsg>().ifi_family = AF_UNSPEC;
  message.put(IFLA_IFNAME, name);
  message.header()->nlmsg_seq = ++sequence_;
  message.header()->nlmsg_flags = NLM_F_REQUEST;
  if (send(fd_.get(), message.header(), message.header()->nlmsg_len, 0) < 0)
    return fail_errno(errno, "interface " + name);
  alignas(nlmsghdr) char answer[kAnswerBytes];
  ssize_t n = receive(fd_.get(), answer);
  if (n < 0) return fail_errno(errno, "interface " + name);
  LinkState link;
  if (mnl_cb_run(answer, static_cast<size_t>(n), sequence_, 0, take_link, &link) < 0) {
    if (errno == ENODEV) return std::optional<LinkState>{};
    return fail_errno(errno, "interface " + name);
  }
  return link;
}

Expected<> RouteSocket::set_up(int index) {
  Message message(RTM_NEWLINK, 0);
  auto& info = message.payload<ifinfomsg>();
  info.ifi_index = index;
  info.ifi_flags = info.ifi_change = IFF_UP;
  return request(message.header(), "setting an interface up");
}

Expected<> RouteSocket::configure(int index, const MacAddress& mac) {
  Message message(RTM_NEWLINK, 0);
  auto& info = message.payload<ifinfomsg>();
  info.ifi_index = index;
  info.ifi_flags = info.ifi_change = IFF_UP | IFF_NOARP;
  message.put(IFLA_ADDRESS, mac.bytes.data(), mac.bytes.size());
  return request(message.header(), "configuring the interface to the dataplane");
}

Expected<> RouteSocket::add_address(int index, const IpAddress& address, uint8_t length) {
  Message message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  auto& info = message.payload<ifaddrmsg>();
  info.ifa_family = af_of(address.family());
  info.ifa_prefixlen = length;
  info.ifa_scope = RT_SCOPE_LINK;
  info.ifa_index = static_cast<uint32_t>(index);
  message.put(IFA_LOCAL, address);
  message.put(IFA_ADDRESS, address);
  return request(message.header(), "adding an address");
}

Expected<> RouteSocket::add_default_route(Family family, int index) {
  Message message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
  auto& route = message.payload<rtmsg>();
  route.rtm_family = af_of(family);
  route.rtm_table = RT_TABLE_MAIN;
  route.rtm_protocol = RTPROT_STATIC;
  route.rtm_scope = RT_SCOPE_LINK;
  route.rtm_type = RTN_UNICAST;
  message.put(RTA_OIF, static_cast<uint32_t>(index));
  return request(message.header(), "adding the default route");
}

Expected<> RouteSocket::add_local_table(Family family, uint32_t table, int loopback) {
  Message message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
  auto& route = message.payload<rtmsg>();
  route.rtm_family = af_of(family);
  route.rtm_table = RT_TABLE_UNSPEC;
  route.rtm_protocol = RTPROT_STATIC;
  route.rtm_scope = RT_SCOPE_HOST;
  route.rtm_type = RTN_LOCAL;
  message.put(RTA_TABLE, table);
  message.put(RTA_OIF, static_cast<uint32_t>(loopback));
  return request(message.header(), "adding the route that keeps steered packets here");
}

Expected<> RouteSocket::add_rule(Family family, const std::string& incoming, uint32_t table) {
  Message message(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
  auto& rule = message.payload<fib_rule_hdr>();
  rule.family = af_of(family);
  rule.action = FR_ACT_TO_TBL;
  message.put(FRA_IIFNAME, incoming);
  message.put(FRA_TABLE, table);
  message.put(FRA_PRIORITY, uint32_t{100});
  return request(message.header(), "adding the rule for steered packets");
}

Expected<LinkEvents> LinkEvents::open() {
  auto fd = open_netlink(RTMGRP_LINK);
  if (!fd) return std::unexpected(fd.error());
  return LinkEvents(std::move(*fd));
}

bool LinkEvents::take() {
  char buffer[kAnswerBytes];
  bool any = false;
  // ENOBUFS says that some were lost: they are events all the same.
  for (;;) {
    ssize_t n = recv(fd_.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 && errno != ENOBUFS) return any;
    any = true;
  }
}

}  // namespace bulkhead
