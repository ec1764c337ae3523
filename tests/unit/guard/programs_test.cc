// The guard's two BPF programs, run by the kernel on frames that never were on a wire: both must agree on
// every one.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/pkt_cls.h>
#include <unistd.h>

#include <memory>
#include <ostream>

#include "dataplane/guard/bpf/guard_layout.h"
#include "dataplane/guard/bpf/guard_tc_object.h"
#include "dataplane/guard/bpf/guard_xdp_object.h"
#include "dataplane/guard/guard_maps.h"
#include "dataplane/guard/libbpf_options.h"
#include "tests/unit/guard/frames.h"

namespace bulkhead {
namespace {

using namespace test;

struct Program {
  const char* name;
  const unsigned char* object;
  size_t object_bytes;
  uint32_t for_host;      ///< what it returns for a frame that the kernel may have
  uint32_t not_for_host;  ///< ... and for every other one, with no socket bound
  bool takes_cut_ip;  ///< whether the kernel runs it on less than an IP header (for tc it doesn't: see the
                      ///< tests in namespaces)
};
constexpr Program kPrograms[] = {
    {GUARD_XDP_PROGRAM, kXdpObject, sizeof kXdpObject, XDP_PASS, XDP_DROP, true},
    {GUARD_TC_PROGRAM, kTcObject, sizeof kTcObject, static_cast<uint32_t>(TC_ACT_UNSPEC), TC_ACT_SHOT, false},
};

class GuardPrograms : public testing::TestWithParam<Program> {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to load BPF programs";
    object_.reset(bpf_object__open_mem(GetParam().object, GetParam().object_bytes, nullptr));
    ASSERT_NE(object_, nullptr);
    ASSERT_EQ(bpf_object__load(object_.get()), 0);
    program_fd_ = bpf_program__fd(bpf_object__find_program_by_name(object_.get(), GetParam().name));
    Expected<LoadedProgram> loaded = program_with_fd(Fd(dup(program_fd_)));
    ASSERT_TRUE(loaded) << loaded.error().message;
    Expected<GuardMaps> maps = GuardMaps::of(*loaded);
    ASSERT_TRUE(maps) << maps.error().message;
    maps_ = std::move(*maps);
  }

  void admit(std::initializer_list<std::string_view> hosts) {
    std::vector<IpAddress> addresses;
    for (const std::string_view host : hosts) addresses.push_back(ip(host));
    const Expected<> admitted = maps_.admit(addresses, *parse_mac(kGatewayMac));
    ASSERT_TRUE(admitted) << admitted.error().message;
  }

  uint32_t verdict_on(const Frame& frame) const {
    bpf_test_run_opts run;
    clear(run);
    run.data_in = frame.data();
    run.data_size_in = static_cast<uint32_t>(frame.size());
    EXPECT_EQ(bpf_prog_test_run_opts(program_fd_, &run), 0);
    return run.retval;
  }
  void expect_passes(const Frame& frame) const { EXPECT_EQ(verdict_on(frame), GetParam().for_host); }
  void expect_dropped(const Frame& frame) const { EXPECT_EQ(verdict_on(frame), GetParam().not_for_host); }

  std::unique_ptr<bpf_object, decltype(&bpf_object__close)> object_{nullptr, bpf_object__close};
  int program_fd_ = -1;
  GuardMaps maps_;
};

INSTANTIATE_TEST_SUITE_P(Each, GuardPrograms, testing::ValuesIn(kPrograms),
                         [](const auto& program) { return program.param.name; });
void PrintTo(const Program& program, std::ostream* out) {
  *out << program.name;
}

TEST_P(GuardPrograms, Arp_PassesOnlyForAHostAddress) {
  admit({"10.1.0.200"});
  expect_passes(arp_request("ff:ff:ff:ff:ff:ff", "10.1.0.5", "10.1.0.200"));
  expect_passes(arp_request(kGatewayMac, "10.1.0.5", "10.1.0.200"));
  expect_dropped(arp_request("ff:ff:ff:ff:ff:ff", "10.1.0.5", "10.1.0.201"));
}

TEST_P(GuardPrograms, ArpToAnotherMac_Dropped) {
  admit({"10.1.0.200"});
  expect_dropped(arp_request("02:00:00:00:00:0b", "10.1.0.5", "10.1.0.200"));
}

TEST_P(GuardPrograms, ArpOfAnotherProtocolOrLength_Dropped) {
  admit({"10.1.0.200"});
  const Frame good = arp_request("ff:ff:ff:ff:ff:ff", "10.1.0.5", "10.1.0.200");
  for (const size_t at : {14, 15, 16, 17, 18, 19}) {  // hardware type, protocol type, both lengths
    Frame bad = good;
    bad[at] ^= 1;
    expect_dropped(bad);
  }
  expect_passes(good);
}

TEST_P(GuardPrograms, Ipv4ToHostAddress_PassesForTcpUdpAndIcmpOnly) {
  admit({"10.1.0.200"});
  for (unsigned protocol = 0; protocol < 256; ++protocol) {
    const Frame frame = ipv4({.to = "10.1.0.200", .protocol = static_cast<IpProto>(protocol)});
    SCOPED_TRACE(protocol);
    protocol == 1 || protocol == 6 || protocol == 17 ? expect_passes(frame) : expect_dropped(frame);
  }
}

TEST_P(GuardPrograms, Ipv4ToAnotherAddress_Dropped) {
  admit({"10.1.0.200"});
  expect_dropped(ipv4({.to = "10.1.0.201"}));
  expect_dropped(ipv4({.to = "255.255.255.255"}));
}

TEST_P(GuardPrograms, Ipv4ToHostAddressAtAnotherMac_Dropped) {
  admit({"10.1.0.200"});
  expect_dropped(ipv4({.to_mac = "02:00:00:00:00:0b", .to = "10.1.0.200"}));
  expect_dropped(ipv4({.to_mac = "ff:ff:ff:ff:ff:ff", .to = "10.1.0.200"}));
  expect_dropped(ipv4({.to_mac = "01:00:5e:01:00:c8", .to = "10.1.0.200"}));
}

TEST_P(GuardPrograms, Ipv4SourceRouteThroughHostAddress_Dropped) {
  admit({"10.1.0.200"});
  expect_dropped(ipv4({.to = "10.1.0.200", .options = {131, 7, 4, 10, 2, 0, 9, 1}}));
  expect_passes(ipv4({.to = "10.1.0.200"}));
}

TEST_P(GuardPrograms, Ipv4VersionThatIsnt4_Dropped) {
  admit({"10.1.0.200"});
  Frame frame = ipv4({.to = "10.1.0.200"});
  frame[14] = 0x65;
  expect_dropped(frame);
}

TEST_P(GuardPrograms, TaggedFrame_Dropped) {
  admit({"10.1.0.200", "fd00:1::c8"});
  expect_dropped(tagged(ipv4({.to = "10.1.0.200"}), 10));
  expect_dropped(tagged(ipv4({.to = "10.1.0.200"}), 0));
  expect_dropped(tagged(arp_request("ff:ff:ff:ff:ff:ff", "10.1.0.5", "10.1.0.200"), 10));
  expect_dropped(tagged(ipv6({.to = "fd00:1::c8"}), 10));
}

TEST_P(GuardPrograms, Ipv6ToHostAddress_PassesForTcpUdpAndIcmpv6Only) {
  admit({"fd00:1::c8"});
  for (unsigned next = 0; next < 256; ++next) {  // extension headers are among those that don't pass
    const Frame frame =
        ipv6({.to = "fd00:1::c8", .next = static_cast<IpProto>(next), .payload = Frame(24, 0)});
    SCOPED_TRACE(next);
    next == 6 || next == 17 || next == 58 ? expect_passes(frame) : expect_dropped(frame);
  }
}

TEST_P(GuardPrograms, Ipv6ToAnotherAddressOrMac_Dropped) {
  admit({"fd00:1::c8"});
  expect_dropped(ipv6({.to = "fd00:1::c9"}));
  expect_dropped(ipv6({.to_mac = "02:00:00:00:00:0b", .to = "fd00:1::c8"}));
}

TEST_P(GuardPrograms, Ipv6InIpv4MappedForm_IsNotTheIpv4HostAddress) {
  admit({"10.1.0.200"});
  Frame frame = ipv6({.to = "fd00:1::c8"});
  const IpAddress mapped = ip("10.1.0.200");
  std::copy(mapped.bytes.begin(), mapped.bytes.end(), frame.begin() + 14 + 24);
  expect_dropped(frame);
}

TEST_P(GuardPrograms, NeighbourSolicitationForHostAddress_Passes) {
  admit({"fd00:1::c8"});
  expect_passes(
      neighbour_message({.to_mac = "33:33:ff:00:00:c8", .to = "ff02::1:ff00:c8", .target = "fd00:1::c8"}));
  expect_passes(neighbour_message({.to_mac = kGatewayMac, .to = "fd00:1::c8", .target = "fd00:1::c8"}));
}

TEST_P(GuardPrograms, NeighbourSolicitationForAnotherTargetInTheSameGroup_Dropped) {
  admit({"fd00:1::c8"});
  expect_dropped(
      neighbour_message({.to_mac = "33:33:ff:00:00:c8", .to = "ff02::1:ff00:c8", .target = "fd00:2::c8"}));
}

TEST_P(GuardPrograms, NeighbourSolicitationToAGroupThatIsntTheTargets_Dropped) {
  admit({"fd00:1::c8"});
  expect_dropped(
      neighbour_message({.to_mac = "33:33:ff:00:00:c9", .to = "ff02::1:ff00:c9", .target = "fd00:1::c8"}));
  expect_dropped(neighbour_message({.to_mac = "33:33:00:00:00:02", .to = "ff02::2", .target = "fd00:1::c8"}));
}

TEST_P(GuardPrograms, NeighbourSolicitationAtAnotherMac_Dropped) {
  admit({"fd00:1::c8"});
  expect_dropped(
      neighbour_message({.to_mac = "33:33:ff:00:00:c9", .to = "ff02::1:ff00:c8", .target = "fd00:1::c8"}));
  expect_dropped(
      neighbour_message({.to_mac = "ff:ff:ff:ff:ff:ff", .to = "ff02::1:ff00:c8", .target = "fd00:1::c8"}));
}

TEST_P(GuardPrograms, NeighbourAdvertisementOfHostAddressToAllNodes_Passes) {
  admit({"fd00:1::c8"});
  expect_passes(neighbour_message(
      {.type = 136, .to_mac = "33:33:00:00:00:01", .to = "ff02::1", .target = "fd00:1::c8"}));
  expect_dropped(neighbour_message(
      {.type = 136, .to_mac = "33:33:00:00:00:01", .to = "ff02::1", .target = "fd00:1::c9"}));
}

TEST_P(GuardPrograms, RouterMessagesToAllNodes_Dropped) {
  admit({"fd00:1::c8"});
  for (const int type : {133, 134, 137})  // solicitation, advertisement, redirect
    expect_dropped(neighbour_message(
        {.type = type, .to_mac = "33:33:00:00:00:01", .to = "ff02::1", .target = "fd00:1::c8"}));
}

TEST_P(GuardPrograms, FrameCutInItsHeaders_Dropped) {
  admit({"10.1.0.200", "fd00:1::c8"});
  const struct {
    Frame frame;
    size_t ip_end;  ///< of the fixed IP header
    size_t needed;  ///< all that is read
  } whole[] = {
      {arp_request("ff:ff:ff:ff:ff:ff", "10.1.0.5", "10.1.0.200"), 15, 42},
      {ipv4({.to = "10.1.0.200"}), 34, 34},
      {ipv6({.to = "fd00:1::c8"}), 54, 54},
      {neighbour_message({.to_mac = "33:33:ff:00:00:c8", .to = "ff02::1:ff00:c8", .target = "fd00:1::c8"}),
       54, 78},
  };
  for (const auto& [frame, ip_end, needed] : whole) {
    for (size_t length = GetParam().takes_cut_ip ? 15 : ip_end; length < needed; ++length) {
      SCOPED_TRACE(length);
      expect_dropped(Frame(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length)));
    }
    expect_passes(Frame(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(needed)));
  }
}

TEST_P(GuardPrograms, OtherEtherTypes_Dropped) {
  admit({"10.1.0.200"});
  const Frame good = ipv4({.to = "10.1.0.200"});
  for (const int type :
       {0x0000, 0x002e, 0x0801, 0x8035, 0x8847, 0x8863, 0x88a8, 0x88cc, 0x88e5, 0x8909, 0xffff}) {
    Frame frame = good;
    set16(frame, 12, static_cast<uint16_t>(type));
    SCOPED_TRACE(type);
    expect_dropped(frame);
  }
  expect_passes(good);
}

TEST_P(GuardPrograms, WithoutHostAddresses_NothingPasses) {
  expect_dropped(arp_request("ff:ff:ff:ff:ff:ff", "10.1.0.5", "10.1.0.200"));
  expect_dropped(ipv4({.to_mac = "00:00:00:00:00:00", .to = "0.0.0.0"}));
  expect_dropped(ipv6({.to_mac = "00:00:00:00:00:00", .to = "::"}));
}

TEST_P(GuardPrograms, Counts_AreOfFramesDroppedAndPassed) {
  admit({"10.1.0.200"});
  for (int i = 0; i < 3; ++i) verdict_on(ipv4({.to = "10.1.0.200"}));
  for (int i = 0; i < 2; ++i) verdict_on(ipv4({.to = "10.1.0.201"}));
  EXPECT_EQ(maps_.counts().passed, 3u);
  EXPECT_EQ(maps_.counts().dropped, 2u);
}

}  // namespace
}  // namespace bulkhead
