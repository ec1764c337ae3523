// One packet and its flow: found or opened, judged, tracked, and sent on its way.
#pragma once

#include "dataplane/fastpath/pipeline_state.h"
#include "dataplane/fastpath/tcp_track.h"

namespace bulkhead {

/// What is apart from the common case of a packet of a live flow: it was idle too long, is revoked or stale,
/// its sender isn't checked yet or bound to a MAC. True: the packet goes on. False: it has met its end.
template <class Key>
bool bring_up_to_date(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
                      const Moment& m) noexcept;

/// Everything that isn't the common case of a packet of a live flow: idle too long, revoked, stale, its
/// sender not checked yet or bound to a MAC. kNone: it goes on. `ended`: the flow is gone, and the packet may
/// open another.
template <class Key>
DropReason recheck(PipelineState& s, const PacketRef& p, uint32_t slot, unsigned direction, const Moment& m,
                   bool& ended) noexcept;
/// What tracking said of a TCP segment beyond "it passes"; `before`: the flow's state. True: the packet has
/// met its end.
template <class Key>
bool settle_tcp(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
                FlowState before, TcpResult result, const Moment& m) noexcept;

/// Matches any TCP segment against its flow. True: the packet goes on. False: it has met its end.
template <class Key>
bool step_tcp(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
              const Moment& m) noexcept;

/// An ICMP error passes as part of the flow whose packet it quotes, against that packet's direction.
template <class Key>
void step_icmp_error(PipelineState& s, const PacketRef& p, const Key& key, const Moment& m) noexcept;

/// Whether what a live flow was allowed by still holds: moved generation or deadline, then its endpoints'
/// shards, then policy itself. Brings the flow up to date, or says why it is no longer allowed (it is still
/// there then). Looks at no packet.
template <class Key>
DropReason rejudge(PipelineState& s, uint32_t slot, const Moment& m) noexcept;

/// The end of a flow that lost its permission while it has no packet to answer. A TCP flow stays, revoked,
/// for its next packet, whose link addresses a reset needs.
template <class Key>
void revoke_idle(PipelineState& s, uint32_t slot, DropReason reason, const Moment& m) noexcept;

/// Ends a flow that this packet found without permission, and answers it where policy says so. The packet is
/// still the caller's.
template <class Key>
void revoke_flow(PipelineState& s, const PacketRef& p, uint32_t slot, unsigned direction, DropReason reason,
                 const Moment& m) noexcept;

/// Takes a flow out, counts it, and writes its event: revoked where `reason` isn't kNone, else closed for
/// `cause`.
template <class Key>
void end_flow(PipelineState& s, uint32_t slot, EndCause cause, DropReason reason, const Moment& m) noexcept;

/// Takes a flow out without an event.
template <class Key>
void forget_flow(PipelineState& s, uint32_t slot) noexcept;
/// Takes out a flow that no packet ends: its timeout has passed, or it gives way to another.
template <class Key>
void retire_flow(PipelineState& s, uint32_t slot, EndCause cause, const Moment& m) noexcept;

/// Whether flows of that state stand in HalfOpenFlows.
constexpr bool is_half_open(FlowState state) {
  return state == FlowState::kOpening || state == FlowState::kHello;
}
/// Whether the flow's TLS hellos are still to be verified before anything else may pass.
inline bool needs_hellos(const FlowCold& cold) noexcept {
  return cold.hellos && !cold.verified;
}

/// The gauge of flows in that state.
Counter& gauge_of(WorkerCounters& counters, FlowState state) noexcept;
/// Moves a flow's gauge, its segment's number of flows and its place among the half-open ones with its state.
/// FlowState{}: there is no flow yet, or no more.
template <class Key>
void count_state(PipelineState& s, uint32_t slot, FlowState from, FlowState to) noexcept;

/// The flow as a record for events and lists.
template <class Key>
FlowRecord record_of(const PipelineState& s, uint32_t slot, const Snapshot* snapshot, BootTime now) noexcept;

/// The sender's and receiver's addresses of a flow, the initiator's first.
struct FlowAddresses {
  IpAddress initiator, responder;
  uint16_t initiator_port, responder_port;  ///< host order
};
template <class Key>
FlowAddresses addresses_of(const Key& key, bool initiator_high) noexcept;

/// The MAC that a link-local initiator is known by; nullptr for all others.
inline const MacAddress* initiator_mac(const FlowEntry<FlowKey4>&) noexcept {
  return nullptr;
}
inline const MacAddress* initiator_mac(const FlowEntry<FlowKey6>& entry) noexcept {
  return entry.initiator_mac.is_zero() ? nullptr : &entry.initiator_mac;
}

/// The service that the flow's first packet asked for.
template <class Key>
ServiceKey service_of(const Key& key, const FlowAddresses& a) noexcept;

/// Whether a port lets packets with this source address in (`sources`).
bool may_originate(const PortView& port, const IpAddress& source) noexcept;
/// The same for a source that was classified: a link-local one is let in where its MAC is bound.
bool admits(const PortView& port, const IpAddress& source, const End& end) noexcept;

}  // namespace bulkhead
