#include "dataplane/fastpath/interface.h"

#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
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

Expected<> move_interface(const std::string& name, const std::string& path, const std::string& as) {
  std::string what = "moving interface " + name + " into the namespace " + path;
  unsigned index = interface_state(name).index;
  if (index == 0)  // which the kernel would take for "the one that has the new name already"
    return fail(ErrorCode::kNotFound, what + ": there is no such interface here; is its device made?");
  Fd space(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  Fd route(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!space || !route) return fail_errno(errno, what);
  struct {
    nlmsghdr header;
    ifinfomsg link;
    nlattr space_attribute;
    uint32_t space;
    nlattr name_attribute;
    char name[IFNAMSIZ];
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_NEWLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.link.ifi_index = static_cast<int>(index);
  request.space_attribute = {sizeof(nlattr) + sizeof request.space, IFLA_NET_NS_FD};
  request.space = static_cast<uint32_t>(space.get());
  request.name_attribute = {sizeof(nlattr) + sizeof request.name, IFLA_IFNAME};
  as.copy(request.name, sizeof request.name - 1);
  struct {
    nlmsghdr header;
    nlmsgerr error;
    char rest[512];
  } answer{};
  if (send(route.get(), &request, sizeof request, 0) < 0 ||
      recv(route.get(), &answer, sizeof answer, 0) < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr))))
    return fail_errno(errno, what);
  if (answer.header.nlmsg_type != NLMSG_ERROR || answer.error.error != 0)
    return fail_errno(-answer.error.error, what);
  return {};
}

bool is_hardware(const std::string& name) {
  return access(("/sys/class/net/" + name + "/device").c_str(), F_OK) == 0;
}

}  // namespace bulkhead
