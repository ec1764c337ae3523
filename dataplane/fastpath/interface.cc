#include "dataplane/fastpath/interface.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "contract/memfd.h"

namespace bulkhead {

static std::optional<ifreq> request_for(const std::string& name) {
  ifreq request{};
  if (name.empty() || name.size() >= sizeof request.ifr_name) return std::nullopt;
  std::memcpy(request.ifr_name, name.c_str(), name.size());
  return request;
}

static Fd any_socket() {
  return Fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

InterfaceState interface_state(const std::string& name) {
  auto request = request_for(name);
  Fd fd = any_socket();
  if (!request || !fd || ioctl(fd.get(), SIOCGIFINDEX, &*request) != 0) return {};
  InterfaceState state{.index = static_cast<unsigned>(request->ifr_ifindex)};
  if (ioctl(fd.get(), SIOCGIFFLAGS, &*request) != 0) return {};
  state.up = (request->ifr_flags & IFF_UP) != 0;
  state.running = state.up && (request->ifr_flags & IFF_RUNNING) != 0;
  return state;
}

Expected<> bring_up(const std::string& name) {
  auto request = request_for(name);
  Fd fd = any_socket();
  if (!request) return fail(ErrorCode::kNotFound, "'" + name + "' can't be the name of an interface");
  if (!fd || ioctl(fd.get(), SIOCGIFFLAGS, &*request) != 0) return fail_errno(errno, "interface " + name);
  if ((request->ifr_flags & IFF_UP) != 0) return {};
  request->ifr_flags |= IFF_UP;
  if (ioctl(fd.get(), SIOCSIFFLAGS, &*request) != 0)
    return fail_errno(errno, "setting interface " + name + " up");
  return {};
}

InterfaceQueues interface_queues(const std::string& name) {
  auto request = request_for(name);
  Fd fd = any_socket();
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  if (!request || !fd) return {};
  request->ifr_data = reinterpret_cast<char*>(&channels);
  if (ioctl(fd.get(), SIOCETHTOOL, &*request) != 0) return {};
  return {.combined = channels.combined_count, .receive = channels.rx_count};
}

bool is_hardware(const std::string& name) {
  return access(("/sys/class/net/" + name + "/device").c_str(), F_OK) == 0;
}

}  // namespace bulkhead
