// Transport headers, for both families.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/bytes.h"
#include "dataplane/fastpath/packet.h"
#include "wire/transport.h"

namespace bulkhead {

/// What stands for ports in the flow key, as in the packet. `ordered`: they go with the addresses when those
/// change places; else (ICMP, others) `source` is the key's low port and `destination` its high one whichever
/// way the packet goes.
struct PortPair {
  uint16_t source, destination;
  bool ordered;
  bool asks = false;  ///< ICMP: a query or a message of its own, not an answer
};

/// The key's leg, for a packet whose source is the key's high end or not.
constexpr uint8_t leg_of(IpProto proto, const PortPair& ports, bool source_is_high) {
  bool icmp = proto == IpProto::kIcmp || proto == IpProto::kIcmpv6;
  return icmp && source_is_high == ports.asks ? kLegQueryFromHigh : 0;
}

/// Whether honest stacks send this combination of FIN, SYN, RST, ACK and URG; PSH, ECE and CWR may join any
/// (RFC 9293 §3.10, RFC 3168 §6.1.1).
constexpr bool are_tcp_flags_valid(uint8_t flags) {
  constexpr uint64_t kValid = [] {
    uint64_t valid = 0;
    for (unsigned f : {0x02u, 0x12u, 0x22u, 0x04u, 0x14u, 0x11u, 0x31u, 0x10u, 0x30u})
      valid |= uint64_t{1} << f;
    return valid;
  }();
  return (kValid >> (flags & 0x37) & 1) != 0;
}
constexpr Opening tcp_opening(uint8_t flags) {
  return (flags & (kTcpSyn | kTcpAck)) == kTcpSyn ? Opening::kMay : Opening::kTcpNot;
}

/// The fewest bytes of a first fragment that hold the transport header.
constexpr size_t min_l4_bytes(IpProto proto) {
  switch (proto) {
    case IpProto::kTcp:
      return sizeof(TcpHeader);
    case IpProto::kSctp:
      return sizeof(SctpHeader);
    default:
      return 8;  // UDP, ICMP, ICMPv6; and the most that one needs of any other
  }
}

/// Whether a first fragment's payload from there on has the whole transport header (RFC 1858 §3, RFC 7112).
inline bool holds_l4_header(IpProto proto, std::span<const uint8_t> l4) noexcept {
  if (l4.size() < min_l4_bytes(proto)) return false;
  return proto != IpProto::kTcp || l4.size() >= (l4[offsetof(TcpHeader, data_offset)] >> 4) * size_t{4};
}

/// Whether the packet's source is the key's high end.
inline bool is_high(uint32_t source, uint16_t source_port, uint32_t destination, uint16_t destination_port,
                    bool ordered) noexcept {
  uint64_t s = uint64_t{source} << 16 | (ordered ? source_port : 0),
           d = uint64_t{destination} << 16 | (ordered ? destination_port : 0);
  return s > d;
}

/// Fills in a key but for its zone, and meta.source_is_high. Addresses as they stand in the packet.
inline void fill_key(FlowKey4& key, PacketMeta& meta, IpProto proto, uint32_t source, uint32_t destination,
                     const PortPair& ports) noexcept {
  bool high = is_high(source, ports.source, destination, ports.destination, ports.ordered);
  bool swap_ports = ports.ordered && high;
  meta.source_is_high = high;
  key.low_address = high ? destination : source;
  key.high_address = high ? source : destination;
  key.low_port = swap_ports ? ports.destination : ports.source;
  key.high_port = swap_ports ? ports.source : ports.destination;
  key.proto = proto;
  key.leg = leg_of(proto, ports, high);
}
inline void fill_key(FlowKey6& key, PacketMeta& meta, IpProto proto, const uint8_t (&source)[16],
                     const uint8_t (&destination)[16], const PortPair& ports) noexcept {
  bool high = std::memcmp(source, destination, 16) > 0;
  bool swap_ports = ports.ordered && high;
  meta.source_is_high = high;
  std::memcpy(key.low_address, high ? destination : source, 16);
  std::memcpy(key.high_address, high ? source : destination, 16);
  key.low_port = swap_ports ? ports.destination : ports.source;
  key.high_port = swap_ports ? ports.source : ports.destination;
  key.proto = proto;
  key.leg = leg_of(proto, ports, high);
}

/// Checks the transport header and checksum of a whole packet and fills in proto-dependent fields of `meta`
/// (proto is set already). `pseudo_addresses`: the addresses' part of the pseudo-header sum.
DropReason parse_l4(std::span<const uint8_t> l4, uint64_t pseudo_addresses, uint8_t parse_flags,
                    PacketMeta& meta, PortPair& ports) noexcept;

/// The key of the packet that an ICMP error quotes. Its source is the error's receiver.
/// Errors: icmp_unrelated where it isn't the beginning of a packet that could belong to a flow.
DropReason parse_quoted_ipv4(std::span<const uint8_t> icmp, PacketMeta& meta, FlowKey4& key) noexcept;
DropReason parse_quoted_ipv6(std::span<const uint8_t> icmp, PacketMeta& meta, FlowKey6& key) noexcept;
/// Where the quoted packet's transport header begins in an ICMP error that one of the two found good. Eight
/// bytes of it are there.
size_t quoted_l4_offset(const uint8_t* icmp, bool v4) noexcept;

}  // namespace bulkhead
