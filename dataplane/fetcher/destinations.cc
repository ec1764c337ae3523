#include "dataplane/fetcher/destinations.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/printable.h"

namespace bulkhead {

namespace {

constexpr uintptr_t kLowest = 65536, kHighest = uintptr_t{1} << 24;  ///< vm.mmap_min_addr, and well above it

Expected<> write_address(sockaddr_un& address, const std::string& path) {
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(ErrorCode::kInvalid, printable(path) + ": a socket's path has 1 to " +
                                         std::to_string(sizeof address.sun_path - 1) + " bytes");
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return {};
}

/// A page of zeroes, as low as one may lie.
Expected<void*> map_lowest_page() {
  for (uintptr_t at = kLowest; at <= kHighest; at *= 2) {
    void* page = mmap(reinterpret_cast<void*>(at), kDestinationsBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (page != MAP_FAILED) return page;
  }
  return fail_errno(errno, "a page for the sockets' addresses");
}

}  // namespace

Expected<const Destinations*> fix_destinations(const std::string& agent, const std::string& relay) {
  static_assert(sizeof(Destinations) <= kDestinationsBytes);
  auto page = map_lowest_page();
  if (!page) return std::unexpected(page.error());
  auto* destinations = static_cast<Destinations*>(*page);
  if (auto written = write_address(destinations->agent, agent); !written)
    return std::unexpected(written.error());
  if (auto written = write_address(destinations->relay, relay); !written)
    return std::unexpected(written.error());
  if (mprotect(*page, kDestinationsBytes, PROT_READ) != 0) return fail_errno(errno, "mprotect");
  return destinations;
}

Expected<Fd> connect_to(const sockaddr_un& destination, int type) {
  Fd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno(errno, "socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&destination), sizeof destination) != 0)
    return fail_errno(errno, printable(destination.sun_path));
  return fd;
}

}  // namespace bulkhead
