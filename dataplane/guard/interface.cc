#include "dataplane/guard/interface.h"

#include <fmt/format.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace bulkhead {

Expected<Interface> find_interface(const std::string& name) {
  const int index = static_cast<int>(if_nametoindex(name.c_str()));
  if (index == 0)
    return fail(ErrorCode::kNotFound,
                fmt::format("no network interface '{}': `ip link` lists those that there are", name));

  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  if (ioctl(socket.get(), SIOCGIFHWADDR, &request) != 0)
    return fail_errno(errno, fmt::format("reading the address of interface '{}'", name));
  if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER)
    return fail(ErrorCode::kInvalid,
                fmt::format("interface '{}' isn't Ethernet: a port needs one that is", name));

  Interface interface{.name = name, .index = index};
  std::memcpy(interface.mac.bytes.data(), request.ifr_hwaddr.sa_data, interface.mac.bytes.size());
  return interface;
}

bool still_exists(const Interface& interface) {
  char name[IF_NAMESIZE];
  return if_indextoname(static_cast<unsigned>(interface.index), name) != nullptr;
}

namespace {

/// An address without a file: it belongs to the network namespace, as interface indices do, and goes with its
/// socket.
struct ClaimAddress {
  sockaddr_un address{.sun_family = AF_UNIX};
  socklen_t length = 0;

  explicit ClaimAddress(int interface_index) {
    const std::string name = fmt::format("bulkhead-guard/{}", interface_index);
    std::ranges::copy(name, address.sun_path + 1);
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

std::string holder_of(const ClaimAddress& claimed) {
  const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ucred peer{};
  socklen_t length = sizeof peer;
  if (connect(socket.get(), claimed.get(), claimed.length) != 0 ||
      getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
    return "another process";
  return fmt::format("process {} of user {}", peer.pid, peer.uid);
}

}  // namespace

Expected<Fd> claim(const Interface& interface) {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const ClaimAddress address(interface.index);
  if (bind(socket.get(), address.get(), address.length) != 0) {
    if (errno != EADDRINUSE) return fail_errno(errno, fmt::format("claiming interface '{}'", interface.name));
    return fail(
        ErrorCode::kExists,
        fmt::format(
            "interface '{}' belongs to a gateway that runs ({}): stop that one, or use another interface",
            interface.name, holder_of(address)));
  }
  if (listen(socket.get(), 1) != 0)
    return fail_errno(errno, fmt::format("claiming interface '{}'", interface.name));
  return socket;
}

}  // namespace bulkhead
