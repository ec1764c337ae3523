// Captures as users may have them: whatever is wrong with one, replay says so or replays it, and each of its
// packets is accounted for.
#include <gtest/gtest.h>

#include <algorithm>

#include "packet_text.h"
#include "tests/unit/cli/capture_bytes.h"
#include "tests/unit/cli/capture_replay.h"

namespace bulkhead::test {
namespace {

std::string frame(std::string_view text) {
  Bytes bytes = build_frame(text).bytes;
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

const std::vector<std::string>& frames() {
  static const std::vector<std::string> all{
      frame("ip 10.1.0.5 > 10.2.0.9 / tcp 40000 > 80 S seq 100 win 1000"),
      frame("ip 10.2.0.9 > 10.1.0.5 / tcp 80 > 40000 SA seq 500 ack 101 win 1000"),
      frame("ip 10.1.0.5 > 10.2.0.9 / udp 40000 > 53 / text \"who\"")};
  return all;
}

struct Damaged : testing::Test {
  CaptureReplay wire{false}, route{true};

  /// Replays it in one mode or the other, by the place of the damage.
  void expect_an_end(const std::string& capture, const std::string& name, size_t at) {
    Replayed end = (at % 2 == 0 ? wire : route).run(capture);
    EXPECT_EQ(end.broken, "") << name << " at byte " << at;
    if (end.unreadable.empty()) {
      EXPECT_EQ(end.verdicts, end.packets) << name << " at byte " << at;
    } else {
      EXPECT_TRUE(end.unreadable.contains("/proc/self/fd/"))
          << name << " at byte " << at << ": " << end.unreadable;
    }
  }
};

TEST_F(Damaged, SamplesThemselves_AreReadWhole) {
  for (const auto& [name, capture] : sample_captures(frames())) {
    Replayed end = wire.run(capture);
    EXPECT_EQ(end.unreadable + end.broken, "") << name;
    EXPECT_EQ(end.packets, name.starts_with("classic") || name.starts_with("next") ? 4u : 1u) << name;
    EXPECT_EQ(end.verdicts, end.packets) << name;
    EXPECT_FALSE(std::ranges::any_of(end.warnings, [](auto& w) { return w.contains("ends inside"); }))
        << name;
  }
}

TEST_F(Damaged, CutAtAnyByte) {
  for (const auto& [name, capture] : sample_captures(frames()))
    for (size_t bytes = 0; bytes < capture.size(); ++bytes)
      expect_an_end(capture.substr(0, bytes), name, bytes);
}

TEST_F(Damaged, AnyByteChanged) {
  for (const auto& [name, capture] : sample_captures(frames()))
    for (size_t at = 0; at < capture.size(); ++at)
      for (int change : {0x01, 0x80}) {
        std::string changed = capture;
        changed[at] = static_cast<char>(changed[at] ^ change);
        expect_an_end(changed, name, at);
      }
}

TEST_F(Damaged, AnyFourBytesAtTheirMost) {
  for (const auto& [name, capture] : sample_captures(frames()))
    for (size_t at = 0; at + 4 <= capture.size(); at += 3)
      for (const char* most : {"\xff\xff\xff\xff", "\x7f\xff\xff\xff", "\xff\xff\xff\x7f"}) {
        std::string changed = capture;
        changed.replace(at, 4, most);
        expect_an_end(changed, name, at);
      }
}

TEST_F(Damaged, EndInsideAPacket_IsAWarningThatNamesItAndTheRestIsReplayed) {
  std::string capture = classic_capture({}, {{1, 0, frames()[0]}, {2, 0, frames()[1]}, {3, 0, frames()[2]}});
  Replayed end = wire.run(std::string_view(capture).substr(0, capture.size() - 1));
  EXPECT_EQ(end.unreadable, "");
  EXPECT_EQ(end.verdicts, 2u);
  ASSERT_EQ(end.warnings.size(), 1u);
  EXPECT_TRUE(end.warnings[0].contains("ends inside packet 3")) << end.warnings[0];
}

TEST_F(Damaged, TimesThatTheClockDoesNotHave_AreRefusedByPacket) {
  constexpr uint64_t kBeyond = uint64_t{1} << 32;
  for (uint64_t seconds : {kBeyond, UINT64_MAX / 1'000'000'000}) {
    NextGenerationCapture capture(false);
    capture.interface(1, 9).packet(0, 0, frames()[0]);
    capture.interface(1, 9, static_cast<int64_t>(seconds)).packet(1, 0, frames()[0]);
    Replayed end = wire.run(capture.bytes());
    EXPECT_TRUE(end.unreadable.contains("packet 2: its time is before 1970 or after 2106")) << end.unreadable;
  }
  NextGenerationCapture negative(false);
  negative.interface(1, 9, -1).packet(0, 0, frames()[0]);
  EXPECT_TRUE(wire.run(negative.bytes()).unreadable.contains("packet 1: its time")) << "a second before 1970";
}

TEST_F(Damaged, InterfacesOfAnotherLinkType_AreRefused) {
  constexpr uint16_t kIeee80211 = 105;
  NextGenerationCapture capture(false);
  capture.interface(1).packet(0, 1, frames()[0]).interface(kIeee80211).packet(1, 2, frames()[0]);
  EXPECT_TRUE(wire.run(capture.bytes()).unreadable.contains("packet 2"))
      << wire.run(capture.bytes()).unreadable;
}

TEST_F(Damaged, LinkTypesWithoutEthernet_AreRefusedByNameOrNumber) {
  for (uint32_t link_type : {8u, 50u, 105u, 127u, 192u, 195u, 220u, 249u, 9999u}) {
    std::string why = wire.run(classic_capture({.link_type = link_type}, {{1, 0, frames()[0]}})).unreadable;
    EXPECT_TRUE(why.contains("link type") && why.contains("capture on an Ethernet interface"))
        << link_type << why;
  }
}

TEST_F(Damaged, FrameThatIsTooLong_IsRefusedByPacket) {
  ClassicFormat format{.snap_length = 262'144};
  std::string most(kLongestFrame, 'x'), over(kLongestFrame + 1, 'x');
  EXPECT_EQ(wire.run(classic_capture(format, {{1, 0, most}})).verdicts, 1u);
  std::string why = wire.run(classic_capture(format, {{1, 0, most}, {2, 0, over}})).unreadable;
  EXPECT_TRUE(why.contains("packet 2 has 65001 bytes")) << why;
}

}  // namespace
}  // namespace bulkhead::test
