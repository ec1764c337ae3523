// What stands before a frame's own headers: identity tags. Ports that read it take it off before anything
// else is read, so that all stages see plain frames; ports that write it put it on as the last thing before
// the TxQueue. Neither is in the way of other ports' packets.
//
// A packet whose link was read has kOpenedMark in the upper byte of its rte_mbuf::port, and its believed tag
// in hash.fdir.hi, which drivers only write for a flow director: both go along to other workers.
#pragma once

#include <span>

#include "dataplane/fastpath/datagram.h"
#include "dataplane/fastpath/pipeline_state.h"

namespace bulkhead {

/// A tag in a frame.
struct CmdTag {
  size_t at = 0;  ///< where its EtherType is; 0: there is none
  SegmentTag tag;
};
/// Looks for Cisco metadata behind the Ethernet header or its one 802.1Q tag. kNone; frame_truncated;
/// tag_malformed: an unknown version, length or option, the invalid SGT, a second one, or a VLAN tag behind
/// it.
DropReason read_cmd(std::span<const uint8_t> frame, CmdTag& cmd) noexcept;
inline constexpr uint16_t kCmdBytes = 8;  ///< that it takes in a frame

/// Takes off what stands before the frame's own headers. kNone, or why it goes no further. `mbuf`: in one
/// piece.
DropReason open_link(rte_mbuf* mbuf, const PortView& port) noexcept;

/// Whether open_link() was there already: the packet came from another worker.
inline bool is_opened(const rte_mbuf* mbuf) noexcept {
  return (mbuf->port & kOpenedMark) != 0 && mbuf->port != RTE_MBUF_PORT_INVALID;
}
/// The believed tag that a packet came with.
inline SegmentTag carried_tag(const rte_mbuf* mbuf) noexcept {
  return is_opened(mbuf) ? SegmentTag{static_cast<uint16_t>(mbuf->hash.fdir.hi)} : kTagNone;
}

/// Puts a frame into the TxQueue of a port that writes links, with its source's segment where one is known.
/// kNone; else the packet is as it was, and this is why: tx_full.
DropReason put_with_link(PipelineState& s, rte_mbuf* mbuf, PortId out) noexcept;

}  // namespace bulkhead
