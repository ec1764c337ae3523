#include "dataplane/fastpath/link.h"

#include <cstring>

#include "base/bytes.h"
#include "dataplane/fastpath/overlay.h"
#include "dataplane/fastpath/relayed.h"
#include "wire/cisco_metadata.h"
#include "wire/ethernet.h"

namespace bulkhead {
namespace {

uint16_t word_at(const uint8_t* frame, size_t at) noexcept {
  return load<Be16>(frame + at).host();
}
bool is(uint16_t word, EtherType type) noexcept {
  return word == static_cast<uint16_t>(type);
}

/// Where the EtherType is that follows the addresses and one 802.1Q tag.
size_t ether_type_at(const uint8_t* frame) noexcept {
  constexpr size_t kUntagged = offsetof(EthernetHeader, ether_type);
  return is(word_at(frame, kUntagged), EtherType::kVlan) ? kUntagged + sizeof(VlanHeader) : kUntagged;
}

/// What may not stand behind a tag: another one, or a VLAN tag, which belongs before it.
bool is_link_tag(uint16_t ether_type) noexcept {
  return is(ether_type, EtherType::kCiscoMetadata) || is(ether_type, EtherType::kVlan) ||
         is(ether_type, EtherType::kQinq) || ether_type == 0x9100;
}

void strip_cmd(rte_mbuf* mbuf, size_t at) noexcept {
  uint8_t* frame = frame_of(mbuf);
  std::memmove(frame + kCmdBytes, frame, at);
  rte_pktmbuf_adj(mbuf, kCmdBytes);
}

/// False: no room before the frame, which devices always leave.
bool impose_cmd(rte_mbuf* mbuf, SegmentTag tag) noexcept {
  auto* frame = reinterpret_cast<uint8_t*>(rte_pktmbuf_prepend(mbuf, kCmdBytes));
  if (frame == nullptr) return false;
  size_t at = ether_type_at(frame + kCmdBytes);
  std::memmove(frame, frame + kCmdBytes, at);
  store(frame + at, Be16(static_cast<uint16_t>(EtherType::kCiscoMetadata)));
  auto next = load<Be16>(frame + at + kCmdBytes);
  store(frame + at + sizeof(Be16),
        CiscoMetadata{kCmdVersion, kCmdLength, Be16(kCmdOptionSgt), Be16(tag.value), next});
  return true;
}

/// The segment that a frame's source is of, as its own tag or its address say. kTagNone where policy doesn't
/// know it, and of the gateway's own.
SegmentTag source_segment(const PipelineState& s, const rte_mbuf* mbuf) noexcept {
  const uint8_t* frame = frame_of(mbuf);
  size_t at = ether_type_at(frame);
  uint16_t ether_type = word_at(frame, at);
  bool v4 = is(ether_type, EtherType::kIpv4);
  if (s.snapshot == nullptr || (!v4 && !is(ether_type, EtherType::kIpv6))) return kTagNone;
  IpAddress source = source_of(frame + at + sizeof(Be16), v4);
  Origin origin{source, kPortNone, 0, load<MacAddress>(frame + 6), carried_tag(mbuf)};
  IdentityId identity = classify_source(*s.snapshot->endpoints, origin).identity;
  SegmentTag tag = tag_of(identity);
  bool is_segment = tag >= kTagFirstUser && tag <= kTagLastUser && s.snapshot->image->knows(identity);
  return is_segment ? tag : kTagNone;
}

}  // namespace

DropReason read_cmd(std::span<const uint8_t> frame, CmdTag& cmd) noexcept {
  cmd = {};
  constexpr size_t kUntagged = sizeof(EthernetHeader);
  if (frame.size() < kUntagged) return DropReason::kNone;
  bool vlan = is(word_at(frame.data(), offsetof(EthernetHeader, ether_type)), EtherType::kVlan);
  if (vlan && frame.size() < kUntagged + sizeof(VlanHeader)) return DropReason::kNone;
  size_t at = ether_type_at(frame.data());
  if (!is(word_at(frame.data(), at), EtherType::kCiscoMetadata)) return DropReason::kNone;
  cmd.at = at;
  if (frame.size() < at + sizeof(Be16) + sizeof(CiscoMetadata)) return DropReason::k_frame_truncated;
  auto header = load<CiscoMetadata>(frame.data() + at + sizeof(Be16));
  if (header.version != kCmdVersion || header.length != kCmdLength || header.option.host() != kCmdOptionSgt ||
      header.sgt.host() == kCmdSgtInvalid || is_link_tag(header.ether_type.host()))
    return DropReason::k_tag_malformed;
  cmd.tag = SegmentTag{header.sgt.host()};
  return DropReason::kNone;
}

DropReason read_link(std::span<const uint8_t> frame, const PortView& port, uint8_t parse_flags,
                     PacketMeta& meta, Link& link) noexcept {
  link = {};
  link.bytes = static_cast<uint16_t>(frame.size());
  if (port.vxlan) {
    OuterFrame outer;
    DropReason reason = read_outer(frame, port, parse_flags, meta, outer);
    link.resolves = outer.resolves;
    if (reason != DropReason::kNone || outer.resolves) return reason;
    if (outer.group != kTagNone && !port.trust_tags && !port.strip_tags) return DropReason::k_tag_untrusted;
    link.at = outer.at;
    link.bytes = outer.bytes;
    link.tag = outer.group;
    link.peer = outer.peer;
    link.learns = outer.learns;
  }
  DropReason reason = read_cmd(frame.subspan(link.at, link.bytes), link.cmd);
  if (reason != DropReason::kNone) return reason;
  // An overlay's tags stand in its own header.
  if (link.cmd.at != 0 && port.vxlan && !port.strip_tags)
    return port.trust_tags ? DropReason::k_tag_malformed : DropReason::k_tag_untrusted;
  if (link.cmd.at != 0) link.tag = link.cmd.tag;
  if (!port.trust_tags) link.tag = kTagNone;
  return DropReason::kNone;
}

void open_link(PipelineState& s, rte_mbuf* mbuf, const PortView& port, PacketMeta& meta) noexcept {
  Link link;
  DropReason reason =
      read_link({frame_of(mbuf), rte_pktmbuf_data_len(mbuf)}, port, s.parts.parse_flags, meta, link);
  if (reason != DropReason::kNone) {
    meta = PacketMeta{};
    meta.in_port = port.id.value;
  }
  meta.reason = reason;
  if (reason != DropReason::kNone) return;
  meta.kind = link.resolves ? PacketKind::kUnderlay : PacketKind::kFlow;
  if (link.resolves) return;
  rte_pktmbuf_adj(mbuf, link.at);
  mbuf->data_len = link.bytes;
  mbuf->pkt_len = link.bytes;
  if (link.cmd.at != 0) strip_cmd(mbuf, link.cmd.at);
  mbuf->port |= kOpenedMark;
  mbuf->hash.fdir.hi = link.tag.value | (link.learns ? (link.peer + 1u) << 16 : 0);
}

void learn_station(PipelineState& s, rte_mbuf* mbuf) noexcept {
  uint32_t peer = is_opened(mbuf) ? mbuf->hash.fdir.hi >> 16 : 0;
  if (peer == 0) return;
  mbuf->hash.fdir.hi &= 0xffff;
  PortId port{static_cast<uint8_t>(mbuf->port)};
  auto station = load<MacAddress>(frame_of(mbuf) + offsetof(EthernetHeader, source));
  if (!station.is_multicast() && s.port(port.value).has_several_peers())
    s.parts.stations->learn(port, station, static_cast<uint8_t>(peer - 1));
}

DropReason put_with_link(PipelineState& s, rte_mbuf* mbuf, PortId out, bool admitted) noexcept {
  TxQueue& queue = s.tx[out.value];
  const PortView& port = s.port(out.value);
  if (port.relay) {
    if (queue.count == TxQueue::kCapacity) return DropReason::k_tx_full;
    address_to_relay(mbuf);
    queue.put(mbuf);
    return DropReason::kNone;
  }
  SegmentTag tag = port.impose_tags != ImposeTags::kNone ? source_segment(s, mbuf) : kTagNone;
  if (port.vxlan) return put_encapsulated(s, mbuf, out, tag, admitted);
  if (queue.count == TxQueue::kCapacity) return DropReason::k_tx_full;
  if (tag != kTagNone && !impose_cmd(mbuf, tag)) return DropReason::k_tx_full;
  queue.put(mbuf);
  return DropReason::kNone;
}

DropReason enqueue_apart(PipelineState& s, rte_mbuf* mbuf, uint32_t ip_bytes, PortId out) noexcept {
  if (ip_bytes > s.port(out.value).mtu) return DropReason::k_packet_too_big;
  // A datagram is taken back to be parted, and its fragments come here each.
  if (is_datagram(mbuf)) {
    DropReason reason = admit_datagram(s, mbuf, out);
    if (reason != DropReason::kNone) return reason;
    return s.tx[out.value].put(mbuf) ? DropReason::kNone : DropReason::k_tx_full;
  }
  return put_with_link(s, mbuf, out);
}

}  // namespace bulkhead
