// Packets that the gateway makes itself: TCP resets and ICMP errors. None is larger than what caused it, none
// answers what must not be answered.
#pragma once

#include "dataplane/fastpath/pipeline_state.h"

namespace bulkhead {

/// Answers a denied packet to its sender: TCP by a reset, all else by ICMP 3/13 or ICMPv6 1/1 (RFC 1812
/// §5.2.7.1, RFC 4443 §3.1), in the name of the destination. Silent for resets, ICMP errors, groups, over the
/// rate, where memory is short, and where even the shortest answer would be larger than the packet.
void answer_reject(PipelineState& s, const PacketRef& p, IdentityId source, const Moment& m) noexcept;

/// Drops a packet of wire mode that is longer than `out` takes. Where that is less than the link itself does,
/// because the port puts something before it, the sender is told (RFC 1191, RFC 8201) in the name of the
/// destination, as no other end of the wire can; at a limited rate.
void drop_too_big(PipelineState& s, const PacketRef& p, PortId out, const Moment& m) noexcept;

/// Ends a revoked TCP flow for both ends: one reset each way, at the exact sequence that its receiver
/// expects. `p`: a packet of the flow in `direction`, whose link addresses serve both ways.
void answer_revoked(PipelineState& s, const PacketRef& p, const FlowHot& flow, unsigned direction) noexcept;

/// The same for the connection on the relay's other side, which `p` isn't of: by what was seen of it alone.
void answer_revoked_unseen(PipelineState& s, const PacketRef& p, const FlowHot& flow,
                           unsigned direction) noexcept;

/// What an ICMP error says.
struct IcmpError {
  uint8_t type, code;
  uint32_t rest = 0;  ///< the second word: a next-hop MTU
};
/// An ICMP error about `p` from `from` to the packet's source, quoting as much as keeps the answer no longer
/// than the packet and 576 bytes (ICMPv6: 1,280); nullptr where it mustn't be sent (RFC 1122 §3.2.2, RFC 4443
/// §2.4e). Ethernet addresses are those of `p`, swapped.
rte_mbuf* make_icmp_error(PipelineState& s, const PacketRef& p, const IpAddress& from,
                          IcmpError error) noexcept;

/// The reply to an echo request, data and all (RFC 792, RFC 4443 §4.2); nullptr where memory is short.
rte_mbuf* make_echo_reply(PipelineState& s, const PacketRef& p) noexcept;

}  // namespace bulkhead
