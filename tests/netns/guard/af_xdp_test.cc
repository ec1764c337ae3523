// The guard of af_xdp ports. The driver is the tests' own, and does what DPDK's does.
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>

#include "tests/netns/guard/guard_fixture.h"

namespace bulkhead {
namespace {

using namespace test;
using testing::HasSubstr;
using testing::Not;

TEST_F(GuardTest, WithoutAGuard_TheKernelForwards) {
  expect_kernel_forwards();
}

TEST_F(GuardTest, AfXdp_WithoutASocket_DropsAndCounts) {
  const XdpPort port = open_xdp_port();
  expect_kernel_forwards_nothing();
  EXPECT_EQ(port.guard.counts().dropped, 10u);
  EXPECT_EQ(port.guard.counts().passed, 0u);
}

TEST_F(GuardTest, AfXdp_ABoundSocketGetsEveryFrameButTheHosts) {
  XdpPort port = open_xdp_port({ip(kHost)});
  port.driver.bind_socket();
  expect_kernel_forwards_nothing();
  EXPECT_EQ(port.driver.received(), 10u);
  EXPECT_EQ(port.guard.counts().dropped, 0u);
  wa_->send(ping(kHost));
  EXPECT_TRUE(wa_->receive(is_echo_reply));
  EXPECT_EQ(port.driver.received(), 10u);
  EXPECT_EQ(port.guard.counts().passed, 1u);
}

TEST_F(GuardTest, AfXdp_HostAddresses_AnswerArpEchoAndNeighbourSolicitation) {
  const XdpPort port = open_xdp_port({ip(kHost), ip(kHost6)});
  wa_->send(arp_request("ff:ff:ff:ff:ff:ff", "10.1.0.5", kHost));
  EXPECT_TRUE(wa_->receive(is_arp_reply));
  wa_->send(ping(kHost));
  EXPECT_TRUE(wa_->receive(is_echo_reply));
  wa_->send(neighbour_message({.to_mac = "33:33:ff:00:00:c8", .to = "ff02::1:ff00:c8", .target = kHost6}));
  EXPECT_TRUE(wa_->receive(is_neighbour_advertisement));
  EXPECT_EQ(port.guard.counts().passed, 3u);
  EXPECT_EQ(port.guard.counts().dropped, 0u);
}

TEST_F(GuardTest, AfXdp_AnAddressOfTheHostThatIsntListed_DoesntAnswer) {
  const XdpPort port = open_xdp_port({ip(kHost6)});
  wa_->send(arp_request("ff:ff:ff:ff:ff:ff", "10.1.0.5", kHost));
  wa_->send(ping(kHost));
  EXPECT_FALSE(wa_->receive([](const Frame& frame) { return is_arp_reply(frame) || is_echo_reply(frame); },
                            std::chrono::milliseconds(100)));
  EXPECT_EQ(port.guard.counts().dropped, 2u);
}

TEST_F(GuardTest, AfXdp_BeforeTheDriverAttaches_TheKernelForwardsNothing) {
  const Expected<Guard> guard = Guard::before_af_xdp({.interface = "ga"});
  ASSERT_TRUE(guard) << guard.error().message;
  EXPECT_THAT(output_of("ip link show ga"), Not(HasSubstr("xdp")));
  expect_kernel_forwards_nothing();
  EXPECT_EQ(guard->counts().dropped, 10u);
}

TEST_F(GuardTest, AfXdp_AfterKill_StaysClosedAndOpenForTheHost) {
  run_and_kill([] {
    XdpPort port = open_xdp_port({ip(kHost)});
    port.driver.bind_socket();
    return port;
  });
  EXPECT_THAT(output_of("ip link show ga"), HasSubstr("xdp"));
  expect_kernel_forwards_nothing();
  wa_->send(ping(kHost));
  EXPECT_TRUE(wa_->receive(is_echo_reply));
}

TEST_F(GuardTest, AfXdp_ALeftover_IsReplaced) {
  run_and_kill([] { return open_xdp_port({ip(kHost)}); });
  const XdpPort port = open_xdp_port({ip(kHost6)});
  expect_kernel_forwards_nothing();
  EXPECT_EQ(port.guard.counts().dropped, 10u);
  wa_->send(ping(kHost));  // listed by the one before, not by this one
  EXPECT_FALSE(wa_->receive(is_echo_reply, std::chrono::milliseconds(100)));
}

TEST_F(GuardTest, AfXdp_ARunningGatewaysProgram_IsAnErrorAndUntouched) {
  const pid_t running = start([] { return open_xdp_port({ip(kHost)}); });
  const std::string before = output_of("ip link show ga; tc filter show dev ga ingress");
  const Expected<Guard> second = Guard::before_af_xdp({.interface = "ga"});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
  EXPECT_THAT(second.error().message, HasSubstr("process " + std::to_string(running)));
  EXPECT_EQ(output_of("ip link show ga; tc filter show dev ga ingress"), before);
  kill(running, SIGKILL);
  waitpid(running, nullptr, 0);
}

TEST_F(GuardTest, AfXdp_SomebodyElsesProgram_IsAnErrorAndUntouched) {
  const Fd theirs = somebody_elses_program(BPF_PROG_TYPE_XDP, XDP_PASS);
  ASSERT_EQ(bpf_xdp_attach(static_cast<int>(if_nametoindex("ga")), theirs.get(), 0, nullptr), 0);
  const std::string before = output_of("ip link show ga; tc filter show dev ga ingress");

  const Expected<Guard> guard = Guard::before_af_xdp({.interface = "ga"});
  ASSERT_FALSE(guard);
  EXPECT_EQ(guard.error().code, ErrorCode::kExists);
  EXPECT_THAT(guard.error().message, HasSubstr("'somebody_elses'"));
  EXPECT_THAT(guard.error().message, HasSubstr("ip link set dev ga xdpdrv off"));
  EXPECT_EQ(output_of("ip link show ga; tc filter show dev ga ingress"), before);
  run("ip link set dev ga xdpdrv off");  // what the message says to do
  EXPECT_TRUE(Guard::before_af_xdp({.interface = "ga"}));
}

TEST_F(GuardTest, AfXdp_AdoptWithoutADriver_IsAnError) {
  Expected<Guard> guard = Guard::before_af_xdp({.interface = "ga"});
  ASSERT_TRUE(guard);
  const Expected<> adopted = guard->adopt_xdp();
  ASSERT_FALSE(adopted);
  EXPECT_EQ(adopted.error().code, ErrorCode::kNotFound);
}

TEST_F(GuardTest, AfXdp_CleanStop_LeavesTheInterfaceToTheKernelAtTheEndOnly) {
  XdpPort port = open_xdp_port();
  port.driver.bind_socket();
  port.driver.close();
  expect_kernel_forwards_nothing();
  const Expected<> removed = port.guard.remove();
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(output_of("tc filter show dev ga ingress"), "");
  expect_kernel_forwards();
}

TEST_F(GuardTest, AfXdp_RemoveWithoutDriverClose_DetachesBoth) {
  XdpPort port = open_xdp_port();
  ASSERT_TRUE(port.guard.remove());
  EXPECT_THAT(output_of("ip link show ga"), Not(HasSubstr("xdp")));
  expect_kernel_forwards();
}

TEST_F(GuardTest, AfXdp_VlanTagsStayInFramesWhileGuarded) {
  constexpr auto kStripping = "ethtool -k ga | grep -E 'rx-vlan-offload|rx-vlan-stag-hw-parse' | cut -d: -f2";
  ASSERT_EQ(output_of(kStripping), " on\n on\n");
  XdpPort port = open_xdp_port();
  EXPECT_EQ(output_of(kStripping), " off\n off\n");
  ASSERT_TRUE(port.guard.remove());
  EXPECT_EQ(output_of(kStripping), " on\n on\n");
}

}  // namespace
}  // namespace bulkhead
