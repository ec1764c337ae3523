#include "dataplane/fastpath/tcp_track.h"

#include <algorithm>

#include "dataplane/fastpath/tcp_window.h"

namespace bulkhead {
namespace {

/// Where a connection stands: FlowState, and while it opens what has been seen of the handshake.
enum Phase : uint8_t { kSynSent, kCrossed, kAnswered, kUp, kClosing };
/// What a segment is by its flags. FIN never comes without ACK (are_tcp_flags_valid).
enum Kind : uint8_t { kSyn, kSynAck, kAck, kBare, kRst };
enum class Move : uint8_t {
  kMatch,    ///< passes within the windows, which move; the initiator's ends the handshake
  kOneWay,   ///< an ACK of an answer that wasn't seen: as kMatch where paths may be asymmetric, else refused
  kAgain,    ///< this side's own SYN once more
  kConfirm,  ///< a SYN-ACK of one that opened at the same time as its peer
  kAnswer,   ///< the responder's SYN-ACK
  kCross,    ///< the responder's own SYN, before an answer (RFC 9293 §3.5, figure 8)
  kReset,    ///< believed at the exact number
  kChallenge,  ///< RFC 5961 §4.2
  kReopen,     ///< after the end: another connection
  kRefuse,     ///< tcp_no_state: not what a handshake has at this point
  kOutside,    ///< tcp_out_of_window: after the handshake every segment has an ACK (RFC 9293 §3.10.7.4), and
               ///< none opens a connection the other way, for which policy was never asked
};

/// What a segment does, by phase, direction (first the initiator's) and kind.
constexpr Move kMoves[5][2][5] = {
    // SYN, SYN-ACK, ACK, neither, RST
    {{Move::kAgain, Move::kRefuse, Move::kOneWay, Move::kRefuse, Move::kReset},  // kSynSent
     {Move::kCross, Move::kAnswer, Move::kRefuse, Move::kRefuse, Move::kReset}},
    {{Move::kAgain, Move::kConfirm, Move::kMatch, Move::kRefuse, Move::kReset},  // kCrossed
     {Move::kAgain, Move::kConfirm, Move::kMatch, Move::kRefuse, Move::kReset}},
    {{Move::kAgain, Move::kRefuse, Move::kMatch, Move::kRefuse, Move::kReset},  // kAnswered
     {Move::kRefuse, Move::kAnswer, Move::kMatch, Move::kRefuse, Move::kReset}},
    {{Move::kChallenge, Move::kOutside, Move::kMatch, Move::kOutside, Move::kReset},  // kUp
     {Move::kOutside, Move::kChallenge, Move::kMatch, Move::kOutside, Move::kReset}},
    {{Move::kReopen, Move::kOutside, Move::kMatch, Move::kOutside, Move::kReset},  // kClosing
     {Move::kOutside, Move::kChallenge, Move::kMatch, Move::kOutside, Move::kReset}},
};

Phase phase_of(const FlowHot& flow) noexcept {
  if (flow.state == FlowState::kEstablished || flow.state == FlowState::kHello) return kUp;
  if (flow.state == FlowState::kClosing) return kClosing;
  if ((flow.marks & kFlowCrossed) != 0) return kCrossed;
  return (flow.flags & kFlowSynAck) != 0 ? kAnswered : kSynSent;
}

Kind kind_of(const TcpSegment& s) noexcept {
  if (s.has(kTcpRst)) return kRst;
  if (s.has(kTcpSyn)) return s.has(kTcpAck) ? kSynAck : kSyn;
  return s.has(kTcpAck) ? kAck : kBare;
}

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

/// A SYN's or SYN-ACK's own side. Its window isn't scaled.
void begin_side(FlowHot& flow, unsigned direction, const TcpSegment& s, uint8_t scale) noexcept {
  set_scale(flow, direction, scale);
  flow.tcp.end[direction] = s.end;
  flow.tcp.max_end[direction] = s.end;
  flow.tcp.acked[direction] = s.sequence + 1;
  flow.tcp.window[direction] = std::max<uint16_t>(s.window, 1);
}

/// A window in units of a scale, no smaller than it was.
uint16_t in_units(uint16_t bytes, unsigned shift) noexcept {
  return static_cast<uint16_t>((bytes + (1u << shift) - 1) >> shift);
}

/// The responder has shown its sequence numbers, by SYN-ACK or SYN: both sides have a window now. `acked`:
/// what of the initiator's it has acknowledged.
void begin_responder(FlowHot& flow, const TcpSegment& s, uint32_t acked, uint8_t scale) noexcept {
  TcpTrack& t = flow.tcp;
  // What the SYN's window allows may come before the initiator's ACK, as after data on the SYN (RFC 7413
  // §4.2.1). It stands there in bytes until the first answer says whether scales hold.
  bool answered = (flow.flags & kFlowSynAck) != 0;
  uint32_t allowed = answered ? t.max_end[1] - t.acked[1] : t.window[0];
  begin_side(flow, 1, s, scale);
  t.acked[0] = acked;
  t.max_end[0] = acked + t.window[1];
  t.max_end[1] = s.sequence + 1 + allowed;
  if (!answered) t.window[0] = in_units(t.window[0], flow.shifts[0]);
  t.window[1] = in_units(t.window[1], flow.shifts[1]);
  flow.flags |= kFlowSynAck;
}

/// The responder's answer passed elsewhere: what the initiator acknowledges is all that is known of it.
void begin_unseen_responder(FlowHot& flow, const TcpSegment& s) noexcept {
  TcpTrack& t = flow.tcp;
  t.end[1] = t.max_end[1] = t.acked[1] = s.acknowledgement;
  t.window[1] = 1;
}

/// Whether a segment acknowledges the initiator's SYN, and no more than it brought.
bool names_syn(const TcpTrack& t, const TcpSegment& s) noexcept {
  return s.has(kTcpAck) && !before(s.acknowledgement, t.acked[0]) && !after(s.acknowledgement, t.end[0]);
}

TcpResult track_reset(const FlowHot& flow, unsigned direction, const TcpSegment& s, TcpMode mode) noexcept {
  const TcpTrack& t = flow.tcp;
  constexpr TcpResult kEnds{TcpStep::kReset, DropReason::kNone};
  if (mode == TcpMode::kLiberal) return kEnds;
  // The answer to a SYN names it by its acknowledgement (RFC 9293 §3.10.7.3).
  if (flow.state == FlowState::kOpening && direction == 1 && !(flow.flags & kFlowSynAck))
    return names_syn(t, s) ? kEnds : drop(DropReason::k_tcp_out_of_window);
  // Exactly what the receiver expects next (RFC 5961 §3.2): all that was sent, or all that it has
  // acknowledged.
  bool exact = s.sequence == t.end[direction] || s.sequence == t.acked[direction];
  return exact ? kEnds : drop(DropReason::k_tcp_out_of_window);
}

TcpResult track_answer(FlowHot& flow, const TcpSegment& s, std::span<const uint8_t> tcp) noexcept {
  if (!names_syn(flow.tcp, s)) return drop(DropReason::k_tcp_no_state);  // an answer to somebody else
  begin_responder(flow, s, s.acknowledgement, offered_scale(tcp));
  return kPassed;
}

/// A SYN of a side that has sent one: a retransmission says the same again.
TcpResult track_again(const FlowHot& flow, unsigned direction, const TcpSegment& s) noexcept {
  if (s.sequence + 1 == flow.tcp.acked[direction]) return kPassed;
  if (direction == 1) return drop(DropReason::k_tcp_no_state);
  // Another one before an answer came is a new attempt.
  bool answered = (flow.flags & kFlowSynAck) != 0;
  return {answered ? TcpStep::kChallenge : TcpStep::kReopen, DropReason::kNone};
}

/// Of two that opened at once each acknowledges the other's SYN, under its own number.
TcpResult track_confirm(const FlowHot& flow, unsigned direction, const TcpSegment& s) noexcept {
  const TcpTrack& t = flow.tcp;
  bool exact = s.sequence + 1 == t.acked[direction] && s.acknowledgement == t.acked[direction ^ 1];
  return exact ? kPassed : drop(DropReason::k_tcp_no_state);
}

void note_fin(FlowHot& flow, unsigned direction, const TcpSegment& s) noexcept {
  if (!s.has(kTcpFin)) return;
  flow.flags |= direction == 0 ? kFlowFinInitiator : kFlowFinResponder;
  constexpr uint8_t kBoth = kFlowFinInitiator | kFlowFinResponder;
  if ((flow.flags & kBoth) == kBoth) flow.state = FlowState::kClosing;
}

TcpResult track_match(FlowHot& flow, unsigned direction, const TcpSegment& s, TcpMode mode) noexcept {
  if (mode == TcpMode::kStrict && !in_window(flow, direction, s))
    return drop(DropReason::k_tcp_out_of_window);
  advance(flow, direction, s);
  if (flow.state == FlowState::kOpening && direction == 0) flow.state = FlowState::kEstablished;
  note_fin(flow, direction, s);
  return kPassed;
}

}  // namespace

void begin_tcp(FlowHot& flow, std::span<const uint8_t> tcp, uint32_t payload) noexcept {
  flow.tcp = {};
  flow.scales = kScaleNotOffered << 4 | kScaleNotOffered;
  flow.state = FlowState::kOpening;
  flow.marks &= static_cast<uint8_t>(~kFlowCrossed);
  begin_side(flow, 0, read_segment(tcp, payload), offered_scale(tcp));
}

void cross_tcp(FlowHot& flow, std::span<const uint8_t> tcp, uint32_t payload) noexcept {
  begin_responder(flow, read_segment(tcp, payload), flow.tcp.acked[0], offered_scale(tcp));
  flow.marks |= kFlowCrossed;
}

TcpResult track_tcp(FlowHot& flow, unsigned direction, std::span<const uint8_t> tcp, uint32_t payload,
                    TcpMode mode) noexcept {
  TcpSegment s = read_segment(tcp, payload);
  switch (kMoves[phase_of(flow)][direction][kind_of(s)]) {
    case Move::kOneWay:
      if (mode == TcpMode::kStrict) return drop(DropReason::k_tcp_no_state);
      begin_unseen_responder(flow, s);
      [[fallthrough]];
    case Move::kMatch:
      return track_match(flow, direction, s, mode);
    case Move::kAgain:
      return track_again(flow, direction, s);
    case Move::kConfirm:
      return track_confirm(flow, direction, s);
    case Move::kAnswer:
      return track_answer(flow, s, tcp);
    case Move::kCross:
      return {TcpStep::kCross, DropReason::kNone};
    case Move::kReset:
      return track_reset(flow, direction, s, mode);
    case Move::kChallenge:
      return {TcpStep::kChallenge, DropReason::kNone};
    case Move::kReopen:
      return {TcpStep::kReopen, DropReason::kNone};
    case Move::kRefuse:
      return drop(DropReason::k_tcp_no_state);
    case Move::kOutside:
      break;
  }
  return drop(DropReason::k_tcp_out_of_window);
}

}  // namespace bulkhead
