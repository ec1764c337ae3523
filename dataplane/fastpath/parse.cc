#include "dataplane/fastpath/parse.h"

#include "base/bytes.h"
#include "dataplane/fastpath/parse_ipv6.h"
#include "dataplane/fastpath/parse_l4.h"
#include "dataplane/fastpath/parse_plain.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"

namespace bulkhead {
namespace {

/// A DHCP client that has no address yet; everything else from 0.0.0.0 or to 255.255.255.255 is refused.
bool is_dhcp_request(const Ipv4Header& ip, std::span<const uint8_t> l4) noexcept {
  if (ip.source.host() != 0 || ip.destination.host() != 0xffffffff || ip.proto != IpProto::kUdp) return false;
  if (l4.size() < sizeof(UdpHeader)) return false;
  auto udp = load<UdpHeader>(l4.data());
  return udp.source_port.host() == 68 && udp.destination_port.host() == 67;
}

/// RFC 7126: source routes, record route and timestamps are refused, as is an option list that doesn't add
/// up.
DropReason check_options(std::span<const uint8_t> options) noexcept {
  while (!options.empty()) {
    uint8_t type = options[0];
    if (type == kIpv4OptionEnd) return DropReason::kNone;
    if (type == kIpv4OptionNop) {
      options = options.subspan(1);
      continue;
    }
    if (type == kIpv4OptionLooseRoute || type == kIpv4OptionStrictRoute || type == kIpv4OptionRecordRoute ||
        type == kIpv4OptionTimestamp)
      return DropReason::k_ip_options;
    if (options.size() < 2 || options[1] < 2 || options[1] > options.size())
      return DropReason::k_ip_malformed;
    options = options.subspan(options[1]);
  }
  return DropReason::kNone;
}

DropReason check_fragment(const Ipv4Header& ip, std::span<const uint8_t> payload) noexcept {
  uint16_t field = ip.fragment.host();
  size_t offset = (field & kIpv4OffsetMask) * 8u;
  bool more = (field & kIpv4MoreFragments) != 0;
  if (payload.empty() || (more && payload.size() % 8 != 0) || offset + payload.size() > 65535 - 20)
    return DropReason::k_fragment_invalid;
  if (offset == 0 && !holds_l4_header(ip.proto, payload)) return DropReason::k_fragment_tiny;  // RFC 1858 §3
  if (offset == 8 && ip.proto == IpProto::kTcp) return DropReason::k_fragment_tiny;            // RFC 3128
  return DropReason::kNone;
}

DropReason parse_full_ipv4(std::span<const uint8_t> frame, uint8_t parse_flags, PacketMeta& meta,
                           FlowKey4& key) noexcept {
  if (frame.size() < meta.l3 + sizeof(Ipv4Header)) [[unlikely]]
    return DropReason::k_frame_truncated;
  const uint8_t* at = frame.data() + meta.l3;
  auto ip = load<Ipv4Header>(at);
  size_t header = (ip.version_ihl & 0xfu) * 4, total = ip.total_length.host();
  if (ip.version_ihl >> 4 != 4 || header < kIpv4MinIhl * 4 || total < header ||
      meta.l3 + total > frame.size()) [[unlikely]]
    return DropReason::k_ip_malformed;
  if (!(parse_flags & kSkipIpChecksum) && !checksum_holds(checksum_sum(at, header))) [[unlikely]]
    return DropReason::k_ip_checksum;
  if (header > sizeof(Ipv4Header)) [[unlikely]]
    if (auto refused = check_options({at + sizeof(Ipv4Header), header - sizeof(Ipv4Header)});
        refused != DropReason::kNone)
      return refused;

  std::span<const uint8_t> l4{at + header, total - header};
  meta.family = 4;
  meta.ip_bytes = static_cast<uint16_t>(total);
  meta.l4 = static_cast<uint16_t>(meta.l3 + header);
  meta.proto = ip.proto;
  bool bad = (parse_detail::kPlain.bad_source[at[12]] | parse_detail::kPlain.bad_destination[at[16]]) != 0;
  meta.fragment = (ip.fragment.host() & (kIpv4MoreFragments | kIpv4OffsetMask)) != 0;
  if (bad || ip.source == ip.destination) [[unlikely]]
    if (meta.fragment || !is_dhcp_request(ip, l4)) return DropReason::k_ip_address_invalid;
  if (meta.fragment) [[unlikely]] {
    meta.kind = PacketKind::kFragment;
    return check_fragment(ip, l4);
  }

  // Addresses add up the same in any order of words: source and destination as one stretch of 8 bytes.
  uint64_t pseudo = checksum_sum(at + 12, 8);
  PortPair ports{};
  auto reason = parse_l4(l4, pseudo, parse_flags, meta, ports);
  if (reason != DropReason::kNone) [[unlikely]]
    return reason;
  if (meta.kind == PacketKind::kIcmpError) return parse_quoted_ipv4(l4, meta, key);
  fill_key(key, meta, meta.proto, ip.source.raw(), ip.destination.raw(), ports);
  return DropReason::kNone;
}

/// The short way of a tagged frame. False: `meta` is as it was.
bool parse_tagged(std::span<const uint8_t> frame, const LinkPart& link, PacketMeta& meta,
                  FlowKey4& key) noexcept {
  constexpr size_t kL3 = sizeof(EthernetHeader) + sizeof(VlanHeader);
  if (!parse_plain_ipv4(frame.data(), frame.size(), kL3, link, meta, key)) return false;
  read_rest(frame.data(), meta);
  return true;
}

/// VLAN and EtherType. Afterwards meta.l3 is where the next header starts.
DropReason parse_link(std::span<const uint8_t> frame, const PortView& port, bool route_mode, PacketMeta& meta,
                      uint16_t& ether_type) noexcept {
  if (frame.size() < sizeof(EthernetHeader)) [[unlikely]]
    return DropReason::k_frame_truncated;
  ether_type = load<Be16>(frame.data() + 12).host();
  meta.l3 = sizeof(EthernetHeader);
  meta.vlan = 0;
  if (frame[6] & 1) [[unlikely]]
    return DropReason::k_ip_address_invalid;  // a group address as source MAC (IEEE 802.3 §3.2.3)
  if (ether_type == static_cast<uint16_t>(EtherType::kVlan)) {
    if (frame.size() < sizeof(EthernetHeader) + sizeof(VlanHeader)) return DropReason::k_frame_truncated;
    auto tag = load<VlanHeader>(frame.data() + 14);
    meta.vlan = tag.control.host() & kVlanIdMask;
    // A priority tag (VLAN 0) carries no VLAN at all and hides what follows from simpler filters (VU#855201).
    if (meta.vlan == 0 || meta.vlan == kVlanIdReserved || route_mode || !port.vlans[meta.vlan])
      return DropReason::k_vlan_unexpected;
    ether_type = tag.ether_type.host();
    meta.l3 += sizeof(VlanHeader);
  }
  if (ether_type == static_cast<uint16_t>(EtherType::kVlan) ||
      ether_type == static_cast<uint16_t>(EtherType::kQinq) || ether_type == 0x9100) [[unlikely]]
    return DropReason::k_vlan_unexpected;
  if (ether_type < kEtherTypeMin) [[unlikely]]
    return DropReason::k_llc_unsupported;
  return DropReason::kNone;
}

uint16_t zone_of(const PortView& port, bool route_mode, const PacketMeta& meta) noexcept {
  return route_mode ? 0 : static_cast<uint16_t>(port.wire << 12 | meta.vlan);
}

}  // namespace

DropReason parse_frame(std::span<const uint8_t> frame, const PortView& port, bool route_mode,
                       uint8_t parse_flags, PacketMeta& meta, PacketKey& key) noexcept {
  bool shortcut = (parse_flags & kNoShortcut) == 0;
  if (shortcut &&
      parse_plain(frame.data(), frame.size(), untagged_link(port, route_mode, parse_flags), meta, key.v4)) {
    read_rest(frame.data(), meta);
    return DropReason::kNone;
  }
  meta = PacketMeta{};
  meta.in_port = port.id.value;
  if (port.relay) meta.kind = PacketKind::kRelayed;
  uint16_t ether_type = 0;
  meta.reason = parse_link(frame, port, route_mode, meta, ether_type);
  if (meta.reason != DropReason::kNone) [[unlikely]]
    return meta.reason;
  uint16_t zone = zone_of(port, route_mode, meta);
  switch (static_cast<EtherType>(ether_type)) {
    case EtherType::kIpv4:
      if (shortcut && meta.vlan != 0 &&
          parse_tagged(frame, plain_link(meta.l3, meta.vlan, zone, meta.in_port, parse_flags), meta, key.v4))
        return DropReason::kNone;
      key.v4.zone = zone;
      meta.reason = parse_full_ipv4(frame, parse_flags, meta, key.v4);
      break;
    case EtherType::kIpv6:
      meta.reason = parse_ipv6(frame, parse_flags, meta, key.v6);
      key.v6.zone = zone;
      break;
    case EtherType::kArp:
      meta.kind = PacketKind::kArp;
      break;
    case EtherType::kCiscoMetadata:
      meta.reason = DropReason::k_tag_untrusted;
      break;
    default:
      meta.reason = DropReason::k_ethertype_unsupported;
  }
  return meta.reason;
}

DropReason parse_datagram(std::span<const uint8_t> frame, const PortView& port, bool route_mode,
                          uint8_t parse_flags, PacketMeta& meta, PacketKey& key) noexcept {
  meta = PacketMeta{};
  meta.in_port = port.id.value;
  uint16_t ether_type = 0;
  meta.reason = parse_link(frame, port, route_mode, meta, ether_type);
  if (meta.reason != DropReason::kNone) return meta.reason;
  uint16_t zone = zone_of(port, route_mode, meta);
  if (static_cast<EtherType>(ether_type) == EtherType::kIpv4) {
    key.v4.zone = zone;
    // Each fragment's header had the right checksum; this one is nobody's.
    meta.reason = parse_full_ipv4(frame, parse_flags | kSkipIpChecksum, meta, key.v4);
  } else {
    meta.reason =
        parse_ipv6_payload(frame, frame.subspan(meta.l3 + sizeof(Ipv6Header)), parse_flags, meta, key.v6);
    key.v6.zone = zone;
  }
  return meta.reason;
}

}  // namespace bulkhead
