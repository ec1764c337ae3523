#include "dataplane/fastpath/tcp_track.h"

#include <algorithm>

#include "dataplane/fastpath/tcp_window.h"

namespace bulkhead {
namespace {

constexpr TcpResult kPassed{TcpStep::kPass, DropReason::kNone};
constexpr TcpResult drop(DropReason reason) {
  return {TcpStep::kDrop, reason};
}

/// The window scale that a SYN offers, kScaleNotOffered where none.
uint8_t offered_scale(std::span<const uint8_t> tcp) noexcept {
  auto options = tcp.subspan(sizeof(TcpHeader));
  while (options.size() >= 3) {
    if (options[0] == kTcpOptionEnd) break;
    if (options[0] == kTcpOptionNop) {
      options = options.subspan(1);
      continue;
    }
    if (options[0] == kTcpOptionWindowScale && options[1] == 3)
      return std::min(options[2], kTcpMaxWindowScale);
    if (options[1] < 2 || options[1] > options.size()) break;
    options = options.subspan(options[1]);
  }
  return kScaleNotOffered;
}

void set_scale(FlowHot& flow, unsigned direction, uint8_t scale) noexcept {
  unsigned shift = 4 * direction;
  flow.scales = static_cast<uint8_t>((flow.scales & ~(15u << shift)) | unsigned{scale} << shift);
  uint8_t initiator = flow.scales & 15, responder = flow.scales >> 4;
  bool both = initiator != kScaleNotOffered && responder != kScaleNotOffered;
  flow.shifts[0] = both ? initiator : 0;
  flow.shifts[1] = both ? responder : 0;
}

/// A SYN's or SYN-ACK's own side: its window isn't scaled yet, but is kept in scaled units from the start.
void begin_side(FlowHot& flow, unsigned direction, const TcpSegment& s, uint8_t scale) noexcept {
  set_scale(flow, direction, scale);
  unsigned units = scale == kScaleNotOffered ? 0 : scale;
  flow.tcp.end[direction] = s.end;
  flow.tcp.max_end[direction] = s.end;
  flow.tcp.acked[direction] = s.sequence + 1;
  flow.tcp.window[direction] = static_cast<uint16_t>(std::max(1u, (s.window + (1u << units) - 1) >> units));
}

/// The peer of a SYN or SYN-ACK may send what that one's window allows.
void allow_from_syn(FlowHot& flow, unsigned direction, const TcpSegment& s) noexcept {
  flow.tcp.max_end[direction ^ 1] = s.acknowledgement + std::max<uint32_t>(s.window, 1);
}

TcpResult track_reset(const FlowHot& flow, unsigned direction, const TcpSegment& s, TcpMode mode) noexcept {
  const TcpTrack& t = flow.tcp;
  constexpr TcpResult kEnds{TcpStep::kReset, DropReason::kNone};
  if (mode == TcpMode::kLiberal) return kEnds;
  // The answer to a SYN names it by its acknowledgement (RFC 9293 §3.10.7.3).
  bool answers_syn = flow.state == FlowState::kOpening && direction == 1 && s.has(kTcpAck) &&
                     !before(s.acknowledgement, t.acked[0]) && !after(s.acknowledgement, t.end[0]);
  if (flow.state == FlowState::kOpening && direction == 1 && !(flow.flags & kFlowSynAck))
    return answers_syn ? kEnds : drop(DropReason::k_tcp_out_of_window);
  // Exactly what the receiver expects next (RFC 5961 §3.2): all that was sent, or all that it has
  // acknowledged.
  bool exact = s.sequence == t.end[direction] || s.sequence == t.acked[direction];
  return exact || answers_syn ? kEnds : drop(DropReason::k_tcp_out_of_window);
}

TcpResult track_opening(FlowHot& flow, unsigned direction, const TcpSegment& s,
                        std::span<const uint8_t> tcp) noexcept {
  TcpTrack& t = flow.tcp;
  bool syn = s.has(kTcpSyn), ack = s.has(kTcpAck), answered = (flow.flags & kFlowSynAck) != 0;
  if (direction == 0 && syn) {
    if (ack) return drop(DropReason::k_tcp_no_state);
    // A retransmission says the same again; another sequence is a new attempt before an answer came.
    if (s.sequence + 1 == t.acked[0]) return kPassed;
    return answered ? TcpResult{TcpStep::kChallenge, DropReason::kNone}
                    : TcpResult{TcpStep::kReopen, DropReason::kNone};
  }
  if (direction == 1 && syn) {
    bool names_syn = ack && !before(s.acknowledgement, t.acked[0]) && !after(s.acknowledgement, t.end[0]);
    if (!names_syn)
      return drop(DropReason::k_tcp_no_state);  // a split handshake, or an answer to somebody else
    begin_side(flow, 1, s, offered_scale(tcp));
    allow_from_syn(flow, 1, s);
    // What the SYN's window allows may come before the initiator's ACK, as after data on the SYN (RFC 7413
    // §4.2.1). That window is kept in units of a scale that holds for it only from now on.
    unsigned units = (flow.scales & 15u) == kScaleNotOffered ? 0 : flow.scales & 15u;
    t.max_end[1] = s.sequence + 1 + (uint32_t{t.window[0]} << units);
    t.acked[0] = s.acknowledgement;
    flow.flags |= kFlowSynAck;
    return kPassed;
  }
  if (!answered || !ack) return drop(DropReason::k_tcp_no_state);
  if (!in_window(flow, direction, s)) return drop(DropReason::k_tcp_out_of_window);
  advance(flow, direction, s);
  if (direction == 0) flow.state = FlowState::kEstablished;
  return kPassed;
}

void note_fin(FlowHot& flow, unsigned direction, const TcpSegment& s) noexcept {
  if (!s.has(kTcpFin)) return;
  flow.flags |= direction == 0 ? kFlowFinInitiator : kFlowFinResponder;
  constexpr uint8_t kBoth = kFlowFinInitiator | kFlowFinResponder;
  if ((flow.flags & kBoth) == kBoth) flow.state = FlowState::kClosing;
}

}  // namespace

void begin_tcp(FlowHot& flow, std::span<const uint8_t> tcp, uint32_t payload) noexcept {
  flow.tcp = {};
  flow.scales = kScaleNotOffered << 4 | kScaleNotOffered;
  flow.state = FlowState::kOpening;
  begin_side(flow, 0, read_segment(tcp, payload), offered_scale(tcp));
}

TcpResult track_tcp(FlowHot& flow, unsigned direction, std::span<const uint8_t> tcp, uint32_t payload,
                    TcpMode mode) noexcept {
  TcpSegment s = read_segment(tcp, payload);
  if (s.has(kTcpRst)) [[unlikely]]
    return track_reset(flow, direction, s, mode);
  if (flow.state == FlowState::kOpening) [[unlikely]] {
    auto result = track_opening(flow, direction, s, tcp);
    if (result.step == TcpStep::kPass) note_fin(flow, direction, s);
    return result;
  }
  if (s.has(kTcpSyn)) [[unlikely]] {
    if (flow.state == FlowState::kClosing && direction == 0 && !s.has(kTcpAck))
      return {TcpStep::kReopen, DropReason::kNone};
    return {TcpStep::kChallenge, DropReason::kNone};
  }
  if (mode == TcpMode::kStrict && !in_window(flow, direction, s))
    return drop(DropReason::k_tcp_out_of_window);
  if (!s.has(kTcpAck))
    return drop(
        DropReason::k_tcp_out_of_window);  // after the handshake every segment has one (RFC 9293 §3.10.7.4)
  advance(flow, direction, s);
  note_fin(flow, direction, s);
  return kPassed;
}

}  // namespace bulkhead
