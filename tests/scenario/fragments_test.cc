// Fragments in numbers and orders that no scenario writes down: whatever order they come in, a datagram
// leaves whole, byte for byte and in order of offset, or not at all.
#include <algorithm>
#include <cstdio>
#include <random>

#include <gtest/gtest.h>

#include "config/gateway.h"
#include "config/policy.h"
#include "dataplane/fastpath/replay.h"
#include "rig.h"

namespace bulkhead::test {
namespace {

constexpr const char* kGateway = R"(gateway: {name: gw}
dataplane:
  mode: %s
  fragments: {datagrams: 128, per_source: 64, timeout: 10s}
  %s
)";
constexpr const char* kWire = "ports: [{name: left}, {name: right}]\n  wires: [[left, right]]";
constexpr const char* kRoute =
    R"(ports: [{name: left, addresses: [10.1.0.254/24, "fd00:1::fe/64"]},
          {name: right, addresses: [10.2.0.254/24, "fd00:2::fe/64"],
           neighbours: [{address: 10.2.0.9, mac: "02:00:0a:02:00:09"}, {address: "fd00:2::9", mac: "02:06:00:00:00:09"}]}])";
constexpr const char* kPolicy = R"(segments:
  web: {tag: 100, members: [10.1.0.0/24, "fd00:1::/48"]}
  evil: {tag: 150, members: [10.66.0.0/16, "fd00:66::/32"]}
  db: {tag: 200, members: [10.2.0.0/24, "fd00:2::/64"]}
policies: [{name: open, from: [web, evil], to: db, allow: [udp/53]}]
)";
constexpr PortId kLeft{0}, kRight{1};

struct Fragments : testing::TestWithParam<std::tuple<const char*, unsigned>> {
  bool routes = std::string(std::get<0>(GetParam())) == "route";
  std::unique_ptr<Rig> rig;
  std::mt19937 random{20};

  Fragments() {
    char text[1024];
    std::snprintf(text, sizeof text, kGateway, std::get<0>(GetParam()), routes ? kRoute : kWire);
    auto loaded = load_gateway_text("test", text, true);
    auto policy = load_policy_text({{"test", kPolicy}}, WallTime{0});
    auto compiled = compile(*policy.policy, target_of(loaded.config->dataplane), wall_as_boot);
    rig = std::make_unique<Rig>(loaded.config->dataplane, std::get<1>(GetParam()),
                                BootTime{1'000'000'000'000}, std::chrono::hours(1));
    rig->publish(*compiled);
  }
  ~Fragments() override {
    EXPECT_EQ(rig->broken_conservation(), "");
    EXPECT_EQ(rig->close(), 0u) << "packets leak";
  }

  std::string header(bool v6, unsigned id, const std::string& source = "") {
    std::string from = !source.empty() ? source : v6 ? "fd00:1::5" : "10.1.0.5";
    return "ip " + from + (v6 ? " > fd00:2::9" : " > 10.2.0.9 id " + std::to_string(id));
  }
  /// The fragments of a datagram with `payload` bytes of UDP's own, in pieces of `bytes`.
  std::vector<Bytes> fragments(bool v6, unsigned id, size_t payload, size_t bytes,
                               const std::string& source = "") {
    std::string hex;
    for (size_t i = 0; i < payload; ++i) {
      char digits[3];
      std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(random() & 0xff));
      hex += digits;
    }
    LinkDefaults link;
    if (routes) link.destination = rig->port(kLeft).mac;
    Bytes whole = build_frame(header(v6, id, source) + " / udp 1000 > 53 / hex " + hex, link).bytes;
    std::vector<Bytes> all;
    for (size_t at = 0; at < payload + 8; at += bytes)
      all.push_back(fragment_of(whole, at, std::min(bytes, payload + 8 - at), at + bytes < payload + 8, id));
    return all;
  }
  /// What a router makes of it.
  Bytes forwarded(Bytes frame, bool v6) const {
    if (!routes) return frame;
    auto to = v6 ? MacAddress{{2, 6, 0, 0, 0, 9}} : MacAddress{{2, 0, 10, 2, 0, 9}};
    std::ranges::copy(to.bytes, frame.begin());
    std::ranges::copy(rig->port(kRight).mac.bytes, frame.begin() + 6);
    frame[14 + (v6 ? 7 : 8)]--;
    if (v6) return frame;
    set16(frame, 24, 0);
    set16(frame, 24, internet_checksum(std::span(frame).subspan(14, 20)));
    return frame;
  }
  void expect_whole(const std::vector<Bytes>& all, bool v6) {
    rig->maintain();  // where it had to wait for room
    ASSERT_EQ(rig->transmitted().size(), all.size());
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(rig->transmitted()[i].port, kRight);
      ASSERT_EQ(rig->transmitted()[i].frame, forwarded(all[i], v6)) << "fragment " << i;
    }
    rig->transmitted().clear();
    rig->released().clear();
  }
  void inject_shuffled(const std::vector<Bytes>& all) {
    std::vector<size_t> order(all.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::ranges::shuffle(order, random);
    for (size_t i : order) {
      ASSERT_TRUE(rig->transmitted().empty());
      rig->inject(kLeft, all[i]);
    }
  }
};

TEST_P(Fragments, TwoToAHundredAndTwentyEight_InAnyOrder_LeaveWholeAndInOrder) {
  for (bool v6 : {false, true}) {
    for (unsigned count = 2; count <= 128; count += count < 50 ? 1 : 13) {
      auto all = fragments(v6, count, 512 * count - 8 - (count == 128 ? 29 : 0), 512);
      ASSERT_EQ(all.size(), count);
      inject_shuffled(all);
      expect_whole(all, v6);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Fragments, LongestDatagrams_AtMtu1500And576_LeaveWhole) {
  for (bool v6 : {false, true}) {
    size_t longest = v6 ? 65'527 : 65'507;
    for (size_t mtu : {1500u, 576u}) {
      auto all = fragments(v6, static_cast<unsigned>(mtu), longest, (mtu - (v6 ? 48 : 20)) / 8 * 8);
      inject_shuffled(all);
      expect_whole(all, v6);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Fragments, InterleavedDatagrams_LeaveEachWhole) {
  std::vector<std::vector<Bytes>> datagrams;
  std::vector<Bytes> mixed;
  for (unsigned id = 1; id <= 6; ++id) {
    datagrams.push_back(fragments(id % 2 == 0, id, 20'000, 1448));
    mixed.insert(mixed.end(), datagrams.back().begin(), datagrams.back().end());
  }
  std::ranges::shuffle(mixed, random);
  for (const Bytes& frame : mixed) rig->inject(kLeft, frame);
  for (int i = 0; i < 8; ++i) rig->maintain();
  std::vector<Bytes> sent;
  for (const Sent& frame : rig->transmitted()) sent.push_back(frame.frame);
  ASSERT_EQ(sent.size(), mixed.size());
  for (size_t d = 0; d < datagrams.size(); ++d) {
    // One after another, with nothing in between.
    auto first = std::ranges::find(sent, forwarded(datagrams[d][0], d % 2 == 1));
    ASSERT_LE(static_cast<size_t>(sent.end() - first), sent.size());
    for (size_t i = 0; i < datagrams[d].size(); ++i, ++first)
      ASSERT_EQ(*first, forwarded(datagrams[d][i], d % 2 == 1)) << "datagram " << d << ", fragment " << i;
  }
}

TEST_P(Fragments, FloodOfAnotherSegment_StarvesNobody_AndTakesNoMoreThanItsBound) {
  for (unsigned round = 0; round < 50; ++round) {
    auto all = fragments(false, round, 4000, 1448);
    for (size_t i = 0; i < all.size(); ++i) {
      for (unsigned n = 0; n < 20; ++n) {
        unsigned id = round * 100 + static_cast<unsigned>(i) * 20 + n;
        std::string source = "10.66." + std::to_string(id / 250 % 250) + "." + std::to_string(1 + id % 250);
        rig->inject(kLeft, fragments(false, id & 0xffff, 100, 16, source)[1]);
        ASSERT_LE(rig->total([](const WorkerCounters& c) -> const Counter& { return c.datagrams_held; }),
                  128u);
      }
      ASSERT_TRUE(rig->transmitted().empty());
      rig->inject(kLeft, all[i]);
    }
    expect_whole(all, false);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(rig->drops(DropReason::k_fragment_limit), 2'000u);
  rig->set_now(BootTime{rig->now().ns + 11'000'000'000});
  rig->maintain();
  EXPECT_EQ(rig->held(), 0u);
}

TEST_P(Fragments, LongerThanAnyPacketWithTheFirstOnesExtensionHeader_AreDropped) {
  auto all = fragments(true, 1, 65'527, 1448);
  Bytes& first = all[0];
  const Bytes options{first[20], 0, 1, 4, 0, 0, 0, 0};
  first[20] = 60;
  set16(first, 18, static_cast<uint16_t>(8 + 8 + 1448));
  first.insert(first.begin() + 54, options.begin(), options.end());
  inject_shuffled(all);
  EXPECT_EQ(rig->drops(DropReason::k_fragment_invalid), all.size());
}

TEST_P(Fragments, DatagramForAWorkerThatHasNoPolicyYet_IsDroppedAndCounted) {
  rig->blind(rig->workers() - 1);
  unsigned passed = 0;
  for (unsigned host = 1; host <= 60; ++host) {
    for (const Bytes& frame : fragments(false, host, 3000, 1448, "10.1.0." + std::to_string(host)))
      rig->inject(kLeft, frame);
    passed += !rig->transmitted().empty();
    rig->transmitted().clear();
  }
  EXPECT_EQ(passed != 0, rig->workers() > 1);
  EXPECT_GT(rig->drops(DropReason::k_no_policy), 0u);
  EXPECT_EQ(rig->broken_conservation(), "");
  EXPECT_EQ(rig->datagrams_in_rings(), 0u);
  rig->blind({});
}

TEST_P(Fragments, RandomPiecesOfOneDatagram_NeverLeaveButAsATiling) {
  // Pieces of two versions of one datagram, at random places: what leaves is one version's, whole.
  unsigned deliveries = 0;
  for (unsigned round = 0; round < 1000; ++round) {
    size_t bytes = 8 * (1 + random() % 4);
    auto one = fragments(false, round, 56, bytes),
         other = fragments(false, round, 56, 8 * (1 + random() % 4));
    for (unsigned n = 0; n < 12; ++n) {
      const auto& version = random() % 4 != 0 ? one : other;
      rig->inject(kLeft, version[random() % version.size()]);
    }
    if (rig->transmitted().empty()) continue;
    ++deliveries;
    auto& sent = rig->transmitted();
    while (!sent.empty()) {
      const auto& version = sent[0].frame == forwarded(one[0], false) ? one : other;
      ASSERT_GE(sent.size(), version.size());
      for (size_t i = 0; i < version.size(); ++i, sent.pop_front())
        ASSERT_EQ(sent.front().frame, forwarded(version[i], false));
    }
    rig->released().clear();
    rig->set_now(BootTime{rig->now().ns + 11'000'000'000});
    rig->maintain();
  }
  EXPECT_GT(deliveries, 30u);
  EXPECT_GT(rig->drops(DropReason::k_fragment_overlap), 100u);
  rig->set_now(BootTime{rig->now().ns + 11'000'000'000});
  rig->maintain();
}

INSTANTIATE_TEST_SUITE_P(Modes, Fragments,
                         testing::Combine(testing::Values("wire", "route"), testing::Values(1u, 2u, 4u)),
                         [](const auto& param) {
                           return std::string(std::get<0>(param.param)) +
                                  std::to_string(std::get<1>(param.param));
                         });

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
