#include "dataplane/fastpath/relayed.h"

#include <cstring>

#include "base/bytes.h"
#include "contract/relay_flow.h"
#include "dataplane/fastpath/answer.h"
#include "dataplane/fastpath/flow_open.h"
#include "dataplane/fastpath/flow_pass.h"
#include "dataplane/fastpath/link.h"
#include "dataplane/fastpath/relay_life.h"
#include "dataplane/fastpath/tcp_track.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/ipv4.h"
#include "wire/transport.h"

namespace bulkhead {
namespace {

template <class Key>
Key far_key(Key key) noexcept {
  key.zone = 0;
  key.leg = 1;
  return key;
}

RelayRole role_between(const PortView& in) noexcept {
  return in.attached ? RelayRole::kOriginate : RelayRole::kTerminate;
}

/// Puts back the link header that a packet from the relay has lost.
void dress(const PacketRef& p, const RelayLeg& leg, unsigned direction) noexcept {
  const LinkEnds& receiver = direction == 0 ? leg.responder : leg.initiator;
  if (leg.vlan != 0) {
    // The devices' headroom is larger by far.
    rte_pktmbuf_prepend(p.mbuf, sizeof(VlanHeader));
    uint8_t* frame = frame_of(p.mbuf);
    store(frame + offsetof(EthernetHeader, ether_type), Be16(static_cast<uint16_t>(EtherType::kVlan)));
    store(frame + sizeof(EthernetHeader),
          VlanHeader{Be16(leg.vlan),
                     Be16(static_cast<uint16_t>(p.meta->family == 4 ? EtherType::kIpv4 : EtherType::kIpv6))});
    p.meta->l3 += sizeof(VlanHeader);
    p.meta->l4 += sizeof(VlanHeader);
    p.meta->vlan = leg.vlan;
  }
  uint8_t* frame = frame_of(p.mbuf);
  std::memcpy(frame, receiver.own.bytes.data(), 6);
  std::memcpy(frame + 6, receiver.peer.bytes.data(), 6);
}

/// Remembers the link addresses of a packet from the network. What goes to a group says of no station where
/// it is.
void note_addresses(const PacketRef& p, RelayLeg& leg, unsigned direction) noexcept {
  if (destination_mac(p).is_multicast()) return;
  LinkEnds& sender = direction == 0 ? leg.initiator : leg.responder;
  sender = {source_mac(p), destination_mac(p)};
}

/// The datagram that tells the relay of a flow, as a frame; nullptr where memory is short.
rte_mbuf* make_announcement(PipelineState& s, const RelayAnnouncement& announcement) noexcept {
  constexpr size_t kUdpBytes = sizeof(UdpHeader) + sizeof announcement;
  rte_mbuf* mbuf = rte_pktmbuf_alloc(s.parts.pool);
  if (mbuf == nullptr) return nullptr;
  auto* frame = reinterpret_cast<uint8_t*>(
      rte_pktmbuf_append(mbuf, sizeof(EthernetHeader) + sizeof(Ipv4Header) + kUdpBytes));
  if (frame == nullptr) {
    rte_pktmbuf_free(mbuf);
    return nullptr;
  }
  store(frame, EthernetHeader{kRelayMac, kRelayMac, Be16(static_cast<uint16_t>(EtherType::kIpv4))});
  Ipv4Header ip{};
  ip.version_ihl = 0x45;
  ip.total_length.set(sizeof ip + kUdpBytes);
  ip.ttl = 64;
  ip.proto = IpProto::kUdp;
  ip.source.set(kRelayDataplaneAddress.v4_host());
  ip.destination.set(kRelayAddress.v4_host());
  ip.checksum = std::bit_cast<Be16>(checksum_finish(checksum_sum(&ip, sizeof ip)));
  store(frame + sizeof(EthernetHeader), ip);
  UdpHeader udp{};
  udp.source_port.set(kRelayPort);
  udp.destination_port.set(kRelayPort);
  udp.length.set(kUdpBytes);
  udp.checksum.set(0);  // within one host (RFC 768: none was made)
  store(frame + sizeof(EthernetHeader) + sizeof ip, udp);
  std::memcpy(frame + sizeof(EthernetHeader) + sizeof ip + sizeof udp, &announcement, sizeof announcement);
  return mbuf;
}

/// Tells the relay which flow the next SYN begins.
template <class Key>
void announce(PipelineState& s, uint32_t near, const Moment& m) noexcept {
  FlowRecord flow = record_of<Key>(s, near, m.snapshot, m.now);
  RelayAnnouncement a = make_relay_announcement();
  a.flow_id = flow.flow_id;
  a.image_generation = m.snapshot->image_generation;
  a.client = flow.source;
  a.server = flow.destination;
  a.client_port = flow.source_port;
  a.server_port = flow.destination_port;
  a.source_tag = tag_of(IdentityId{flow.source_identity}).value;
  a.destination_tag = tag_of(IdentityId{flow.destination_identity}).value;
  a.source_workload = flow.source_workload;
  a.destination_workload = flow.destination_workload;
  a.role = role_between(s.port(s.table<Key>().entry(near).hot.ports[0]));
  originate(s, make_announcement(s, a), PortId{s.relay_port});
}

/// The far flow's first packet, from the relay: its SYN, or nothing that it could begin with.
bool begin_far(FlowHot& far, const PacketRef& p, unsigned direction) noexcept {
  if (direction != 0 || p.meta->opening != Opening::kMay) return false;
  auto header = tcp_header(p);
  begin_tcp(far, header, tcp_payload(p, header));
  far.marks &= static_cast<uint8_t>(~kFlowAwaited);
  return true;
}

bool relay_is_silent(const PipelineState& s, const Moment& m) noexcept {
  return s.parts.relay != nullptr && !s.parts.relay->is_alive(m.now);
}

/// Whether a packet's way ends at that port: nobody is behind it, or the packet is too long for it.
bool cannot_leave(const PipelineState& s, const PacketRef& p, uint8_t out, const Moment& m) noexcept {
  if (out == s.relay_port) return relay_is_silent(s, m);
  return p.meta->ip_bytes > s.port(out).most_ip_bytes(p.meta->l3);
}

/// Whether a SYN or a reset has data, which no records begin with, nor end.
bool carries_more_than_its_flag(const PacketRef& p) noexcept {
  auto header = tcp_header(p);
  uint32_t payload = tcp_payload(p, header);
  TcpSegment segment = read_segment(header, payload);
  return payload != 0 && (segment.has(kTcpSyn) || segment.has(kTcpRst));
}

/// Whether a segment from the relay that is to leave where nobody's network begins is TLS records; else the
/// packet has met its end. What isn't ends the pair.
template <class Key>
bool leaves_as_tls(PipelineState& s, const PacketRef& p, uint32_t slot, uint32_t far, unsigned direction,
                   const Moment& m) noexcept {
  auto& table = s.table<Key>();
  RecordTrace& trace = table.cold(far).trace;
  auto header = tcp_header(p);
  TcpSegment segment = read_segment(header, tcp_payload(p, header));
  bool begins = segment.has(kTcpSyn) && table.entry(slot).hot.state == FlowState::kOpening;
  if (begins) trace = {segment.sequence + 1, 0, 0, 0};
  std::span<const uint8_t> payload{header.data() + header.size(), tcp_payload(p, header)};
  auto result =
      p.meta->fragment ? TraceResult::kOther : follow(trace, segment.sequence + (begins ? 1 : 0), payload);
  if (result == TraceResult::kRecords) return true;
  if (result == TraceResult::kOther) {
    table.cold(whole_of<Key>(s, slot)).tls = static_cast<uint8_t>(TlsFault::kRelayInClear);
    revoke_flow<Key>(s, p, slot, direction, DropReason::k_mtls_required, m);
  }
  drop(s, p, DropReason::k_mtls_required);
  return false;
}

/// A packet of either flow that isn't on the short way: all is looked at, as nobody has done it yet.
template <class Key>
void step_leg(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
              const Moment& m) noexcept {
  bool ended = false;
  DropReason reason = recheck<Key>(s, p, slot, direction, m, ended);
  if (ended) reason = DropReason::k_tcp_no_state;
  if (reason != DropReason::kNone) return drop(s, p, reason);
  pass_relayed(s, p, key, slot, direction, m);
}

/// A packet of one of the relay's connections.
template <class Key>
void step_connection(PipelineState& s, const PacketRef& p, const Key& key, const Moment& m) noexcept {
  auto& table = s.table<Key>();
  p.meta->hash = table.hash(key);  // a router that holds the packet judges it by its near flow
  Key far = far_key(key);
  uint32_t slot = table.find(far, table.hash(far));
  if (slot == kNoSlot) return drop(s, p, DropReason::k_tcp_no_state);
  unsigned direction = p.meta->source_is_high ^ (table.entry(slot).hot.flags & kFlowInitiatorHigh);
  const FlowCold& cold = table.cold(slot);
  if (!s.route_mode()) dress(p, cold.relay, direction);
  bool by_tag = cold.source_from == static_cast<uint8_t>(IdentitySource::kTag);
  if (direction == 0 && by_tag) carry_tag(p.mbuf, tag_of(IdentityId{cold.source}));
  if (direction == 1) slot = cold.relay.near;
  Key own = table.entry(slot).key;
  step_leg(s, p, own, slot, direction, m);
}

/// The relay's datagram, where the packet is one.
std::optional<RelayHeartbeat> heartbeat_of(const PacketRef& p) noexcept {
  if (p.meta->family != 4 || p.meta->proto != IpProto::kUdp || source_of(p) != kRelayAddress ||
      destination_of(p) != kRelayDataplaneAddress || p.meta->destination_port != kRelayPort)
    return std::nullopt;
  return read_relay_heartbeat(std::as_bytes(
      std::span(frame_of(p.mbuf) + p.meta->l4 + sizeof(UdpHeader), l4_bytes(p) - sizeof(UdpHeader))));
}

}  // namespace

template <class Key>
uint32_t far_of(PipelineState& s, uint32_t near) noexcept {
  auto& table = s.table<Key>();
  Key far = far_key(table.entry(near).key);
  return table.find(far, table.hash(far));
}

template <class Key>
DropReason open_relayed(PipelineState& s, const PacketRef& p, const Key& key, uint32_t near,
                        const Moment& m) noexcept {
  auto& table = s.table<Key>();
  Key far_flow = far_key(key);
  uint64_t hash = table.hash(far_flow);
  // Of the same 5-tuple in two zones the relay can serve but one.
  if (table.find(far_flow, hash) != kNoSlot) return DropReason::k_relay_unavailable;
  uint32_t slot = table.insert(far_flow, hash);
  if (slot == kNoSlot) return DropReason::k_flow_table_full;
  FlowHot& hot = table.entry(near).hot;
  FlowHot& far = table.entry(slot).hot;
  bool tags_at_responder = s.port(hot.ports[1]).trust_tags;
  far.flags = static_cast<uint8_t>((hot.flags & kFlowInitiatorHigh) | kFlowResponderUnchecked |
                                   (tags_at_responder ? kFlowSenderBound : 0));
  far.marks = kFlowRelayFar | kFlowAwaited;
  far.state = FlowState::kOpening;
  far.last = m.ticks;
  far.ports[0] = s.relay_port;
  far.ports[1] = hot.ports[1];
  FlowCold& cold = table.cold(slot);
  const FlowCold& whole = table.cold(near);
  cold.source = whole.source;
  cold.destination = whole.destination;
  cold.source_from = whole.source_from;
  MacAddress initiator = source_mac(p), responder = destination_mac(p);
  cold.relay = {near, p.meta->vlan, {initiator, responder}, {responder, initiator}};
  hot.ports[1] = s.relay_port;
  hot.marks |= kFlowRelayNear;
  ++s.flows_of[tag_of(IdentityId{whole.source}).value];  // one place more, and its source's
  announce<Key>(s, near, m);
  return DropReason::kNone;
}

void send_to_relay(PipelineState& s, const PacketRef& p, const Moment& m) noexcept {
  if (relay_is_silent(s, m)) return drop(s, p, DropReason::k_relay_unavailable);
  send(s, p, PortId{s.relay_port});
  if (p.verdict != nullptr && p.verdict->fate == Fate::kForward && !is_datagram(p.mbuf))
    p.verdict->fate = Fate::kRelay;
}

template <class Key>
void pass_relayed(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
                  const Moment& m) noexcept {
  auto& table = s.table<Key>();
  FlowHot& hot = table.entry(slot).hot;
  uint32_t near = whole_of<Key>(s, slot), far = is_far(hot) ? slot : far_of<Key>(s, near);
  FlowHot& near_hot = table.entry(near).hot;
  FlowHot& far_hot = table.entry(far).hot;
  show_flow(p, table, near, FlowRelation::kEstablished);
  uint8_t out = hot.ports[direction ^ 1];
  // Dropped there, before it could change the flow.
  if (cannot_leave(s, p, out, m)) return forward(s, p, out, m);
  bool leaves = p.meta->in_port == s.relay_port && !s.port(out).attached;
  if (leaves && carries_more_than_its_flag(p)) return drop(s, p, DropReason::k_mtls_required);
  if ((hot.marks & kFlowAwaited) != 0) {
    if (!begin_far(hot, p, direction)) return drop(s, p, DropReason::k_tcp_no_state);
  } else if (direction == 0 && is_near(hot) && hot.state == FlowState::kOpening &&
             p.meta->opening == Opening::kMay) {
    if (!step_tcp(s, p, key, slot, direction, m)) return;
    announce<Key>(s, near, m);  // the one before may have been lost with its SYN
  } else if (!step_tcp(s, p, key, slot, direction, m)) {
    return;
  }
  if (leaves && !leaves_as_tls<Key>(s, p, slot, far, direction, m)) return;
  near_hot.last = far_hot.last = m.ticks;
  if (is_near(hot)) count_in_cold(table.cold(near), direction, counted(p).bytes);
  if (p.meta->in_port != s.relay_port) note_addresses(p, table.cold(far).relay, direction);
  forward(s, p, out, m);
}

template <class Key>
void pass_reset(PipelineState& s, const PacketRef& p, uint32_t slot, unsigned direction,
                const Moment& m) noexcept {
  auto& table = s.table<Key>();
  FlowHot& hot = table.entry(slot).hot;
  uint32_t near = whole_of<Key>(s, slot), far = far_of<Key>(s, near);
  uint8_t out = hot.ports[direction ^ 1];
  count_state<Key>(s, slot, hot.state, FlowState::kClosing);
  hot.state = FlowState::kClosing;
  hot.marks |= kFlowReset;
  table.entry(near).hot.last = table.entry(far).hot.last = m.ticks;
  if (is_near(hot)) count_in_cold(table.cold(near), direction, p.meta->ip_bytes);
  constexpr uint8_t kOver = kFlowReset | kFlowAwaited;  // one that never began needs no reset
  bool both = (table.entry(near).hot.marks & kFlowReset) != 0 && (table.entry(far).hot.marks & kOver) != 0;
  if (both) end_flow<Key>(s, near, EndCause::kRst, DropReason::kNone, m);
  forward(s, p, out, m);
}

template <class Key>
void reset_other_leg(PipelineState& s, const PacketRef& p, uint32_t slot, unsigned direction) noexcept {
  auto& table = s.table<Key>();
  const FlowHot& hot = table.entry(slot).hot;
  if (!is_near(hot) && !is_far(hot)) return;
  uint32_t other = is_near(hot) ? far_of<Key>(s, slot) : table.cold(slot).relay.near;
  answer_revoked_unseen(s, p, table.entry(other).hot, direction);
}

template <class Key>
void step_from_elsewhere(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot,
                         unsigned direction, const Moment& m) noexcept {
  auto& table = s.table<Key>();
  uint32_t far = direction == 1 && is_near(table.entry(slot).hot) ? far_of<Key>(s, slot) : kNoSlot;
  if (far == kNoSlot || table.entry(far).hot.ports[1] != p.meta->in_port)
    return drop(s, p, DropReason::k_spoofed_source);
  step_leg(s, p, far_key(key), far, direction, m);
}

void step_from_relay(PipelineState& s, size_t i, const Moment& m) noexcept {
  PacketRef p = packet(s, i);
  if (is_relayed(*p.meta))
    return p.meta->family == 4 ? step_connection(s, p, p.key->v4, m) : step_connection(s, p, p.key->v6, m);
  // Its kernel's own: what multicast listeners and the like say. Nothing of it goes anywhere.
  if (auto heard = p.meta->reason == DropReason::kNone ? heartbeat_of(p) : std::nullopt;
      heard && s.parts.relay != nullptr) {
    s.parts.relay->state.store(heard->state, std::memory_order_relaxed);
    s.parts.relay->heard_boot_ns.store(m.now.ns, std::memory_order_relaxed);
  }
  consume(s, p);
}

void address_to_relay(rte_mbuf* mbuf) noexcept {
  uint8_t* frame = frame_of(mbuf);
  if (load<Be16>(frame + offsetof(EthernetHeader, ether_type)).host() ==
      static_cast<uint16_t>(EtherType::kVlan)) {
    std::memmove(frame + sizeof(VlanHeader), frame, offsetof(EthernetHeader, ether_type));
    rte_pktmbuf_adj(mbuf, sizeof(VlanHeader));
    frame = frame_of(mbuf);
  }
  store(frame, kRelayMac);
  store(frame + offsetof(EthernetHeader, source), kRelayMac);
}

#define BULKHEAD_FOR(Key)                                                                             \
  template uint32_t far_of<Key>(PipelineState&, uint32_t) noexcept;                                   \
  template DropReason open_relayed(PipelineState&, const PacketRef&, const Key&, uint32_t,            \
                                   const Moment&) noexcept;                                           \
  template void pass_relayed(PipelineState&, const PacketRef&, const Key&, uint32_t, unsigned,        \
                             const Moment&) noexcept;                                                 \
  template void pass_reset<Key>(PipelineState&, const PacketRef&, uint32_t, unsigned,                 \
                                const Moment&) noexcept;                                              \
  template void reset_other_leg<Key>(PipelineState&, const PacketRef&, uint32_t, unsigned) noexcept;  \
  template void step_from_elsewhere(PipelineState&, const PacketRef&, const Key&, uint32_t, unsigned, \
                                    const Moment&) noexcept;
BULKHEAD_FOR(FlowKey4)
BULKHEAD_FOR(FlowKey6)

}  // namespace bulkhead
