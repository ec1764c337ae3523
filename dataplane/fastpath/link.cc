#include "dataplane/fastpath/link.h"

#include <cstring>

#include "base/bytes.h"
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

DropReason open_link(rte_mbuf* mbuf, const PortView& port) noexcept {
  CmdTag cmd;
  DropReason reason = read_cmd({frame_of(mbuf), rte_pktmbuf_data_len(mbuf)}, cmd);
  if (reason != DropReason::kNone) return reason;
  if (cmd.at != 0) strip_cmd(mbuf, cmd.at);
  mbuf->port |= kOpenedMark;
  mbuf->hash.fdir.hi = port.trust_tags ? cmd.tag.value : kTagNone.value;
  return DropReason::kNone;
}

DropReason put_with_link(PipelineState& s, rte_mbuf* mbuf, PortId out) noexcept {
  TxQueue& queue = s.tx[out.value];
  if (queue.count == TxQueue::kCapacity) return DropReason::k_tx_full;
  SegmentTag tag = source_segment(s, mbuf);
  if (tag != kTagNone && !impose_cmd(mbuf, tag)) return DropReason::k_tx_full;
  queue.put(mbuf);
  return DropReason::kNone;
}

DropReason enqueue_apart(PipelineState& s, rte_mbuf* mbuf, uint32_t ip_bytes, PortId out) noexcept {
  if (ip_bytes > s.port(out.value).mtu) return DropReason::k_packet_too_big;
  // A datagram is taken back to be parted, and its fragments come here each.
  if (is_datagram(mbuf)) return s.tx[out.value].put(mbuf) ? DropReason::kNone : DropReason::k_tx_full;
  return put_with_link(s, mbuf, out);
}

}  // namespace bulkhead
