// Floods in numbers that no scenario writes down.
#include <cstdio>
#include <string>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "config/gateway.h"
#include "config/policy.h"
#include "dataplane/fastpath/replay.h"
#include "rig.h"
#include "wire/checksum.h"

namespace bulkhead::test {
namespace {

constexpr const char* kGateway = R"(gateway: {name: gw}
dataplane:
  mode: wire
  ports: [{name: left}, {name: right}]
  wires: [[left, right]]
  half_open: {per_identity: 256, total: 1024}
)";
constexpr const char* kPolicy = R"(segments:
  web: {tag: 100, members: [10.1.0.0/24]}
  evil: {tag: 150, members: [10.64.0.0/12]}
  db: {tag: 200, members: [10.2.0.0/24]}
policies: [{name: open, from: [web, evil], to: db, allow: [tcp/80]}]
)";
constexpr PortId kLeft{0}, kRight{1};
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint32_t kSources = 50'000;
#else
constexpr uint32_t kSources = 1'000'000;
#endif

struct Flood : testing::TestWithParam<unsigned> {
  std::unique_ptr<Rig> rig;

  Flood() {
    auto loaded = load_gateway_text("test", kGateway, true);
    auto policy = load_policy_text({{"test", kPolicy}}, WallTime{0});
    auto compiled = compile(*policy.policy, target_of(loaded.config->dataplane), wall_as_boot);
    rig = std::make_unique<Rig>(loaded.config->dataplane, GetParam(), BootTime{1'000'000'000'000},
                                std::chrono::hours(1));
    rig->publish(*compiled);
  }
  ~Flood() override {
    EXPECT_EQ(rig->broken_conservation(), "");
    EXPECT_EQ(rig->close(), 0u) << "packets leak";
  }

  DropReason arrive(PortId port, const Bytes& frame) {
    DropReason reason = rig->inject(port, frame).verdict.reason;
    rig->transmitted().clear();
    rig->own_frames().clear();
    return reason;
  }
  DropReason arrive(PortId port, const std::string& text) { return arrive(port, build_frame(text).bytes); }
  void handshake(const std::string& ports, const std::string& back) {
    EXPECT_EQ(arrive(kLeft, "ip 10.1.0.5 > 10.2.0.9 / tcp " + ports + " S seq 100"), DropReason::kNone);
    EXPECT_EQ(arrive(kRight, "ip 10.2.0.9 > 10.1.0.5 / tcp " + back + " SA seq 500 ack 101"),
              DropReason::kNone);
    EXPECT_EQ(arrive(kLeft, "ip 10.1.0.5 > 10.2.0.9 / tcp " + ports + " A seq 101 ack 501"),
              DropReason::kNone);
  }
  uint64_t sum(Counter WorkerCounters::* member) const {
    return rig->total([member](const WorkerCounters& c) -> const Counter& { return c.*member; });
  }
};

/// The same SYN from another source; checksums by difference.
void come_from(Bytes& syn, uint32_t source) {
  constexpr size_t kSource = 26, kIpChecksum = 24, kTcpChecksum = 50;
  for (size_t half : {size_t{0}, size_t{2}}) {
    uint8_t* at = syn.data() + kSource + half;
    auto before = load<uint16_t>(at);
    uint16_t after = __builtin_bswap16(static_cast<uint16_t>(source >> (half == 0 ? 16 : 0)));
    store(at, after);
    for (size_t checksum : {kIpChecksum, kTcpChecksum})
      store(syn.data() + checksum, checksum_update(load<uint16_t>(syn.data() + checksum), before, after));
  }
}

TEST_P(Flood, MillionSources_LeaveOthersTheirConnections) {
  handshake("1000 > 80", "80 > 1000");
  Bytes syn = build_frame("ip 10.64.0.0 > 10.2.0.9 / tcp 1000 > 80 S seq 1").bytes;
  Bytes denied = build_frame("ip 10.64.0.0 > 10.2.0.9 / tcp 1000 > 81 S seq 1").bytes;
  uint32_t opened = 0;
  for (uint32_t i = 0; i < kSources; ++i) {
    come_from(syn, 0x0a400000 + i);
    ASSERT_EQ(arrive(kLeft, syn), DropReason::kNone);
    if (i % 10'000 != 0) continue;
    come_from(denied, 0x0a400000 + i);
    ASSERT_EQ(arrive(kLeft, denied), DropReason::k_policy_denied) << "never open, however full";
    std::string port = std::to_string(2000 + i / 10'000);
    handshake(port + " > 80", "80 > " + port);
    ++opened;
    ASSERT_EQ(arrive(kLeft, "ip 10.1.0.5 > 10.2.0.9 / tcp 1000 > 80 A seq 101 ack 501"), DropReason::kNone);
    ASSERT_LE(sum(&WorkerCounters::flows_tcp_opening), 256u);
  }
  EXPECT_EQ(sum(&WorkerCounters::flows_tcp_established), opened + 1);
  EXPECT_EQ(sum(&WorkerCounters::flows_tcp_opening) + sum(&WorkerCounters::half_open_evicted), kSources);
  // The oldest are gone, the last one isn't.
  EXPECT_EQ(arrive(kRight, "ip 10.2.0.9 > 10.64.0.0 / tcp 80 > 1000 SA seq 500 ack 2"),
            DropReason::k_tcp_no_state);
  Bytes last = build_frame("ip 10.2.0.9 > " + to_string(IpAddress::v4(0x0a400000 + kSources - 1)) +
                           " / tcp 80 > 1000 SA seq 500 ack 2")
                   .bytes;
  EXPECT_EQ(arrive(kRight, last), DropReason::kNone);
}

INSTANTIATE_TEST_SUITE_P(Workers, Flood, testing::Values(1u, 4u));

}  // namespace
}  // namespace bulkhead::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (auto started = bulkhead::start_replay_memory(256); !started) {
    std::fprintf(stderr, "%s\n", started.error().message.c_str());
    return 1;
  }
  return RUN_ALL_TESTS();
}
