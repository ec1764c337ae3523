// What stands before a frame's own headers: identity tags, and the outside of an overlay (overlay.h). Ports
// that read it take it off before anything else is read, so that all stages see plain frames; ports that
// write it put it on as the last thing before the TxQueue. Neither is in the way of other ports' packets.
//
// A packet whose link was read has kOpenedMark in the upper byte of its rte_mbuf::port, and its believed tag
// in the lower half of hash.fdir.hi, which drivers only write for a flow director; in the upper half, until
// its sender is learnt, the peer that it came from, plus 1. All of it goes along to other workers.
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

/// What stands before a frame's own headers.
struct Link {
  bool resolves = false;       ///< ARP or neighbour discovery of an overlay port's own: nothing else is read
  uint16_t at = 0, bytes = 0;  ///< of the frame without the outside of an overlay
  CmdTag cmd;                  ///< in that
  SegmentTag tag;              ///< believed; kTagNone: none
  uint8_t peer = 0;            ///< overlay: that it came from
  bool learns = false;         ///< overlay: its sender is behind that peer
};
/// Reads it, and checks what the port wants of it. kNone, or why the frame goes no further: read_cmd()'s and
/// read_outer()'s reasons, tag_untrusted. `meta`: scratch, but of a frame that `resolves`.
DropReason read_link(std::span<const uint8_t> frame, const PortView& port, uint8_t parse_flags,
                     PacketMeta& meta, Link& link) noexcept;

/// Takes it off. Output: meta.reason is kNone, or why the frame goes no further; meta.kind kUnderlay: it is
/// for step_underlay(); else the frame is to be parsed. `mbuf`: in one piece.
void open_link(PipelineState& s, rte_mbuf* mbuf, const PortView& port, PacketMeta& meta) noexcept;

/// Whether open_link() was there already: the packet came from another worker.
inline bool is_opened(const rte_mbuf* mbuf) noexcept {
  return (mbuf->port & kOpenedMark) != 0 && mbuf->port != RTE_MBUF_PORT_INVALID;
}
/// The believed tag that a packet came with.
inline SegmentTag carried_tag(const rte_mbuf* mbuf) noexcept {
  return is_opened(mbuf) ? SegmentTag{static_cast<uint16_t>(mbuf->hash.fdir.hi)} : kTagNone;
}

/// Gives a packet a tag that it hasn't come with.
inline void carry_tag(rte_mbuf* mbuf, SegmentTag tag) noexcept {
  mbuf->port |= kOpenedMark;
  mbuf->hash.fdir.hi = tag.value;
}

/// Puts a frame into the TxQueue of a port that writes links, with its source's segment where one is known.
/// kNone; else the packet is as it was, and this is why: tx_full, and put_encapsulated()'s,
/// where `admitted` is explained.
DropReason put_with_link(PipelineState& s, rte_mbuf* mbuf, PortId out, bool admitted = false) noexcept;

}  // namespace bulkhead
