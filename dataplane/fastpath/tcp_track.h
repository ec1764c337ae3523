// TCP as a stateful filter sees it: windows, flags and states.
#pragma once

#include <cstdint>
#include <span>

#include "base/drop_reason.h"
#include "contract/settings.h"
#include "dataplane/fastpath/flow.h"

namespace bulkhead {

/// What a segment means for its flow beyond passing.
enum class TcpStep : uint8_t {
  kPass,       ///< passes; the flow's state may have moved
  kDrop,       ///< `reason` says why; the flow is unchanged
  kChallenge,  ///< a SYN on a live connection: passes at a limited rate, the flow unchanged (RFC 5961 §4.2)
  kCross,      ///< the responder opens too, before an answer: passes with cross_tcp() where policy allows its
               ///< direction as well, else tcp_no_state; the flow unchanged so far (RFC 9293 §3.5)
  kReopen,     ///< a SYN after the end: this flow is over, the segment opens another (RFC 9293 §3.6.1)
  kReset,      ///< passes, and ends the flow
};
struct TcpResult {
  TcpStep step;
  DropReason reason;
};

/// Begins a flow from the initiator's SYN. `tcp`: header with options, whole; `payload` in bytes.
void begin_tcp(FlowHot& flow, std::span<const uint8_t> tcp, uint32_t payload) noexcept;

/// Takes over a responder's SYN that track_tcp() found to be kCross. The initiator stays what it is.
void cross_tcp(FlowHot& flow, std::span<const uint8_t> tcp, uint32_t payload) noexcept;

/// Matches a segment against a flow's windows and moves its state.
/// Input:  `direction` 0: from the initiator; `tcp` the header with options, whole, checked by parse;
/// `payload` in bytes. Output: what to do with it; the flow changes only on kPass. Errors: tcp_out_of_window
/// (RFC 9293 §3.10.7.4), tcp_no_state (not what a handshake has at this point). Liberal: no windows, and an
/// initiator's ACK needs no answer that passed here. Thread: worker. Cost:
/// constant but for the options of SYNs, never allocates. Source: RFC 9293 §3.4, RFC 5961 §3.2 and §4.2, RFC
/// 7323 §2.
TcpResult track_tcp(FlowHot& flow, unsigned direction, std::span<const uint8_t> tcp, uint32_t payload,
                    TcpMode mode) noexcept;

}  // namespace bulkhead
