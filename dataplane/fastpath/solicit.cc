#include "dataplane/fastpath/solicit.h"

#include "base/bytes.h"
#include "wire/arp.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/icmp.h"
#include "wire/ipv6.h"

namespace bulkhead {
namespace {

rte_mbuf* make_frame(PipelineState& s, const MacAddress& to, const MacAddress& from, EtherType type,
                     size_t bytes, uint8_t*& payload) noexcept {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(s.parts.pool);
  if (mbuf == nullptr) return nullptr;
  size_t total = sizeof(EthernetHeader) + bytes;
  auto* frame = reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(total)));
  if (frame == nullptr) {
    rte_pktmbuf_free(mbuf);
    return nullptr;
  }
  EthernetHeader header{to, from, Be16(static_cast<uint16_t>(type))};
  store(frame, header);
  payload = frame + sizeof header;
  return mbuf;
}

rte_mbuf* make_arp(PipelineState& s, const MacAddress& to, const ArpHeader& arp) noexcept {
  uint8_t* payload = nullptr;
  rte_mbuf* mbuf = make_frame(s, to, arp.sender_mac, EtherType::kArp, sizeof arp, payload);
  if (mbuf != nullptr) store(payload, arp);
  return mbuf;
}

ArpHeader arp_of(const MacAddress& mac, const IpAddress& own, const MacAddress& target_mac,
                 const IpAddress& target, uint16_t operation) noexcept {
  ArpHeader arp{};
  arp.hardware_type.set(kArpHardwareEthernet);
  arp.protocol_type.set(static_cast<uint16_t>(EtherType::kIpv4));
  arp.hardware_length = 6;
  arp.protocol_length = 4;
  arp.operation.set(operation);
  arp.sender_mac = mac;
  arp.sender_ip.set(own.v4_host());
  arp.target_mac = target_mac;
  arp.target_ip.set(target.v4_host());
  return arp;
}

/// A neighbour solicitation or advertisement with one link-layer address option.
rte_mbuf* make_nd(PipelineState& s, const MacAddress& to_mac, const MacAddress& own_mac,
                  const IpAddress& from, const IpAddress& to, uint8_t type, uint32_t flags,
                  const IpAddress& target, uint8_t option) noexcept {
  constexpr size_t kBytes = sizeof(NeighbourMessage) + 8;
  uint8_t* payload = nullptr;
  rte_mbuf* mbuf = make_frame(s, to_mac, own_mac, EtherType::kIpv6, sizeof(Ipv6Header) + kBytes, payload);
  if (mbuf == nullptr) return nullptr;
  Ipv6Header ip{};
  ip.version_class_flow.set(6u << 28);
  ip.payload_length.set(kBytes);
  ip.next_header = IpProto::kIcmpv6;
  ip.hop_limit = kNdHopLimit;
  std::memcpy(ip.source, from.bytes.data(), 16);
  std::memcpy(ip.destination, to.bytes.data(), 16);
  store(payload, ip);
  uint8_t* icmp = payload + sizeof ip;
  NeighbourMessage nd{type, 0, Be16{}, Be32(flags), {}};
  std::memcpy(nd.target, target.bytes.data(), 16);
  store(icmp, nd);
  icmp[sizeof nd] = option;
  icmp[sizeof nd + 1] = 1;
  store(icmp + sizeof nd + 2, own_mac);
  uint64_t sum = checksum_sum(payload + 8, 32) +
                 pseudo_header_sum(static_cast<uint8_t>(IpProto::kIcmpv6), kBytes) +
                 checksum_sum(icmp, kBytes);
  store(icmp + 2, checksum_finish(sum));
  return mbuf;
}

}  // namespace

const IpAddress* own_address_for(const PortView& port, const IpAddress& other) noexcept {
  const IpAddress* first = nullptr;
  for (const Prefix& own : port.addresses) {
    if (own.address.is_v4() != other.is_v4()) continue;
    if (own.contains(other)) return &own.address;
    if (first == nullptr) first = &own.address;
  }
  return first;
}

IpAddress link_local_of(const MacAddress& mac) noexcept {
  IpAddress a;
  a.bytes = {0xfe,
             0x80,
             0,
             0,
             0,
             0,
             0,
             0,
             static_cast<uint8_t>(mac.bytes[0] ^ 2),
             mac.bytes[1],
             mac.bytes[2],
             0xff,
             0xfe,
             mac.bytes[3],
             mac.bytes[4],
             mac.bytes[5]};
  return a;
}

rte_mbuf* make_solicitation(PipelineState& s, const MacAddress& mac, const IpAddress& own,
                            const IpAddress& address, const MacAddress* owner) noexcept {
  if (address.is_v4())
    return make_arp(s, owner != nullptr ? *owner : kMacBroadcast,
                    arp_of(mac, own, MacAddress{}, address, kArpRequest));
  if (owner != nullptr)
    return make_nd(s, *owner, mac, own, address, kIcmpv6NeighbourSolicitation, 0, address,
                   kNdOptionSourceLinkLayer);
  // The solicited-node group: ff02::1:ff00:0/104 and the last 24 bits (RFC 4291 §2.7.1), on Ethernet 33:33
  // and the last 32 (RFC 2464 §7).
  IpAddress group;
  group.bytes = {
      0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, address.bytes[13], address.bytes[14], address.bytes[15]};
  MacAddress to{{0x33, 0x33, 0xff, address.bytes[13], address.bytes[14], address.bytes[15]}};
  return make_nd(s, to, mac, own, group, kIcmpv6NeighbourSolicitation, 0, address, kNdOptionSourceLinkLayer);
}

rte_mbuf* make_arp_reply(PipelineState& s, const PortView& port, const IpAddress& address,
                         const IpAddress& asker, const MacAddress& asker_mac) noexcept {
  return make_arp(s, asker_mac, arp_of(port.mac, address, asker_mac, asker, kArpReply));
}

rte_mbuf* make_advertisement(PipelineState& s, const PortView& port, const IpAddress& address,
                             const IpAddress& asker, const MacAddress& asker_mac) noexcept {
  // An unspecified asker tests for duplicates: all nodes are told (RFC 4861 §7.2.4).
  bool nameless = asker == IpAddress{};
  IpAddress all_nodes;
  all_nodes.bytes = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  uint32_t flags = kNdFlagRouter | kNdFlagOverride | (nameless ? 0 : kNdFlagSolicited);
  return make_nd(s, nameless ? MacAddress{{0x33, 0x33, 0, 0, 0, 1}} : asker_mac, port.mac, address,
                 nameless ? all_nodes : asker, kIcmpv6NeighbourAdvertisement, flags, address,
                 kNdOptionTargetLinkLayer);
}

}  // namespace bulkhead
