#include "dataplane/fastpath/parse_l4.h"

#include <nmmintrin.h>

#include "dataplane/fastpath/parse.h"
#include "wire/checksum.h"
#include "wire/icmp.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"

namespace bulkhead {
namespace {

bool checksum_wrong(std::span<const uint8_t> covered, uint64_t pseudo_addresses, IpProto proto) noexcept {
  uint64_t sum = pseudo_addresses +
                 pseudo_header_sum(static_cast<uint8_t>(proto), static_cast<uint32_t>(covered.size()));
  return !checksum_holds(sum + checksum_sum(covered.data(), covered.size()));
}

DropReason parse_tcp(std::span<const uint8_t> l4, uint64_t pseudo_addresses, uint8_t flags, PacketMeta& meta,
                     PortPair& ports) noexcept {
  if (l4.size() < sizeof(TcpHeader)) return DropReason::k_l4_truncated;
  auto tcp = load<TcpHeader>(l4.data());
  size_t header = (tcp.data_offset >> 4) * 4u;
  if (header < sizeof(TcpHeader) || header > l4.size()) return DropReason::k_l4_truncated;
  if (!(flags & kSkipL4Checksum) && checksum_wrong(l4, pseudo_addresses, IpProto::kTcp))
    return DropReason::k_l4_checksum;
  if (!are_tcp_flags_valid(tcp.flags)) return DropReason::k_tcp_flags_invalid;
  meta.opening = tcp_opening(tcp.flags);
  ports = {tcp.source_port.raw(), tcp.destination_port.raw(), true};
  return DropReason::kNone;
}

DropReason parse_udp(std::span<const uint8_t> l4, uint64_t pseudo_addresses, uint8_t flags, PacketMeta& meta,
                     PortPair& ports) noexcept {
  if (l4.size() < sizeof(UdpHeader)) return DropReason::k_l4_truncated;
  auto udp = load<UdpHeader>(l4.data());
  size_t length = udp.length.host();
  if (length < sizeof(UdpHeader) || length > l4.size()) return DropReason::k_l4_truncated;
  bool unchecked = udp.checksum.raw() == 0 && meta.family == 4;  // RFC 768; RFC 8200 §8.1 forbids it
  if (!unchecked && !(flags & kSkipL4Checksum) &&
      (udp.checksum.raw() == 0 || checksum_wrong(l4.first(length), pseudo_addresses, IpProto::kUdp)))
    return DropReason::k_l4_checksum;
  ports = {udp.source_port.raw(), udp.destination_port.raw(), true};
  return DropReason::kNone;
}

/// CRC-32C with the checksum field taken as 0 (RFC 9260 §6.8).
uint32_t sctp_checksum(std::span<const uint8_t> l4) noexcept {
  const uint8_t *at = l4.data() + sizeof(SctpHeader), *end = l4.data() + l4.size();
  uint64_t crc = _mm_crc32_u64(~0u, load<uint64_t>(l4.data()));
  crc = _mm_crc32_u32(static_cast<uint32_t>(crc), 0);
  for (; end - at >= 8; at += 8) crc = _mm_crc32_u64(crc, load<uint64_t>(at));
  auto rest = static_cast<uint32_t>(crc);
  for (; at != end; ++at) rest = _mm_crc32_u8(rest, *at);
  return ~rest;
}

DropReason parse_sctp(std::span<const uint8_t> l4, uint8_t flags, PortPair& ports) noexcept {
  if (l4.size() < sizeof(SctpHeader)) return DropReason::k_l4_truncated;
  auto sctp = load<SctpHeader>(l4.data());
  if (!(flags & kSkipL4Checksum) && sctp.checksum.raw() != sctp_checksum(l4))
    return DropReason::k_l4_checksum;
  ports = {sctp.source_port.raw(), sctp.destination_port.raw(), true};
  return DropReason::kNone;
}

/// The query that this message is, or answers, for the flow key; and how it may open a flow.
struct IcmpRole {
  uint8_t query_type;
  Opening opening;
  bool has_id;
};

IcmpRole icmp_role(uint8_t type) noexcept {
  switch (type) {
    case kIcmpEcho:
    case kIcmpTimestamp:
    case 15:  // information request
    case 17:  // address mask request
      return {type, Opening::kMay, true};
    case kIcmpEchoReply:
      return {kIcmpEcho, Opening::kIcmpNot, true};
    case kIcmpTimestampReply:
    case 16:
    case 18:
      return {static_cast<uint8_t>(type - 1), Opening::kIcmpNot, true};
    default:
      return {type, Opening::kMay, false};
  }
}

IcmpRole icmpv6_role(uint8_t type) noexcept {
  if (type == kIcmpv6EchoReply) return {kIcmpv6Echo, Opening::kIcmpNot, true};
  return {type, Opening::kMay, type == kIcmpv6Echo};
}

DropReason parse_icmp(std::span<const uint8_t> l4, uint64_t pseudo_addresses, uint8_t flags, PacketMeta& meta,
                      PortPair& ports) noexcept {
  if (l4.size() < sizeof(IcmpHeader)) return DropReason::k_l4_truncated;
  bool v6 = meta.proto == IpProto::kIcmpv6;
  if (!(flags & kSkipL4Checksum)) {
    bool wrong = v6 ? checksum_wrong(l4, pseudo_addresses, IpProto::kIcmpv6)
                    : !checksum_holds(checksum_sum(l4.data(), l4.size()));
    if (wrong) return DropReason::k_l4_checksum;
  }
  auto icmp = load<IcmpHeader>(l4.data());
  meta.icmp_type = icmp.type;
  meta.service = service_key(meta.proto, static_cast<uint16_t>(icmp.type << 8 | icmp.code)).value;
  bool error = v6 ? icmp.type < kIcmpv6FirstInformational
                  : icmp.type == kIcmpUnreachable || icmp.type == kIcmpTimeExceeded ||
                        icmp.type == kIcmpParameterProblem;
  if (v6 ? icmp.type == kIcmpv6Redirect : icmp.type == kIcmpRedirect || icmp.type == kIcmpSourceQuench)
    return DropReason::k_icmp_forbidden;
  if (error) {
    // An MTU that no link has would make the sender cut its packets to pieces (RFC 1191 §3, RFC 8201 §4).
    uint32_t rest = load<Be32>(l4.data() + 4).host();
    bool tiny_mtu = v6 ? icmp.type == kIcmpv6PacketTooBig && rest < kIpv6MinMtu
                       : icmp.type == kIcmpUnreachable && icmp.code == kIcmpFragmentationNeeded &&
                             (rest & 0xffff) < kIpv4MinMtu;
    if (tiny_mtu) return DropReason::k_icmp_forbidden;
    meta.kind = PacketKind::kIcmpError;
    return DropReason::kNone;
  }
  if (v6 && icmp.type >= kIcmpv6RouterSolicitation && icmp.type <= kIcmpv6NeighbourAdvertisement) {
    meta.kind = PacketKind::kNeighbour;
    return DropReason::kNone;
  }
  IcmpRole role = v6 ? icmpv6_role(icmp.type) : icmp_role(icmp.type);
  meta.opening = role.opening;
  meta.source_port = role.has_id ? icmp.id.host() : 0;
  ports = {role.has_id ? icmp.id.raw() : uint16_t{0}, static_cast<uint16_t>(role.query_type << 8 | icmp.code),
           false, role.opening == Opening::kMay};
  return DropReason::kNone;
}

}  // namespace

DropReason parse_l4(std::span<const uint8_t> l4, uint64_t pseudo_addresses, uint8_t parse_flags,
                    PacketMeta& meta, PortPair& ports) noexcept {
  DropReason reason;
  switch (meta.proto) {
    case IpProto::kTcp:
      reason = parse_tcp(l4, pseudo_addresses, parse_flags, meta, ports);
      break;
    case IpProto::kUdp:
      reason = parse_udp(l4, pseudo_addresses, parse_flags, meta, ports);
      break;
    case IpProto::kSctp:
      reason = parse_sctp(l4, parse_flags, ports);
      break;
    case IpProto::kIcmp:
      if (meta.family != 4) return DropReason::k_ip_malformed;
      return parse_icmp(l4, pseudo_addresses, parse_flags, meta, ports);
    case IpProto::kIcmpv6:
      if (meta.family != 6) return DropReason::k_ip_malformed;
      return parse_icmp(l4, pseudo_addresses, parse_flags, meta, ports);
    default:  // opaque: one flow for each pair of addresses and protocol
      meta.service = service_key(meta.proto).value;
      return DropReason::kNone;
  }
  if (reason != DropReason::kNone) return reason;
  meta.source_port = __builtin_bswap16(ports.source);
  meta.destination_port = __builtin_bswap16(ports.destination);
  meta.service = service_key(meta.proto, meta.destination_port).value;
  return DropReason::kNone;
}

}  // namespace bulkhead
