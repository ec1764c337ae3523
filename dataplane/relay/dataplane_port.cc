#include "dataplane/relay/dataplane_port.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>

namespace bulkhead {

namespace {

sockaddr_in socket_address(const IpAddress& address, uint16_t port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(address.v4_host());
  return to;
}

}  // namespace

Expected<Fd> DataplanePort::open() {
  Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno(errno, "socket to the dataplane");
  int on = 1, buffer = 4 << 20;
  if (setsockopt(fd.get(), IPPROTO_IP, IP_TRANSPARENT, &on, sizeof on) != 0)
    return fail_errno(errno, "socket to the dataplane");
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);  // as much as the host allows
  sockaddr_in here = socket_address(kRelayAddress, kRelayPort);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&here), sizeof here) != 0)
    return fail_errno(errno, "socket to the dataplane");
  return fd;
}

void DataplanePort::take_announcements() {
  std::lock_guard lock(mutex_);
  drain();
}

std::optional<RelayAnnouncement> DataplanePort::claim(const FlowEnds& ends) {
  std::lock_guard lock(mutex_);
  drain();
  return announcements_.claim(ends, boot_now());
}

void DataplanePort::drain() {
  std::byte payload[sizeof(RelayAnnouncement) + 1];
  for (;;) {
    sockaddr_in from{};
    socklen_t length = sizeof from;
    ssize_t n = recvfrom(fd_.get(), payload, sizeof payload, 0, reinterpret_cast<sockaddr*>(&from), &length);
    if (n < 0 && (errno == EINTR || errno == ECONNREFUSED)) continue;
    if (n < 0) return;
    std::optional<RelayAnnouncement> announcement;
    if (from.sin_addr.s_addr == htonl(kRelayDataplaneAddress.v4_host()) && from.sin_port == htons(kRelayPort))
      announcement = read_relay_announcement({payload, static_cast<size_t>(n)});
    ++(announcement ? received_ : wrong_);
    if (announcement) announcements_.add(*announcement, boot_now());
  }
}

void DataplanePort::say(RelayState state, uint64_t live) {
  RelayHeartbeat heartbeat = make_relay_heartbeat();
  heartbeat.state = state;
  heartbeat.live = live;
  sockaddr_in to = socket_address(kRelayDataplaneAddress, kRelayPort);
  // Where it can't be sent now, its absence says so.
  sendto(fd_.get(), &heartbeat, sizeof heartbeat, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&to), sizeof to);
}

DataplanePort::Counts DataplanePort::counts() {
  std::lock_guard lock(mutex_);
  return {received_, wrong_, announcements_.expired()};
}

}  // namespace bulkhead
