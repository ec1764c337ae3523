// What the stages of the pipeline know of one packet, and the key of its flow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/address.h"
#include "base/drop_reason.h"
#include "base/service.h"
#include "base/types.h"

namespace bulkhead {

/// Added to `leg` of ICMP's keys where the query's sender is the high end: each end's queries are a flow of
/// their own, so that one of them never passes as the answer to the other end's of the same id.
inline constexpr uint8_t kLegQueryFromHigh = 2;

/// 5-tuple, zone and leg of an IPv4 flow, the same in both directions: the end with the smaller (address,
/// port) comes first. Addresses and ports as they stand in the packet. ICMP: both directions carry the
/// query's id as `low_port` and its type << 8 | code as `high_port`. 16 bytes, compared at once.
struct alignas(16) FlowKey4 {
  uint32_t low_address, high_address;
  uint16_t low_port, high_port;
  uint16_t zone;  ///< wire mode: wire << 12 | VLAN; route mode: 0
  IpProto proto;
  uint8_t leg;  ///< 0: outside; 1: the relay's side; ICMP: kLegQueryFromHigh
  bool operator==(const FlowKey4&) const = default;
};
static_assert(sizeof(FlowKey4) == 16);

/// The same for IPv6.
struct alignas(8) FlowKey6 {
  uint8_t low_address[16], high_address[16];
  uint16_t low_port, high_port;
  uint16_t zone;
  IpProto proto;
  uint8_t leg;
  bool operator==(const FlowKey6& other) const { return std::memcmp(this, &other, sizeof *this) == 0; }
};
static_assert(sizeof(FlowKey6) == 40);

/// A packet's key in the table of its family.
struct PacketKey {
  FlowKey4 v4;
  FlowKey6 v6;
};

enum class PacketKind : uint8_t {
  kFlow,       ///< belongs to a flow by its own key
  kIcmpError,  ///< belongs to the flow of the packet that it quotes; the key is that one's
  kArp,
  kNeighbour,  ///< ICMPv6 133-136
  kFragment,   ///< of a datagram that isn't whole yet; l4 is where its payload begins
  kUnderlay,   ///< ARP or neighbour discovery of an overlay port's own
  kRelayed,    ///< of a flow, from the mTLS relay
};

/// How a packet may begin a flow.
enum class Opening : uint8_t {
  kMay,      ///< UDP, an ICMP query, a TCP SYN, other protocols
  kTcpNot,   ///< TCP that isn't a bare SYN
  kIcmpNot,  ///< an ICMP reply
};

struct PacketMeta {
  uint64_t hash;       ///< flow_hash of the key
  uint32_t candidate;  ///< slot that the flow most likely has; only a hint
  uint32_t service;    ///< ServiceKey, as the packet's own sender asks; 0: none
  uint16_t l3, l4;     ///< offsets of the headers in the frame
  uint16_t vlan;       ///< 0: untagged
  uint16_t ip_bytes;   ///< of the IP packet, headers included; frame bytes after it are padding. Of a
                       ///< fragmented datagram the most that one of its fragments has
  uint16_t destination_port, source_port;  ///< host order; ICMP: 0 and id
  uint8_t in_port;                         ///< PortId
  Opening opening;
  uint8_t source_is_high;  ///< 1: the packet's source is the key's high end; for kIcmpError: the quoted
                           ///< packet's source is
  IpProto proto;
  uint8_t icmp_type;
  uint8_t brief;   ///< 1: service, ports and opening are still to be read, by read_rest()
  SegmentTag tag;  ///< that it came with and that its port believes; kTagNone: none
  // Read at once by is_plain().
  uint8_t family;  ///< 4, 6; 0: not IP
  PacketKind kind;
  DropReason reason;  ///< kNone: goes on
  uint8_t fragment;   ///< 1: a fragment (IPv6 atomic ones excepted), or a datagram of them
};
static_assert(sizeof(PacketMeta) == 40);

/// Whether a packet was found good and belongs to an IPv4 flow by its own key.
inline bool is_plain(const PacketMeta& meta) noexcept {
  uint32_t word;
  static_assert(offsetof(PacketMeta, fragment) == offsetof(PacketMeta, family) + 3);
  std::memcpy(&word, &meta.family, sizeof word);
  constexpr uint32_t kPlain = 4 | uint32_t{static_cast<uint8_t>(PacketKind::kFlow)} << 8 |
                              uint32_t{static_cast<uint8_t>(DropReason::kNone)} << 16;
  return word == kPlain;
}

}  // namespace bulkhead
