// What the guard's tests on real interfaces share. Each has a network namespace of its own: `ga` and `gb` are
// the gateway's, `wa` and `wb` the far ends of their cables. ip_forward is 1 throughout: the kernel would
// carry every frame from `ga` to `gb`, if it got it.
#pragma once

#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <optional>

#include "base/check.h"
#include "dataplane/guard/guard.h"
#include "tests/netns/guard/driver.h"
#include "tests/netns/guard/network.h"

namespace bulkhead::test {

inline constexpr std::string_view kHost = "10.1.0.200";
inline constexpr std::string_view kHost6 = "fd00:1::c8";

/// To be forwarded by the kernel from `ga` to `gb`.
inline const Frame kTransit =
    ipv4({.to = "10.2.0.9",
          .payload = {0x30, 0x39, 0x30, 0x39, 0, 16, 0, 0, 't', 'r', 'a', 'n', 's', 'i', 't', '!'}});
inline bool is_transit(const Frame& frame) {
  constexpr std::string_view kMark = "transit!";
  return std::ranges::search(frame, kMark).size() == kMark.size();
}
inline bool is_echo_reply(const Frame& frame) {
  return frame.size() > 34 && frame[12] == 8 && frame[13] == 0 && frame[23] == 1 && frame[34] == 0;
}
inline bool is_arp_reply(const Frame& frame) {
  return frame.size() >= 42 && frame[12] == 8 && frame[13] == 6 && frame[21] == 2;
}
inline bool is_neighbour_advertisement(const Frame& frame) {
  return frame.size() > 54 && frame[12] == 0x86 && frame[20] == 58 && frame[54] == 136;
}

/// A program that isn't ours, and returns `verdict` for every frame.
inline Fd somebody_elses_program(bpf_prog_type type, int verdict) {
  const bpf_insn always[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = verdict},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  Fd program(bpf_prog_load(type, "somebody_elses", "BSD", always, 2, nullptr));
  BULKHEAD_CHECK(program);
  return program;
}

class GuardTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!enter_new_network()) GTEST_SKIP() << "needs root to make network namespaces";
    add_cable("ga", "wa", kGatewayMac);
    add_cable("gb", "wb", "02:00:00:00:00:0b");
    run("ip addr add 10.1.0.200/24 dev ga && ip addr add fd00:1::c8/64 dev ga nodad");
    run("ip addr add 10.2.0.1/24 dev gb && ip neigh add 10.2.0.9 lladdr 02:00:00:00:00:09 dev gb");
    run("ip neigh add 10.1.0.5 lladdr 02:00:00:00:00:05 dev ga");
    run("echo 1 > /proc/sys/net/ipv4/ip_forward");
    wa_.emplace("wa");
    wb_.emplace("wb");
  }

  /// A guarded af_xdp port, as a gateway has it after start but for its socket.
  struct XdpPort {
    Guard guard;
    Driver driver;
  };
  static XdpPort open_xdp_port(const std::vector<IpAddress>& hosts = {}) {
    Expected<Guard> guard = Guard::before_af_xdp({.interface = "ga", .host_addresses = hosts});
    if (!guard) ADD_FAILURE() << guard.error().message;
    Driver driver("ga", guard->xdp_object());
    EXPECT_EQ(driver.error(), 0);
    const Expected<> adopted = guard->adopt_xdp();
    EXPECT_TRUE(adopted) << (adopted ? "" : adopted.error().message);
    return {std::move(*guard), std::move(driver)};
  }

  /// Runs `gateway` in a process of its own until it says that it is ready, and kills it without notice.
  template <class Gateway>
  static void run_and_kill(Gateway gateway) {
    const pid_t child = start(gateway);
    kill(child, SIGKILL);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
  }
  /// ... or leaves it running.
  template <class Gateway>
  static pid_t start(Gateway gateway) {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
      const auto held = gateway();
      if (write(ready[1], "", 1) == 1) pause();
      _exit(0);
    }
    close(ready[1]);
    char byte;
    EXPECT_EQ(read(ready[0], &byte, 1), 1) << "the gateway's process ended early";
    close(ready[0]);
    return child;
  }

  void expect_kernel_forwards() const {
    wa_->send(kTransit);
    EXPECT_TRUE(wb_->receive(is_transit)) << "the kernel should have forwarded the frame";
  }
  /// The kernel forwards in the sender's own time, and an echo that it answers afterwards shows that it had
  /// any.
  void expect_kernel_forwards_nothing() const {
    for (int i = 0; i < 10; ++i) wa_->send(kTransit);
    EXPECT_FALSE(wb_->receive(is_transit, std::chrono::milliseconds(50)))
        << "the kernel forwarded a frame around the gateway";
  }

  std::optional<PacketSocket> wa_, wb_;
};

}  // namespace bulkhead::test
