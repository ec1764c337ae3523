#include "dataplane/guard/interface.h"

#include <fmt/format.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "contract/host_lock.h"

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

/// Interface indices belong to a network namespace. Output: the byte of the interface in the host's lock
/// file, which no other interface of the host has.
static Expected<uint64_t> lock_byte_of(const Interface& interface) {
  struct stat space{};
  if (stat("/proc/thread-self/ns/net", &space) != 0) return fail_errno(errno, "this network namespace");
  constexpr unsigned kIndexBits = 30;
  return (uint64_t{space.st_ino} & 0xffffffff) << kIndexBits |
         (static_cast<uint64_t>(interface.index) & ((1u << kIndexBits) - 1));
}

Expected<Fd> claim(const Interface& interface) {
  const Expected<uint64_t> byte = lock_byte_of(interface);
  if (!byte) return std::unexpected(byte.error());
  Expected<Fd> lock = lock_byte(kHostLockFile, *byte, std::chrono::milliseconds(0));
  if (!lock && lock.error().code == ErrorCode::kExists)
    return fail(ErrorCode::kExists,
                fmt::format("interface '{}' belongs to a gateway that runs ({}): stop that one, or "
                            "use another interface",
                            interface.name, lock.error().message));
  if (!lock)
    return fail(
        lock.error().code,
        fmt::format("claiming interface '{}': {} (needs root; or that file made for the gateway's user, and "
                    "the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN)",
                    interface.name, lock.error().message));
  return lock;
}

}  // namespace bulkhead
