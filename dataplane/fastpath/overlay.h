// Overlay ports: what comes in is VXLAN from a configured peer, and is decapsulated once; what leaves is
// encapsulated to the peer behind which its receiver is, or to all where that isn't known. The addresses of
// the outside, `local` and the peers', belong to the port alone: they are resolved as a router's neighbours
// are, in places of their own, and nothing else of the outside passes.
#pragma once

#include <span>

#include "dataplane/fastpath/neighbour_table.h"
#include "dataplane/fastpath/pipeline_state.h"
#include "dataplane/fastpath/station_table.h"

namespace bulkhead {

/// How many ports NeighbourTable needs room for: the router's, and as many again for the outside of overlay
/// ports. 0: none is needed.
size_t neighbour_ports(const DataplaneSettings& settings) noexcept;

/// Frames of a port that may go to several peers, shared evenly by the workers.
inline constexpr uint32_t kFloodsPerSecond = 1000;

/// A frame from the outside.
struct OuterFrame {
  bool resolves = false;       ///< ARP or neighbour discovery
  uint16_t at = 0, bytes = 0;  ///< of the inner frame
  uint8_t peer = 0;            ///< its place in the configuration
  bool learns = true;          ///< D isn't set
  SegmentTag group;            ///< kTagNone: none
};
/// Reads a frame that an overlay port received. kNone, or why it goes no further: what parse_frame() says of
/// its headers; other_station, underlay_unexpected, vxlan_fragmented, vxlan_peer_unknown, vxlan_malformed,
/// vxlan_vni_unknown, tag_malformed. Source: RFC 7348 §4.1, §5; a UDP checksum of 0 only over IPv4 (RFC 6935
/// allows it over IPv6, where nothing else would protect the addresses: we don't).
DropReason read_outer(std::span<const uint8_t> frame, const PortView& port, uint8_t parse_flags,
                      PacketMeta& meta, OuterFrame& outer) noexcept;

/// ARP and neighbour discovery of the outside: answers for `local`, learns peers that were asked for. Takes
/// the packet.
void step_underlay(PipelineState& s, const PacketRef& p) noexcept;
/// Encapsulates a frame and puts it into the TxQueue, with copies of it for further peers. `group`: kTagNone:
/// none is sent along. `admitted`: charged for by admit_datagram(). kNone; else the packet is as it was, and
/// this is why: neighbour_unresolved, packet_too_big, tx_full.
DropReason put_encapsulated(PipelineState& s, rte_mbuf* mbuf, PortId out, SegmentTag group,
                            bool admitted) noexcept;
/// Peers that a frame to `station` goes to now, each of which takes a place in the TxQueue; asks for those
/// that aren't resolved. 1 on ports that are no overlay's.
uint16_t places_for(PipelineState& s, PortId out, const MacAddress& station) noexcept;
/// Places of the TxQueue that may be in use with a frame of so many copies in it: what goes to several peers
/// leaves room for what goes to one.
inline uint16_t most_in_use(uint16_t copies) noexcept {
  return copies > 1 ? TxQueue::kCapacity - kBurst : TxQueue::kCapacity;
}
static_assert(kMostPeers <= TxQueue::kCapacity - kBurst);
/// Whether a datagram, which is in no TxQueue yet, may leave as a whole: its peers are resolved, its
/// fragments fit an empty TxQueue, and it is within the floods' rate, which it is charged for. kNone, or
/// neighbour_unresolved, tx_full.
DropReason admit_datagram(PipelineState& s, const rte_mbuf* datagram, PortId out) noexcept;
/// Asks for peers that aren't known, or weren't heard of for long, so that a frame need not wait for that.
void maintain_overlay(PipelineState& s) noexcept;

}  // namespace bulkhead
