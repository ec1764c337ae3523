// The packet inside an ICMP error (RFC 792, RFC 4443 §2.4): enough of it to find its flow.
#include <cstring>

#include "base/bytes.h"
#include "dataplane/fastpath/parse_l4.h"
#include "wire/icmp.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"

namespace bulkhead {
namespace {

/// Ports of the quoted packet, from the 8 bytes that every error must quote.
bool quoted_ports(IpProto proto, std::span<const uint8_t> l4, PortPair& ports) noexcept {
  if (l4.size() < 8) return false;
  if (has_ports(proto)) {
    ports = {load<uint16_t>(l4.data()), load<uint16_t>(l4.data() + 2), true};
    return true;
  }
  if (proto == IpProto::kIcmp || proto == IpProto::kIcmpv6) {
    // Only queries have flows, and an error about an error is never sent.
    uint8_t type = l4[0], query = proto == IpProto::kIcmp ? kIcmpEcho : kIcmpv6Echo;
    uint8_t answer = proto == IpProto::kIcmp ? kIcmpEchoReply : kIcmpv6EchoReply;
    if (type != query && type != answer) return false;
    ports = {load<IcmpHeader>(l4.data()).id.raw(), static_cast<uint16_t>(query << 8 | l4[1]), false,
             type == query};
    return true;
  }
  ports = {};
  return true;
}

}  // namespace

DropReason parse_quoted_ipv4(std::span<const uint8_t> icmp, PacketMeta& meta, FlowKey4& key) noexcept {
  auto quoted = icmp.subspan(sizeof(IcmpHeader));
  if (quoted.size() < sizeof(Ipv4Header)) return DropReason::k_icmp_unrelated;
  auto ip = load<Ipv4Header>(quoted.data());
  size_t header = (ip.version_ihl & 0xfu) * 4;
  bool whole = ip.version_ihl >> 4 == 4 && header >= sizeof(Ipv4Header) && header <= quoted.size();
  PortPair ports{};
  if (!whole || (ip.fragment.host() & kIpv4OffsetMask) != 0 ||
      !quoted_ports(ip.proto, quoted.subspan(header), ports))
    return DropReason::k_icmp_unrelated;
  // The error goes to the quoted packet's sender, nobody else.
  if (load<uint32_t>(icmp.data() - meta.l4 + meta.l3 + 16) != ip.source.raw())
    return DropReason::k_icmp_unrelated;
  fill_key(key, meta, ip.proto, ip.source.raw(), ip.destination.raw(), ports);
  return DropReason::kNone;
}

DropReason parse_quoted_ipv6(std::span<const uint8_t> icmp, PacketMeta& meta, FlowKey6& key) noexcept {
  auto quoted = icmp.subspan(sizeof(IcmpHeader));
  if (quoted.size() < sizeof(Ipv6Header)) return DropReason::k_icmp_unrelated;
  auto ip = load<Ipv6Header>(quoted.data());
  PortPair ports{};
  IpProto proto = ip.next_header;
  auto l4 = quoted.subspan(sizeof(Ipv6Header));
  if (proto == IpProto::kFragment) {  // the first one only: in others there is nothing to know a flow by
    if (l4.size() < sizeof(Ipv6Fragment)) return DropReason::k_icmp_unrelated;
    auto fragment = load<Ipv6Fragment>(l4.data());
    if ((fragment.offset_more.host() & kIpv6FragmentOffsetMask) != 0) return DropReason::k_icmp_unrelated;
    proto = fragment.next_header;
    l4 = l4.subspan(sizeof(Ipv6Fragment));
  }
  // Any other extension header isn't looked through: the packet is unrelated, and its sender times out.
  if (ip.version_class_flow.host() >> 28 != 6 || !quoted_ports(proto, l4, ports))
    return DropReason::k_icmp_unrelated;
  if (std::memcmp(icmp.data() - meta.l4 + meta.l3 + 24, ip.source, 16) != 0)
    return DropReason::k_icmp_unrelated;
  fill_key(key, meta, proto, ip.source, ip.destination, ports);
  return DropReason::kNone;
}

size_t quoted_l4_offset(const uint8_t* icmp, bool v4) noexcept {
  const uint8_t* quoted = icmp + sizeof(IcmpHeader);
  if (v4) return sizeof(IcmpHeader) + (quoted[0] & 0xfu) * size_t{4};
  bool fragment = load<Ipv6Header>(quoted).next_header == IpProto::kFragment;
  return sizeof(IcmpHeader) + sizeof(Ipv6Header) + (fragment ? sizeof(Ipv6Fragment) : 0);
}

}  // namespace bulkhead
