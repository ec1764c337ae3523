// ARP and neighbour discovery: they need no rule, but must not contradict a binding or themselves.
#pragma once

#include "dataplane/fastpath/pipeline_state.h"

namespace bulkhead {

/// Checks an ARP frame (PacketKind::kArp).
/// Output: kNone: it may pass between the ends of a wire, or be answered by the router.
/// Errors: arp_invalid. Source: RFC 826, RFC 5227 §2.1.1.
DropReason inspect_arp(PipelineState& s, const PacketRef& p, const Moment& m) noexcept;

/// Checks router and neighbour solicitations and advertisements (PacketKind::kNeighbour).
/// Errors: nd_invalid, ra_forbidden. Source: RFC 4861 §6.1, §7.1, RFC 6105.
DropReason inspect_neighbour(PipelineState& s, const PacketRef& p, const Moment& m) noexcept;

}  // namespace bulkhead
