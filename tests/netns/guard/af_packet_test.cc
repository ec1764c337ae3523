// The guard of af_packet ports.
#include <bpf/libbpf.h>
#include <linux/pkt_cls.h>
#include <net/if.h>

#include "dataplane/guard/libbpf_options.h"
#include "tests/netns/guard/guard_fixture.h"

namespace bulkhead {
namespace {

using namespace test;
using testing::HasSubstr;

/// Under the guard's handle, so that only the priority decides whether the two are in each other's way.
void attach_filter_that_drops_all(uint32_t priority) {
  const Fd program = somebody_elses_program(BPF_PROG_TYPE_SCHED_CLS, TC_ACT_SHOT);
  bpf_tc_hook hook;
  clear(hook);
  hook.ifindex = static_cast<int>(if_nametoindex("ga"));
  hook.attach_point = BPF_TC_INGRESS;
  BULKHEAD_CHECK(bpf_tc_hook_create(&hook) == 0);
  bpf_tc_opts filter;
  clear(filter);
  filter.prog_fd = program.get();
  filter.handle = 0xb01c;
  filter.priority = priority;
  BULKHEAD_CHECK(bpf_tc_attach(&hook, &filter) == 0);
}

TEST_F(GuardTest, AfPacket_TheSocketSeesWhatTheKernelDoesnt) {
  const Expected<Guard> guard = Guard::for_af_packet({.interface = "ga"});
  ASSERT_TRUE(guard) << guard.error().message;
  const PacketSocket gateway("ga");
  expect_kernel_forwards_nothing();
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(gateway.receive(is_transit));
  EXPECT_EQ(guard->counts().dropped, 10u);
}

TEST_F(GuardTest, AfPacket_HostAddresses_AnswerArpEchoAndNeighbourSolicitation) {
  const Expected<Guard> guard =
      Guard::for_af_packet({.interface = "ga", .host_addresses = {ip(kHost), ip(kHost6)}});
  ASSERT_TRUE(guard) << guard.error().message;
  wa_->send(arp_request("ff:ff:ff:ff:ff:ff", "10.1.0.5", kHost));
  EXPECT_TRUE(wa_->receive(is_arp_reply));
  wa_->send(ping(kHost));
  EXPECT_TRUE(wa_->receive(is_echo_reply));
  wa_->send(neighbour_message({.to_mac = "33:33:ff:00:00:c8", .to = "ff02::1:ff00:c8", .target = kHost6}));
  EXPECT_TRUE(wa_->receive(is_neighbour_advertisement));
  EXPECT_EQ(guard->counts().passed, 3u);
}

TEST_F(GuardTest, AfPacket_FramesCutInTheIpHeader_AreDropped) {
  const Expected<Guard> guard = Guard::for_af_packet({.interface = "ga", .host_addresses = {ip(kHost)}});
  ASSERT_TRUE(guard) << guard.error().message;
  const Frame whole = ping(kHost);
  for (std::ptrdiff_t length = 14; length < 34; ++length)
    wa_->send(Frame(whole.begin(), whole.begin() + length));
  EXPECT_EQ(guard->counts().dropped, 20u);
  EXPECT_EQ(guard->counts().passed, 0u);
}

TEST_F(GuardTest, AfPacket_ATagThatTheKernelTakesOff_IsStillATag) {
  const Expected<Guard> guard = Guard::for_af_packet({.interface = "ga", .host_addresses = {ip(kHost)}});
  ASSERT_TRUE(guard) << guard.error().message;
  wa_->send(tagged(ping(kHost), 0));  // a priority tag, which the kernel's stack would accept as untagged
  EXPECT_FALSE(wa_->receive(is_echo_reply, std::chrono::milliseconds(100)));
  EXPECT_EQ(guard->counts().dropped, 1u);
}

TEST_F(GuardTest, AfPacket_AfterKill_StaysClosedAndIsReplacedByOne) {
  run_and_kill([] { return Guard::for_af_packet({.interface = "ga", .host_addresses = {ip(kHost)}}); });
  expect_kernel_forwards_nothing();
  const Expected<Guard> guard = Guard::for_af_packet({.interface = "ga", .host_addresses = {ip(kHost)}});
  ASSERT_TRUE(guard) << guard.error().message;
  expect_kernel_forwards_nothing();
  EXPECT_EQ(guard->counts().dropped, 10u);
  EXPECT_EQ(output_of("tc filter show dev ga ingress | grep -c 'bulkhead_tc:'"), "1\n");
}

TEST_F(GuardTest, AfPacket_LeftoversOfAnAfXdpPort_AreReplaced) {
  run_and_kill([] { return open_xdp_port(); });
  const Expected<Guard> guard = Guard::for_af_packet({.interface = "ga"});
  ASSERT_TRUE(guard) << guard.error().message;
  const PacketSocket gateway("ga");
  expect_kernel_forwards_nothing();
  EXPECT_TRUE(gateway.receive(is_transit)) << "the XDP program is still there";
  EXPECT_EQ(guard->counts().dropped, 10u);
}

TEST_F(GuardTest, AfPacket_OthersFilters_StayAndSeeTheHostsFrames) {
  attach_filter_that_drops_all(2);
  const std::string before = output_of("tc filter show dev ga ingress");
  Expected<Guard> guard = Guard::for_af_packet({.interface = "ga", .host_addresses = {ip(kHost)}});
  ASSERT_TRUE(guard) << guard.error().message;
  wa_->send(ping(kHost));
  EXPECT_FALSE(wa_->receive(is_echo_reply, std::chrono::milliseconds(100)))
      << "the other filter drops all, this too";
  EXPECT_EQ(guard->counts().passed, 1u);
  ASSERT_TRUE(guard->remove());
  EXPECT_EQ(output_of("tc filter show dev ga ingress"), before);
}

TEST_F(GuardTest, AfPacket_SomebodyElsesProgramInOurPlace_IsAnErrorAndUntouched) {
  attach_filter_that_drops_all(1);
  const std::string before = output_of("tc filter show dev ga ingress");
  const Expected<Guard> guard = Guard::for_af_packet({.interface = "ga"});
  ASSERT_FALSE(guard);
  EXPECT_EQ(guard.error().code, ErrorCode::kExists);
  EXPECT_THAT(guard.error().message, HasSubstr("'somebody_elses'"));
  EXPECT_EQ(output_of("tc filter show dev ga ingress"), before);
  run("tc filter del dev ga ingress pref 1 handle 0xb01c bpf");  // what the message says to do
  EXPECT_THAT(guard.error().message, HasSubstr("tc filter del dev ga ingress pref 1 handle 0xb01c bpf"));
  EXPECT_TRUE(Guard::for_af_packet({.interface = "ga"}));
}

TEST_F(GuardTest, AfPacket_AnotherKindOfFilterInOurPlace_IsAnErrorAndUntouched) {
  run("tc qdisc add dev ga clsact && tc filter add dev ga ingress pref 1 protocol ip u32 match u32 0 0 "
      "classid 1:1");
  const std::string before = output_of("tc filter show dev ga ingress");
  const Expected<Guard> guard = Guard::for_af_packet({.interface = "ga"});
  ASSERT_FALSE(guard);
  EXPECT_EQ(guard.error().code, ErrorCode::kExists);
  EXPECT_THAT(guard.error().message, HasSubstr("`tc filter del dev ga ingress pref 1`"));
  EXPECT_EQ(output_of("tc filter show dev ga ingress"), before);
  run("tc filter del dev ga ingress pref 1");
  EXPECT_TRUE(Guard::for_af_packet({.interface = "ga"}));
}

TEST_F(GuardTest, AfPacket_ATcxProgramBeforeOurs_IsAnError) {
  const Fd program = somebody_elses_program(BPF_PROG_TYPE_SCHED_CLS, TC_ACT_OK);
  constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);
  Fd link(bpf_link_create(program.get(), static_cast<int>(if_nametoindex("ga")), kTcxIngress, nullptr));
  if (!link) GTEST_SKIP() << "this kernel has no tcx (it came with Linux 6.6)";
  const Expected<Guard> guard = Guard::for_af_packet({.interface = "ga"});
  ASSERT_FALSE(guard);
  EXPECT_EQ(guard.error().code, ErrorCode::kExists);
  EXPECT_THAT(guard.error().message, HasSubstr("tcx"));
  link = Fd();
  EXPECT_TRUE(Guard::for_af_packet({.interface = "ga"}));
}

TEST_F(GuardTest, AfPacket_Remove_LeavesTheInterfaceToTheKernel) {
  Expected<Guard> guard = Guard::for_af_packet({.interface = "ga"});
  ASSERT_TRUE(guard);
  expect_kernel_forwards_nothing();
  ASSERT_TRUE(guard->remove());
  expect_kernel_forwards();
}

}  // namespace
}  // namespace bulkhead
