#include "dataplane/fastpath/overlay.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "dataplane/fastpath/parse.h"
#include "dataplane/fastpath/solicit.h"
#include "wire/arp.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/icmp.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"
#include "wire/transport.h"
#include "wire/vxlan.h"

namespace bulkhead {
namespace {

/// The outside of a port, as NeighbourTable knows it.
PortId outside_of(const PipelineState& s, PortId port) noexcept {
  return PortId{static_cast<uint8_t>(s.parts.ports.size() + port.value)};
}
Millis millis_of(const PipelineState& s) noexcept {
  return static_cast<Millis>((s.now.ns - s.parts.epoch.ns) / 1'000'000);
}

bool is_peer(const OverlaySetting& overlay, const IpAddress& address) noexcept {
  return std::ranges::find(overlay.peers, address) != overlay.peers.end();
}

/// The VXLAN header, which is there, against what the port expects.
DropReason check_header(const VxlanHeader& header, const OverlaySetting& overlay,
                        OuterFrame& outer) noexcept {
  uint16_t flags = header.flags.host();
  bool grouped = (flags & kVxlanGroup) != 0;
  bool reserved = (flags & ~kVxlanKnownFlags) != 0 || (header.vni.host() & 0xff) != 0 ||
                  (!grouped && (header.group.host() != 0 || (flags & kVxlanPolicyApplied) != 0));
  if ((flags & kVxlanVni) == 0 || reserved) return DropReason::k_vxlan_malformed;
  if (header.vni.host() >> 8 != overlay.vni) return DropReason::k_vxlan_vni_unknown;
  if (header.group.host() == kVxlanGroupInvalid) return DropReason::k_tag_malformed;
  outer.group = SegmentTag{header.group.host()};
  outer.learns = (flags & kVxlanDontLearn) == 0;
  return DropReason::kNone;
}

/// Something of the inner frame that differs from flow to flow, so that what is between the peers may spread
/// them (RFC 7348 §5), and is the same for all packets of one.
uint16_t source_port_for(const uint8_t* frame, size_t bytes) noexcept {
  constexpr uint16_t kFirst = 49'152, kCount = 16'384;  // RFC 6335 §6
  uint64_t sum = 0;
  auto mix = [&](const uint8_t* at, size_t count) {
    for (size_t i = 0; i + 4 <= count; i += 4) sum = (sum ^ load<uint32_t>(at + i)) * 0x9e3779b97f4a7c15u;
  };
  size_t at = load<Be16>(frame + 12).host() == static_cast<uint16_t>(EtherType::kVlan) ? 18 : 14;
  mix(frame, 12);
  constexpr size_t kRead4 = 24, kRead6 = 44;  // addresses and ports
  const uint8_t* ip = frame + at;
  uint16_t type = load<Be16>(ip - 2).host();
  if (type == static_cast<uint16_t>(EtherType::kIpv4) && bytes >= at + kRead4) {
    bool fragment = (load<Be16>(ip + 6).host() & (kIpv4MoreFragments | kIpv4OffsetMask)) != 0;
    mix(ip + 12, 8);
    if (!fragment && ip[0] == 0x45 && (ip[9] == 6 || ip[9] == 17)) mix(ip + 20, 4);
  } else if (type == static_cast<uint16_t>(EtherType::kIpv6) && bytes >= at + kRead6) {
    mix(ip + 8, 32);
    if (ip[6] == 6 || ip[6] == 17) mix(ip + 40, 4);
  }
  return static_cast<uint16_t>(kFirst + (sum >> 40) % kCount);
}

constexpr size_t ip_bytes_of(bool v4) {
  return v4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header);
}

void write_outer_ip(uint8_t* at, const OverlaySetting& overlay, const IpAddress& peer,
                    size_t udp_bytes) noexcept {
  constexpr uint8_t kTtl = 64;
  if (overlay.local.is_v4()) {
    Ipv4Header ip{};
    ip.version_ihl = 0x45;
    ip.total_length.set(static_cast<uint16_t>(sizeof ip + udp_bytes));
    ip.fragment.set(kIpv4DontFragment);  // RFC 7348 §4.3
    ip.ttl = kTtl;
    ip.proto = IpProto::kUdp;
    ip.source.set(overlay.local.v4_host());
    ip.destination.set(peer.v4_host());
    ip.checksum = std::bit_cast<Be16>(checksum_finish(checksum_sum(&ip, sizeof ip)));
    store(at, ip);
  } else {
    Ipv6Header ip{};
    ip.version_class_flow.set(6u << 28);
    ip.payload_length.set(static_cast<uint16_t>(udp_bytes));
    ip.next_header = IpProto::kUdp;
    ip.hop_limit = kTtl;
    std::memcpy(ip.source, overlay.local.bytes.data(), 16);
    std::memcpy(ip.destination, peer.bytes.data(), 16);
    store(at, ip);
  }
}

/// The checksum is 0 over IPv4 (RFC 7348 §4.1), and right over IPv6.
void write_udp(uint8_t* at, const OverlaySetting& overlay, uint16_t source_port, size_t udp_bytes,
               const uint8_t* outer_ip) noexcept {
  UdpHeader udp{Be16(source_port), Be16(overlay.udp_port), Be16(static_cast<uint16_t>(udp_bytes)), Be16{}};
  store(at, udp);
  if (overlay.local.is_v4()) return;
  uint64_t sum = checksum_sum(outer_ip + offsetof(Ipv6Header, source), 32) +
                 pseudo_header_sum(static_cast<uint8_t>(IpProto::kUdp), static_cast<uint32_t>(udp_bytes)) +
                 checksum_sum(at, udp_bytes);
  uint16_t checksum = checksum_finish(sum);
  store(at + offsetof(UdpHeader, checksum), checksum == 0 ? uint16_t{0xffff} : checksum);
}

VxlanHeader header_for(const OverlaySetting& overlay, SegmentTag group) noexcept {
  VxlanHeader header{Be16(kVxlanVni), Be16(group.value), Be32(overlay.vni << 8)};
  // The frame was judged, so whoever is next needn't (draft-smith-vxlan-group-policy §2.1).
  if (group != kTagNone) header.flags.set(kVxlanVni | kVxlanGroup | kVxlanPolicyApplied);
  return header;
}

/// A peer that a frame goes to.
struct Receiver {
  const IpAddress* address;
  MacAddress mac;
};

void encapsulate(rte_mbuf* mbuf, const PortView& port, const Receiver& to, SegmentTag group) noexcept {
  const OverlaySetting& overlay = *port.vxlan;
  uint16_t source_port = source_port_for(frame_of(mbuf), mbuf->data_len);
  size_t ip_bytes = ip_bytes_of(overlay.local.is_v4());
  size_t udp_bytes = sizeof(UdpHeader) + sizeof(VxlanHeader) + mbuf->data_len;
  size_t added = sizeof(EthernetHeader) + ip_bytes + sizeof(UdpHeader) + sizeof(VxlanHeader);
  auto* frame = reinterpret_cast<uint8_t*>(rte_pktmbuf_prepend(mbuf, static_cast<uint16_t>(added)));
  EtherType type = overlay.local.is_v4() ? EtherType::kIpv4 : EtherType::kIpv6;
  store(frame, EthernetHeader{to.mac, port.mac, Be16(static_cast<uint16_t>(type))});
  uint8_t* ip = frame + sizeof(EthernetHeader);
  uint8_t* udp = ip + ip_bytes;
  write_outer_ip(ip, overlay, *to.address, udp_bytes);
  store(udp + sizeof(UdpHeader), header_for(overlay, group));
  write_udp(udp, overlay, source_port, udp_bytes, ip);
}

/// Asks for a peer where that is due.
void ask(PipelineState& s, const PortView& port, const IpAddress& peer) noexcept {
  Question question = s.parts.neighbours->ask(outside_of(s, port.id), peer, millis_of(s));
  if (question.to == Question::To::kNobody) return;
  const MacAddress* owner = question.to == Question::To::kOwner ? &question.owner : nullptr;
  rte_mbuf* mbuf = make_solicitation(s, port.mac, port.vxlan->local, peer, owner);
  if (mbuf == nullptr) return;
  add(s.counters().originated, 1);
  if (!s.tx[port.id.value].put(mbuf)) discard(s, mbuf, DropReason::k_tx_full);
}

/// The peers that a frame to `station` goes to, as far as they are resolved; asks for the others.
size_t receivers_of(PipelineState& s, const PortView& port, const MacAddress& station,
                    std::array<Receiver, kMostPeers>& receivers) noexcept {
  const OverlaySetting& overlay = *port.vxlan;
  size_t first = 0, end = overlay.peers.size();
  if (end > 1 && !station.is_multicast()) {
    uint8_t known = s.parts.stations->find(port.id, station);
    if (known < end) first = known, end = first + 1u;
  }
  size_t count = 0;
  for (size_t i = first; i < end; ++i) {
    const IpAddress& peer = overlay.peers[i];
    auto neighbour = s.parts.neighbours->find(outside_of(s, port.id), peer, millis_of(s));
    if (!neighbour || neighbour->question_due) ask(s, port, peer);
    if (neighbour) receivers[count++] = {&peer, neighbour->mac};
  }
  return count;
}

/// A frame's copy for one more peer; where memory is short it counts as one that found no room.
void put_copy(PipelineState& s, const rte_mbuf* frame, const PortView& port, const Receiver& to,
              SegmentTag group) noexcept {
  add(s.counters().originated, 1);
  rte_mbuf* copy = rte_pktmbuf_copy(frame, s.parts.pool, 0, UINT32_MAX);
  if (copy == nullptr) return add(s.counters().drops[static_cast<size_t>(DropReason::k_tx_full)], 1);
  copy->port = RTE_MBUF_PORT_INVALID;
  encapsulate(copy, port, to, group);
  s.tx[port.id.value].put(copy);
}

void answer_underlay(PipelineState& s, rte_mbuf* answer, PortId out) noexcept {
  if (answer == nullptr) return;
  add(s.counters().originated, 1);
  if (!s.tx[out.value].put(answer)) discard(s, answer, DropReason::k_tx_full);
}

void step_arp(PipelineState& s, const PacketRef& p, const PortView& port) noexcept {
  const OverlaySetting& overlay = *port.vxlan;
  if (p.mbuf->data_len < sizeof(EthernetHeader) + sizeof(ArpHeader))
    return drop(s, p, DropReason::k_arp_invalid);
  auto arp = load<ArpHeader>(frame_of(p.mbuf) + sizeof(EthernetHeader));
  bool request = arp.operation.host() == kArpRequest;
  bool valid = arp.hardware_type.host() == kArpHardwareEthernet &&
               arp.protocol_type.host() == static_cast<uint16_t>(EtherType::kIpv4) &&
               arp.hardware_length == 6 && arp.protocol_length == 4 &&
               (request || arp.operation.host() == kArpReply) && arp.sender_mac == source_mac(p) &&
               !arp.sender_mac.is_zero();
  IpAddress sender = IpAddress::v4(arp.sender_ip.host()), target = IpAddress::v4(arp.target_ip.host());
  if (!valid || sender == overlay.local) return drop(s, p, DropReason::k_arp_invalid);
  if (request && target != overlay.local) return drop(s, p, DropReason::k_underlay_unexpected);
  PortId outside = outside_of(s, port.id);
  if (is_peer(overlay, sender)) {
    if (request)
      s.parts.neighbours->volunteer(outside, sender, arp.sender_mac, millis_of(s));
    else
      s.parts.neighbours->answer(outside, sender, arp.sender_mac, millis_of(s));
  }
  if (request) answer_underlay(s, make_arp_reply(s, port, overlay.local, sender, arp.sender_mac), port.id);
  consume(s, p);
}

void step_discovery(PipelineState& s, const PacketRef& p, const PortView& port) noexcept {
  const OverlaySetting& overlay = *port.vxlan;
  const uint8_t* frame = frame_of(p.mbuf);
  const uint8_t* ip = frame + p.meta->l3;
  const uint8_t* icmp = frame + p.meta->l4;
  size_t bytes = static_cast<size_t>(p.meta->l3 + p.meta->ip_bytes - p.meta->l4);
  bool solicits = icmp[0] == kIcmpv6NeighbourSolicitation;
  if (!solicits && icmp[0] != kIcmpv6NeighbourAdvertisement)
    return drop(s, p, DropReason::k_underlay_unexpected);
  IpAddress source = source_of(ip, false);
  if (ip[offsetof(Ipv6Header, hop_limit)] != kNdHopLimit || icmp[1] != 0 ||
      bytes < sizeof(NeighbourMessage) || source == overlay.local)
    return drop(s, p, DropReason::k_nd_invalid);
  IpAddress target = IpAddress::v6(icmp + offsetof(NeighbourMessage, target));
  PortId outside = outside_of(s, port.id);
  if (solicits) {
    if (target != overlay.local) return drop(s, p, DropReason::k_underlay_unexpected);
    if (is_peer(overlay, source)) s.parts.neighbours->volunteer(outside, source, source_mac(p), millis_of(s));
    answer_underlay(s, make_advertisement(s, port, overlay.local, source, source_mac(p)), port.id);
  } else {
    if (target == overlay.local) return drop(s, p, DropReason::k_nd_invalid);  // somebody claims our address
    // The sender's own MAC: a peer answers for itself.
    if (is_peer(overlay, target)) s.parts.neighbours->answer(outside, target, source_mac(p), millis_of(s));
  }
  consume(s, p);
}

}  // namespace

size_t neighbour_ports(const DataplaneSettings& settings) noexcept {
  bool overlay =
      std::ranges::any_of(settings.ports, [](const PortSetting& p) { return p.vxlan.has_value(); });
  if (overlay) return 2 * settings.ports.size();
  return settings.mode == Mode::kRoute ? settings.ports.size() : 0;
}

DropReason read_outer(std::span<const uint8_t> frame, const PortView& port, uint8_t parse_flags,
                      PacketMeta& meta, OuterFrame& outer) noexcept {
  constexpr bool kUntagged = true;  // as a router's frames
  const OverlaySetting& overlay = *port.vxlan;
  PacketKey key;
  outer = {};
  DropReason reason = parse_frame(frame, port, kUntagged, parse_flags, meta, key);
  if (reason != DropReason::kNone) return reason;
  auto to = load<MacAddress>(frame.data());
  outer.resolves = meta.kind == PacketKind::kArp || meta.kind == PacketKind::kNeighbour;
  if (to != port.mac && !(outer.resolves && to.is_multicast())) return DropReason::k_other_station;
  if (outer.resolves)
    return (meta.kind == PacketKind::kArp) == overlay.local.is_v4() ? DropReason::kNone
                                                                    : DropReason::k_underlay_unexpected;
  bool v4 = meta.family == 4;
  const uint8_t* ip = frame.data() + meta.l3;
  if (v4 != overlay.local.is_v4() || destination_of(ip, v4) != overlay.local)
    return DropReason::k_underlay_unexpected;
  if (meta.kind == PacketKind::kFragment) return DropReason::k_vxlan_fragmented;
  if (meta.kind != PacketKind::kFlow || meta.proto != IpProto::kUdp ||
      meta.destination_port != overlay.udp_port)
    return DropReason::k_underlay_unexpected;
  auto peer = std::ranges::find(overlay.peers, source_of(ip, v4));
  if (peer == overlay.peers.end()) return DropReason::k_vxlan_peer_unknown;
  auto udp = load<UdpHeader>(frame.data() + meta.l4);
  constexpr size_t kHeaders = sizeof(UdpHeader) + sizeof(VxlanHeader);
  if (udp.length.host() < kHeaders + sizeof(EthernetHeader)) return DropReason::k_vxlan_malformed;
  outer.at = static_cast<uint16_t>(meta.l4 + kHeaders);
  outer.bytes = static_cast<uint16_t>(udp.length.host() - kHeaders);
  outer.peer = static_cast<uint8_t>(peer - overlay.peers.begin());
  return check_header(load<VxlanHeader>(frame.data() + meta.l4 + sizeof(UdpHeader)), overlay, outer);
}

void step_underlay(PipelineState& s, const PacketRef& p) noexcept {
  const PortView& port = s.port(p.meta->in_port);
  p.meta->family == 0 ? step_arp(s, p, port) : step_discovery(s, p, port);
}

uint16_t places_for(PipelineState& s, PortId out, const MacAddress& station) noexcept {
  const PortView& port = s.port(out.value);
  if (!port.vxlan) return 1;
  std::array<Receiver, kMostPeers> receivers;
  return static_cast<uint16_t>(receivers_of(s, port, station, receivers));
}

DropReason admit_datagram(PipelineState& s, const rte_mbuf* datagram, PortId out) noexcept {
  uint16_t copies = places_for(s, out, load<MacAddress>(frame_of(datagram)));
  uint32_t packets = packets_in(datagram);
  if (copies == 0) return DropReason::k_neighbour_unresolved;
  if (packets * copies > most_in_use(copies)) return DropReason::k_tx_full;
  bool within = copies == 1 || s.floods[out.value].take(s.ticks, packets);
  return within ? DropReason::kNone : DropReason::k_tx_full;
}

DropReason put_encapsulated(PipelineState& s, rte_mbuf* mbuf, PortId out, SegmentTag group,
                            bool admitted) noexcept {
  const PortView& port = s.port(out.value);
  if (mbuf->pkt_len > port.mtu + uint32_t{sizeof(EthernetHeader)}) return DropReason::k_packet_too_big;
  std::array<Receiver, kMostPeers> receivers;
  auto count = static_cast<uint16_t>(receivers_of(s, port, load<MacAddress>(frame_of(mbuf)), receivers));
  if (count == 0) return DropReason::k_neighbour_unresolved;
  TxQueue& queue = s.tx[out.value];
  constexpr uint16_t kMostAdded =
      sizeof(EthernetHeader) + sizeof(Ipv6Header) + sizeof(UdpHeader) + sizeof(VxlanHeader);
  if (queue.count + count > most_in_use(count) || rte_pktmbuf_headroom(mbuf) < kMostAdded)
    return DropReason::k_tx_full;
  if (count > 1 && !admitted && !s.floods[out.value].take(s.ticks)) return DropReason::k_tx_full;
  for (size_t i = 1; i < count; ++i) put_copy(s, mbuf, port, receivers[i], group);
  encapsulate(mbuf, port, receivers[0], group);
  queue.put(mbuf);
  return DropReason::kNone;
}

void maintain_overlay(PipelineState& s) noexcept {
  for (const PortView& port : s.parts.ports) {
    if (!port.vxlan) continue;
    for (const IpAddress& peer : port.vxlan->peers) {
      auto neighbour = s.parts.neighbours->find(outside_of(s, port.id), peer, millis_of(s));
      if (!neighbour || neighbour->question_due) ask(s, port, peer);
    }
  }
}

}  // namespace bulkhead
