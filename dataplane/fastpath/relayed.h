// Connections that go through the mTLS relay. To the pipeline such a one is two flows: the near one, between
// the initiator and the relay, and the far one, between the relay and the responder. Both have the same
// 5-tuple. The near one has its key as seen on the initiator's side, and is what is judged, listed and
// logged; the far one's has leg 1 and zone 0, since what comes from the relay doesn't say where it belongs.
//
//            near.ports[0]                near.ports[1] = far.ports[0]              far.ports[1]
//   initiator ----------> gateway ----------> relay ----------> gateway ----------> responder
//
// A packet from the network finds the near flow, one from the relay the far one; where it is the other one's,
// the two lead to each other. They begin together and end together.
#pragma once

#include "dataplane/fastpath/flow_step.h"
#include "policy/evaluate.h"

namespace bulkhead {

inline bool is_near(const FlowHot& flow) noexcept {
  return (flow.marks & kFlowRelayNear) != 0;
}
inline bool is_far(const FlowHot& flow) noexcept {
  return (flow.marks & kFlowRelayFar) != 0;
}

/// The slot of the flow that stands for the connection of `slot` as a whole: itself, or a far one's near one.
template <class Key>
uint32_t whole_of(PipelineState& s, uint32_t slot) noexcept {
  auto& table = s.table<Key>();
  return is_far(table.entry(slot).hot) ? table.cold(slot).relay.near : slot;
}
/// The far flow of a near one, which must be live.
template <class Key>
uint32_t far_of(PipelineState& s, uint32_t near) noexcept;

/// Makes a flow that has just been opened by this packet the near one of a pair, and tells the relay what it
/// is about. Else why not, and nothing has changed: there is no room, or the relay has the same 5-tuple of
/// another zone (relay_unavailable).
template <class Key>
DropReason open_relayed(PipelineState& s, const PacketRef& p, const Key& key, uint32_t near,
                        const Moment& m) noexcept;

/// The responder's binding may have changed: the far flow's next packet of its is checked.
template <class Key>
void check_responder_again(PipelineState& s, uint32_t near) noexcept {
  s.table<Key>().entry(far_of<Key>(s, near)).hot.flags |= kFlowResponderUnchecked;
}

/// Sends a packet to the relay, where it is there. Takes the packet.
void send_to_relay(PipelineState& s, const PacketRef& p, const Moment& m) noexcept;

/// What pass_flow() does, for a packet of either flow of a pair. Takes the packet.
template <class Key>
void pass_relayed(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
                  const Moment& m) noexcept;

/// A packet that found the near flow, but came in on another port than its direction's: the responder's, of
/// the far flow; else it is spoofed. Takes the packet.
template <class Key>
void step_from_elsewhere(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot,
                         unsigned direction, const Moment& m) noexcept;

/// Whether a packet that came in on the relay's port is one of its connections'.
inline bool is_relayed(const PacketMeta& meta) noexcept {
  return meta.reason == DropReason::kNone && meta.kind == PacketKind::kRelayed && meta.proto == IpProto::kTcp;
}
/// Packet `i` of the burst, which came in on the relay's port: of one of its connections, or its sign of
/// life.
void step_from_relay(PipelineState& s, size_t i, const Moment& m) noexcept;

/// Writes the link header of a frame for the relay's interface.
void address_to_relay(rte_mbuf* mbuf) noexcept;

/// A reset that is what its receiver expects: passes. The pair ends with the second connection's.
template <class Key>
void pass_reset(PipelineState& s, const PacketRef& p, uint32_t slot, unsigned direction,
                const Moment& m) noexcept;

/// Ends a revoked pair's other connection than that of `slot`, for both its ends, by what was seen of it.
/// `p`: a packet of `slot` in `direction`. Of a flow that isn't the relay's: nothing.
template <class Key>
void reset_other_leg(PipelineState& s, const PacketRef& p, uint32_t slot, unsigned direction) noexcept;

}  // namespace bulkhead
