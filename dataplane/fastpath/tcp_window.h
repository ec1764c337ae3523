// Sequence numbers and windows of a TCP flow: what every segment of an established connection is matched
// with.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "contract/settings.h"
#include "dataplane/fastpath/flow.h"
#include "wire/transport.h"

namespace bulkhead {

inline constexpr uint8_t kScaleNotOffered = 15;

constexpr bool before(uint32_t a, uint32_t b) {
  return static_cast<int32_t>(a - b) < 0;
}
constexpr bool after(uint32_t a, uint32_t b) {
  return before(b, a);
}

/// The later of two sequence numbers.
constexpr uint32_t later(uint32_t a, uint32_t b) {
  return before(a, b) ? b : a;
}

/// How far behind the highest acknowledgement one may still come: what a sender can have in flight, and never
/// less than the largest unscaled window with room for reordering.
inline constexpr uint32_t kLeastAckWindow = 66000;

struct TcpSegment {
  uint32_t sequence, acknowledgement, end;
  uint16_t window;
  uint8_t flags;
  bool has(uint8_t flag) const { return (flags & flag) != 0; }
};

/// `at`: a TCP header.
inline TcpSegment read_segment(const uint8_t* at, uint32_t payload) noexcept {
  // Field by field: a copy of the header would be written to the stack and read back.
  uint8_t flags = at[offsetof(TcpHeader, flags)];
  uint32_t sequence = load<Be32>(at + offsetof(TcpHeader, sequence)).host();
  uint32_t length = payload + ((flags & kTcpSyn) != 0) + ((flags & kTcpFin) != 0);
  return {sequence, load<Be32>(at + offsetof(TcpHeader, acknowledgement)).host(), sequence + length,
          load<Be16>(at + offsetof(TcpHeader, window)).host(), flags};
}
inline TcpSegment read_segment(std::span<const uint8_t> tcp, uint32_t payload) noexcept {
  return read_segment(tcp.data(), payload);
}

/// Whether a segment may be part of the flow (RFC 9293 §3.10.7.4).
inline bool in_window(const FlowHot& flow, unsigned direction, const TcpSegment& s) noexcept {
  const TcpTrack& t = flow.tcp;
  uint32_t receiver_window = uint32_t{t.window[direction ^ 1]} << flow.shifts[direction ^ 1];
  uint32_t own_window = uint32_t{t.window[direction]} << flow.shifts[direction];
  if (after(s.sequence, t.max_end[direction])) return false;            // beyond what the receiver allowed
  if (before(s.end, t.end[direction] - receiver_window)) return false;  // older than any retransmission
  if (!s.has(kTcpAck)) return true;
  uint32_t highest = t.end[direction ^ 1];
  if (after(s.acknowledgement, highest)) return false;  // of what was never sent
  return !before(s.acknowledgement,
                 highest - std::max(own_window, kLeastAckWindow));  // too old (RFC 5961 §5.2)
}

/// Takes over what an accepted segment says of both directions.
inline void advance(FlowHot& flow, unsigned direction, const TcpSegment& s) noexcept {
  TcpTrack& t = flow.tcp;
  if (s.window > t.window[direction]) t.window[direction] = s.window;
  if (after(s.end, t.end[direction])) t.end[direction] = s.end;
  if (!s.has(kTcpAck)) return;
  if (after(s.acknowledgement, t.acked[direction ^ 1])) t.acked[direction ^ 1] = s.acknowledgement;
  uint32_t window = uint32_t{s.window} << flow.shifts[direction];
  uint32_t allowed = s.acknowledgement + std::max(window, 1u);  // a zero window still allows a probe
  if (after(allowed, t.max_end[direction ^ 1])) t.max_end[direction ^ 1] = allowed;
}

/// The common segment of an established connection: it acknowledges, neither begins, ends nor resets
/// anything, ends where its side's last one did or later, and acknowledges what is no farther back than any
/// window reaches. Output: true, and the flow is up to date; false where it is another or outside of the
/// windows: the flow is unchanged, and track_tcp() has the answer. What it takes, in_window() takes too, and
/// advance() comes to the same. `at`: the segment's header, checked by parse; `bytes`: with its payload. A
/// call, since it needs the registers for itself.
[[gnu::noinline]] inline bool track_plain_segment(FlowHot& flow, unsigned direction, const uint8_t* at,
                                                  uint32_t bytes) noexcept {
  constexpr uint8_t kDecisive = kTcpSyn | kTcpFin | kTcpRst | kTcpAck;
  if (flow.state != FlowState::kEstablished || (at[offsetof(TcpHeader, flags)] & kDecisive) != kTcpAck)
    return false;
  uint32_t sequence = load<Be32>(at + offsetof(TcpHeader, sequence)).host();
  uint32_t acknowledgement = load<Be32>(at + offsetof(TcpHeader, acknowledgement)).host();
  uint32_t window = load<Be16>(at + offsetof(TcpHeader, window)).host();
  uint32_t end = sequence + bytes - (at[offsetof(TcpHeader, data_offset)] >> 2 & 0x3cu);

  TcpTrack& t = flow.tcp;
  const unsigned other = direction ^ 1;
  const uint32_t behind = t.end[other] - acknowledgement;
  // The sign of each difference says that one limit was passed.
  uint32_t outside =
      (t.max_end[direction] - sequence) | (end - t.end[direction]) | behind | (kLeastAckWindow - behind);
  if (static_cast<int32_t>(outside) < 0) return false;

  t.end[direction] = end;
  t.window[direction] = static_cast<uint16_t>(std::max<uint32_t>(t.window[direction], window));
  t.acked[other] = later(t.acked[other], acknowledgement);
  uint32_t offered = window << flow.shifts[direction];
  uint32_t allowed = acknowledgement + offered + (offered == 0);  // as in advance()
  t.max_end[other] = later(t.max_end[other], allowed);
  return true;
}

}  // namespace bulkhead
