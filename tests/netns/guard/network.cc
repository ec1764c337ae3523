#include "tests/netns/guard/network.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "base/check.h"

namespace bulkhead::test {

void run(const std::string& command) {
  if (std::system(command.c_str()) == 0) return;
  std::fprintf(stderr, "failed: %s\n", command.c_str());
  std::abort();
}

std::string output_of(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  BULKHEAD_CHECK(pipe != nullptr);
  std::string output;
  std::array<char, 4096> chunk;
  while (const size_t bytes = fread(chunk.data(), 1, chunk.size(), pipe)) output.append(chunk.data(), bytes);
  pclose(pipe);
  return output;
}

bool enter_new_network() {
  if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return false;
  // sysfs shows the interfaces of the namespace that it was mounted in; this mount is seen by this process
  // alone.
  BULKHEAD_CHECK(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  BULKHEAD_CHECK(mount("sysfs", "/sys", "sysfs", 0, nullptr) == 0);
  run("ip link set lo up");
  return true;
}

void add_cable(const std::string& gateway_end, const std::string& far_end, std::string_view mac) {
  run(fmt::format("ip link add {} address {} type veth peer name {}", gateway_end, mac, far_end));
  run(fmt::format("echo 1 > /proc/sys/net/ipv6/conf/{}/disable_ipv6", far_end));
  run(fmt::format("ip link set {} up && ip link set {} up", gateway_end, far_end));
}

PacketSocket::PacketSocket(const std::string& interface)
    : socket_(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(if_nametoindex(interface.c_str()));
  BULKHEAD_CHECK(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
}

void PacketSocket::send(const Frame& frame) const {
  BULKHEAD_CHECK(::send(socket_.get(), frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size()));
}

std::optional<Frame> PacketSocket::receive(const std::function<bool(const Frame&)>& wanted,
                                           std::chrono::milliseconds patience) const {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, std::max<int>(0, static_cast<int>(left.count()))) <= 0) return std::nullopt;
    Frame frame(65536);
    sockaddr_ll from{};
    socklen_t from_bytes = sizeof from;
    const ssize_t bytes = recvfrom(socket_.get(), frame.data(), frame.size(), MSG_DONTWAIT,
                                   reinterpret_cast<sockaddr*>(&from), &from_bytes);
    if (bytes < 0 || from.sll_pkttype == PACKET_OUTGOING) continue;
    frame.resize(static_cast<size_t>(bytes));
    if (wanted(frame)) return frame;
  }
}

}  // namespace bulkhead::test
