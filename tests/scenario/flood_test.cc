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
policies:
  - {name: open, from: [web, evil], to: db, allow: [tcp/80]}
  - {name: encrypted, from: [web, evil], to: db, allow: [tcp/443], mtls: end_to_end}
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

/// The same packet with another address at `where`; checksums by difference.
void readdress(Bytes& packet, size_t where, uint32_t address) {
  constexpr size_t kIpChecksum = 24, kTcpChecksum = 50;
  for (size_t half : {size_t{0}, size_t{2}}) {
    uint8_t* at = packet.data() + where + half;
    auto before = load<uint16_t>(at);
    uint16_t after = __builtin_bswap16(static_cast<uint16_t>(address >> (half == 0 ? 16 : 0)));
    store(at, after);
    for (size_t checksum : {kIpChecksum, kTcpChecksum})
      store(packet.data() + checksum,
            checksum_update(load<uint16_t>(packet.data() + checksum), before, after));
  }
}

void come_from(Bytes& packet, uint32_t source) {
  readdress(packet, 26, source);
}
void go_to(Bytes& packet, uint32_t destination) {
  readdress(packet, 30, destination);
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

/// A connection of web's to port 443 from its first packet to its proof, and one more packet of it.
void speak_tls(Flood& flood, const std::string& port) {
  flood.handshake(port + " > 443", "443 > " + port);
  auto client = [&](const std::string& rest) {
    return flood.arrive(kLeft, "ip 10.1.0.5 > 10.2.0.9 / tcp " + port + " > 443 " + rest);
  };
  EXPECT_EQ(client("PA seq 101 ack 501 / tls client-hello sni db.corp.example"), DropReason::kNone);
  EXPECT_EQ(flood.arrive(kRight, "ip 10.2.0.9 > 10.1.0.5 / tcp 443 > " + port +
                                     " PA seq 501 ack 234 / tls server-hello"),
            DropReason::kNone);
  EXPECT_EQ(client("A seq 234 ack 598"), DropReason::kNone);
}

TEST_P(Flood, MillionSyns_ThatAreToBeTls_LeaveOthersTheirs) {
  speak_tls(*this, "1000");
  Bytes syn = build_frame("ip 10.64.0.0 > 10.2.0.9 / tcp 1000 > 443 S seq 1").bytes;
  uint32_t verified = 1;
  for (uint32_t i = 0; i < kSources; ++i) {
    come_from(syn, 0x0a400000 + i);
    ASSERT_EQ(arrive(kLeft, syn), DropReason::kNone);
    if (i % 50'000 != 0) continue;
    speak_tls(*this, std::to_string(2000 + i / 50'000));
    ++verified;
    ASSERT_EQ(arrive(kLeft, "ip 10.1.0.5 > 10.2.0.9 / tcp 1000 > 443 PA seq 234 ack 598 / text \"x\""),
              DropReason::kNone);
    ASSERT_LE(sum(&WorkerCounters::flows_tcp_opening), 256u);
  }
  EXPECT_EQ(sum(&WorkerCounters::flows_tcp_established), verified);
}

/// Connections that begin a hello and never end it: the oldest gives way, nobody else.
TEST_P(Flood, HellosThatNeverEnd_LeaveOthersTheirs) {
  speak_tls(*this, "1000");
  Bytes syn = build_frame("ip 10.64.0.0 > 10.2.0.9 / tcp 1000 > 443 S seq 100").bytes;
  Bytes answer = build_frame("ip 10.2.0.9 > 10.64.0.0 / tcp 443 > 1000 SA seq 500 ack 101").bytes;
  Bytes hello =
      build_frame(
          "ip 10.64.0.0 > 10.2.0.9 / tcp 1000 > 443 PA seq 101 ack 501 / take 1400 / tls client-hello "
          "padding 15000")
          .bytes;
  constexpr uint32_t kHellos = kSources / 20;
  for (uint32_t i = 0; i < kHellos; ++i) {
    uint32_t source = 0x0a400000 + i;
    come_from(syn, source), come_from(hello, source), go_to(answer, source);
    ASSERT_EQ(arrive(kLeft, syn), DropReason::kNone);
    ASSERT_EQ(arrive(kRight, answer), DropReason::kNone);
    ASSERT_EQ(arrive(kLeft, hello), DropReason::kNone);
    if (i % 1000 == 0) speak_tls(*this, std::to_string(2000 + i / 1000));
    ASSERT_LE(sum(&WorkerCounters::flows_tcp_opening), 256u);
  }
  EXPECT_EQ(sum(&WorkerCounters::flows_tcp_established), 1 + (kHellos + 999) / 1000);
  EXPECT_EQ(arrive(kLeft, "ip 10.1.0.5 > 10.2.0.9 / tcp 1000 > 443 PA seq 234 ack 598 / text \"x\""),
            DropReason::kNone);
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
