// A fragmented datagram that is complete: its fragments' frames, each a packet of its own, linked in order of
// offset. It is judged, passed on to another worker, held and dropped as one, under the name of its first
// fragment.
//
// How it stands in mbufs: rte_mbuf::next links the fragments, which drivers never see, since they are parted
// before they are sent. The first one's rte_mbuf::port, which is a PortId since the packet was received,
// has kDatagramMark in its upper byte (what the gateway itself makes has no port: 0xff), beside the mark of
// link.h. hash.usr, the application's own by DPDK, is where the fragment's payload begins in its frame.
#pragma once

#include <cstdint>

#include <rte_mbuf.h>

namespace bulkhead {

inline constexpr uint16_t kDatagramMark = 0x100;
inline constexpr uint16_t kOpenedMark = 0x200;  ///< link.h's

/// Whether the packet is a whole datagram. Not one of the gateway's own packets, whose port is 0xffff.
inline bool is_datagram(const rte_mbuf* packet) noexcept {
  constexpr uint16_t kMarks = 0xff00 & ~kOpenedMark;
  return (packet->port & kMarks) == kDatagramMark;
}
/// Makes one of linked fragments. nullptr stays what it is.
inline void mark_datagram(rte_mbuf* first) noexcept {
  if (first == nullptr) return;
  uint16_t stays = first->port == RTE_MBUF_PORT_INVALID ? 0xff : kOpenedMark | 0xff;
  first->port = static_cast<uint16_t>(kDatagramMark | (first->port & stays));
}
/// Whether the gateway made the packet, or datagram, itself.
inline bool is_originated(const rte_mbuf* packet) noexcept {
  return (packet->port & 0xff) == (RTE_MBUF_PORT_INVALID & 0xff);
}
/// Packets as devices count them.
inline uint32_t packets_in(const rte_mbuf* packet) noexcept {
  uint32_t packets = 1;
  if (is_datagram(packet))
    while ((packet = packet->next) != nullptr) ++packets;
  return packets;
}
inline uint32_t payload_at(const rte_mbuf* fragment) noexcept {
  return fragment->hash.usr;
}
/// Bytes of a datagram's payload: from its first fragment's on.
inline uint32_t payload_bytes(const rte_mbuf* datagram) noexcept {
  uint32_t bytes = 0;
  for (; datagram != nullptr; datagram = datagram->next) bytes += datagram->data_len - payload_at(datagram);
  return bytes;
}
/// Takes off the first of its fragments, which is a packet like any other then.
inline rte_mbuf* take_first(rte_mbuf*& datagram) noexcept {
  rte_mbuf* first = datagram;
  datagram = first->next;
  first->next = nullptr;
  first->port &= static_cast<uint16_t>(~kDatagramMark);
  return first;
}
/// Frees a packet, or all of a datagram.
inline void free_packets(rte_mbuf* packet) noexcept {
  if (packet == nullptr || !is_datagram(packet)) return rte_pktmbuf_free(packet);
  while (packet != nullptr) rte_pktmbuf_free(take_first(packet));
}

}  // namespace bulkhead
