// The edges of windows, to the byte. Whole connections: the scenarios.
#include "dataplane/fastpath/tcp_track.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "base/bytes.h"
#include "dataplane/fastpath/tcp_window.h"
#include "wire/transport.h"

namespace bulkhead {
namespace {

struct Segment {
  uint8_t flags = kTcpAck;
  uint32_t seq = 0, ack = 0;
  uint16_t window = 1000;
  uint32_t payload = 0;
  int scale = -1;  ///< offered where not negative
};

std::vector<uint8_t> header_of(const Segment& s) {
  TcpHeader tcp{};
  tcp.sequence.set(s.seq);
  tcp.acknowledgement.set(s.ack);
  tcp.flags = s.flags;
  tcp.window.set(s.window);
  std::vector<uint8_t> bytes(sizeof tcp + (s.scale >= 0 ? 4 : 0));
  tcp.data_offset = static_cast<uint8_t>(bytes.size() / 4 << 4);
  std::memcpy(bytes.data(), &tcp, sizeof tcp);
  if (s.scale >= 0) {
    const uint8_t option[4] = {kTcpOptionNop, kTcpOptionWindowScale, 3, static_cast<uint8_t>(s.scale)};
    std::memcpy(bytes.data() + sizeof tcp, option, sizeof option);
  }
  return bytes;
}

/// A connection whose initial sequence numbers are `client` and `server`.
struct Connection {
  FlowHot flow{};
  uint32_t client, server;

  explicit Connection(uint32_t client_isn = 100, uint32_t server_isn = 500, int scale = -1)
      : client(client_isn + 1), server(server_isn + 1) {
    Segment syn{kTcpSyn, client_isn, 0, 1000, 0, scale};
    begin_tcp(flow, header_of(syn), 0);
    EXPECT_EQ(step(1, {kTcpSyn | kTcpAck, server_isn, client, 1000, 0, scale}), DropReason::kNone);
    EXPECT_EQ(step(0, {kTcpAck, client, server}), DropReason::kNone);
    EXPECT_EQ(flow.state, FlowState::kEstablished);
  }
  TcpResult result(unsigned direction, const Segment& s, TcpMode mode = TcpMode::kStrict) {
    return track_tcp(flow, direction, header_of(s), s.payload, mode);
  }
  DropReason step(unsigned direction, const Segment& s) { return result(direction, s).reason; }
};

constexpr auto kOut = DropReason::k_tcp_out_of_window;
constexpr auto kFine = DropReason::kNone;

TEST(TcpTrack, SequenceWindow_EdgesToTheByte) {
  for (uint32_t isn : {100u, 0xfffffe00u, 0x7fffff00u}) {
    EXPECT_EQ(Connection(isn).step(0, {kTcpAck, isn + 1 + 1000, 501, 1000, 1}), kFine)
        << "the last that the receiver allowed";
    EXPECT_EQ(Connection(isn).step(0, {kTcpAck, isn + 1 + 1001, 501, 1000, 1}), kOut);
    EXPECT_EQ(Connection(isn).step(0, {kTcpAck, isn + 1 - 1000, 501, 1000, 0}), kFine)
        << "a keep-alive or late retransmission";
    EXPECT_EQ(Connection(isn).step(0, {kTcpAck, isn + 1 - 1001, 501, 1000, 0}), kOut);
  }
}
TEST(TcpTrack, AcknowledgementWindow_EdgesToTheByte) {
  EXPECT_EQ(Connection().step(0, {kTcpAck, 101, 501}), kFine);
  EXPECT_EQ(Connection().step(0, {kTcpAck, 101, 502}), kOut) << "of what was never sent";
  EXPECT_EQ(Connection().step(0, {kTcpAck, 101, 501u - 66000}), kFine);
  EXPECT_EQ(Connection().step(0, {kTcpAck, 101, 501u - 66001}), kOut);
}
TEST(TcpTrack, DroppedSegment_ChangesNothing) {
  Connection c;
  FlowHot before = c.flow;
  EXPECT_EQ(c.step(0, {kTcpAck, 5000, 501, 9999, 10}), kOut);
  EXPECT_EQ(c.step(0, {kTcpRst, 102, 0}), kOut);
  EXPECT_EQ(c.step(1, {kTcpAck | kTcpFin, 9000, 101}), kOut);
  EXPECT_EQ(std::memcmp(&before, &c.flow, sizeof before), 0);
}
TEST(TcpTrack, Reset_AtTheExactNumberOnly) {
  for (uint32_t off : {0u, 1u, 999u}) {
    Connection c;
    EXPECT_EQ(c.step(0, {kTcpAck, 101, 501, 1000, 50}), kFine);
    auto step = c.result(0, {kTcpRst, 151 + off, 0}).step;
    EXPECT_EQ(step, off == 0 ? TcpStep::kReset : TcpStep::kDrop) << off;
  }
  EXPECT_EQ(Connection().result(1, {kTcpRst | kTcpAck, 501, 101}).step, TcpStep::kReset);
  EXPECT_EQ(Connection().result(0, {kTcpRst, 12345, 0}, TcpMode::kLiberal).step, TcpStep::kReset);
}
TEST(TcpTrack, SynOnALiveConnection_IsAChallengeAndChangesNothing) {
  Connection c;
  FlowHot before = c.flow;
  EXPECT_EQ(c.result(0, {kTcpSyn, 7777, 0}).step, TcpStep::kChallenge);
  EXPECT_EQ(c.result(1, {kTcpSyn | kTcpAck, 7777, 101}).step, TcpStep::kChallenge);
  EXPECT_EQ(std::memcmp(&before, &c.flow, sizeof before), 0);
}
TEST(TcpTrack, WindowScale_CountsWhereBothOffered) {
  Connection scaled(100, 500, 14);
  EXPECT_EQ(scaled.step(1, {kTcpAck, 501, 101, 1000}), kFine);
  EXPECT_EQ(scaled.step(0, {kTcpAck, 101 + (1000u << 14) + 1, 501, 1000, 1}), kOut);
  EXPECT_EQ(scaled.step(0, {kTcpAck, 101 + (1000u << 14), 501, 1000, 1}), kFine);
}
TEST(TcpTrack, ScaleOverFourteen_CountsAsFourteen) {
  Connection scaled(100, 500, 200);
  EXPECT_EQ(scaled.step(1, {kTcpAck, 501, 101, 1}), kFine);
  EXPECT_EQ(scaled.step(0, {kTcpAck, 101 + (1u << 14) + 1, 501, 1000, 1}), kOut);
}
TEST(TcpTrack, ZeroWindow_AllowsAProbe) {
  Connection c;
  EXPECT_EQ(c.step(0, {kTcpAck, 101, 501, 1000, 1000}), kFine);
  EXPECT_EQ(c.step(1, {kTcpAck, 501, 1101, 0}), kFine);
  EXPECT_EQ(c.step(0, {kTcpAck, 1101, 501, 1000, 1}), kFine);
}
TEST(TcpTrack, FinEachWay_IsClosing) {
  Connection c;
  EXPECT_EQ(c.step(0, {kTcpFin | kTcpAck, 101, 501}), kFine);
  EXPECT_EQ(c.flow.state, FlowState::kEstablished) << "half closed";
  EXPECT_EQ(c.step(1, {kTcpFin | kTcpAck, 501, 102}), kFine);
  EXPECT_EQ(c.flow.state, FlowState::kClosing);
  EXPECT_EQ(c.result(0, {kTcpSyn, 9000, 0}).step, TcpStep::kReopen);
}
TEST(TcpTrack, TheShortWay_TakesNothingElseAndComesToTheSame) {
  std::mt19937 random(1);
  // Around what is next, what is far in flight, and anything.
  auto around = [&](uint32_t value) {
    const uint32_t away[] = {0, static_cast<uint32_t>(random() % 5 - 2),
                             static_cast<uint32_t>(random() % 200'000 - 100'000),
                             static_cast<uint32_t>(random())};
    return value + away[random() % 4];
  };
  size_t taken = 0, left = 0;
  for (uint32_t isn : {100u, 0xffffff00u}) {
    Connection c(isn, isn + 70'000, 2);
    for (int i = 0; i < 200'000; ++i) {
      unsigned direction = random() % 2, other = direction ^ 1;
      Segment s{.seq = around(c.flow.tcp.end[direction]),
                .ack = around(c.flow.tcp.end[other]),
                .window = static_cast<uint16_t>(random() % 3 == 0 ? random() % 3 : random()),
                .payload = static_cast<uint32_t>(random() % 3 == 0 ? 0 : random() % 1460)};
      if (random() % 16 == 0) s.flags = static_cast<uint8_t>(random());
      auto header = header_of(s);
      FlowHot shortly = c.flow, before = c.flow;
      bool took = track_plain_segment(shortly, direction, header.data(),
                                      static_cast<uint32_t>(header.size()) + s.payload);
      TcpResult result = c.result(direction, s);
      if (took) {
        ++taken;
        ASSERT_EQ(result.step, TcpStep::kPass);
        ASSERT_EQ(std::memcmp(&shortly, &c.flow, sizeof shortly), 0);
      } else {
        ASSERT_EQ(std::memcmp(&shortly, &before, sizeof shortly), 0);
      }
      left += !took && result.step == TcpStep::kPass;
      // What resets, closes or runs far off would leave nothing to compare.
      if (c.flow.state != FlowState::kEstablished || random() % 64 == 0)
        c = Connection(isn, static_cast<uint32_t>(random()), 2);
    }
  }
  EXPECT_GT(taken, 20'000u);
  EXPECT_GT(left, 1'000u);
}
/// A connection's phases, each before it has gone on: in the table's order.
FlowHot at_phase(int phase) {
  if (phase >= 3) {
    Connection c;
    if (phase == 4) {
      EXPECT_EQ(c.step(0, {kTcpFin | kTcpAck, 101, 501}), DropReason::kNone);
      EXPECT_EQ(c.step(1, {kTcpFin | kTcpAck, 501, 102}), DropReason::kNone);
    }
    return c.flow;
  }
  FlowHot flow{};
  begin_tcp(flow, header_of({kTcpSyn, 100, 0}), 0);
  if (phase == 1) cross_tcp(flow, header_of({kTcpSyn, 500, 0}), 0);
  if (phase == 2) {
    auto answer = header_of({kTcpSyn | kTcpAck, 500, 101});
    EXPECT_EQ(track_tcp(flow, 1, answer, 0, TcpMode::kStrict).step, TcpStep::kPass);
  }
  return flow;
}
/// p: passes; x: crosses; c: challenge; r: reopens; e: ends; n, w: dropped as tcp_no_state,
/// tcp_out_of_window.
char letter_of(const TcpResult& result) {
  if (result.step == TcpStep::kDrop) return result.reason == DropReason::k_tcp_no_state ? 'n' : 'w';
  return result.step == TcpStep::kPass        ? 'p'
         : result.step == TcpStep::kCross     ? 'x'
         : result.step == TcpStep::kChallenge ? 'c'
         : result.step == TcpStep::kReopen    ? 'r'
                                              : 'e';
}
TEST(TcpTrack, EachPhaseDirectionAndKind_DoesWhatItShould) {
  // SYN, SYN-ACK, ACK, neither, RST; each under its exact numbers.
  const char* expected[5][2] = {{"pnnne", "xpnne"},   // a SYN was sent
                                {"pppne", "pppne"},   // one from each end
                                {"pnpne", "nppne"},   // it was answered
                                {"cwpwe", "wcpwe"},   // established
                                {"rwpwe", "wcpwe"}};  // both have ended
  for (int phase = 0; phase < 5; ++phase) {
    for (unsigned direction : {0u, 1u}) {
      std::string got;
      for (int flags : {int{kTcpSyn}, kTcpSyn | kTcpAck, int{kTcpAck}, int{kTcpPsh}, kTcpRst | kTcpAck}) {
        FlowHot flow = at_phase(phase);
        bool syn = (flags & kTcpSyn) != 0;
        uint32_t own = direction == 0 ? 101 : 501, other = direction == 0 ? 501 : 101;
        uint32_t fin = phase == 4 ? 1 : 0;
        Segment s{static_cast<uint8_t>(flags), syn ? own - 1 : own + fin, other + fin};
        got += letter_of(track_tcp(flow, direction, header_of(s), 0, TcpMode::kStrict));
      }
      EXPECT_EQ(got, expected[phase][direction]) << "phase " << phase << ", direction " << direction;
    }
  }
}
TEST(TcpTrack, Liberal_TheInitiatorsAckNeedsNoAnswer) {
  FlowHot flow = at_phase(0);
  EXPECT_EQ(track_tcp(flow, 1, header_of({kTcpAck, 501, 101}), 0, TcpMode::kLiberal).reason,
            DropReason::k_tcp_no_state);
  EXPECT_EQ(track_tcp(flow, 0, header_of({kTcpAck, 101, 70'000}), 0, TcpMode::kLiberal).step, TcpStep::kPass);
  EXPECT_EQ(flow.state, FlowState::kEstablished);
}
TEST(TcpTrack, SegmentWithoutAck_NeverPassesAfterTheHandshake) {
  EXPECT_EQ(Connection().step(0, {kTcpPsh, 101, 0, 1000, 5}), kOut);
}

}  // namespace
}  // namespace bulkhead
