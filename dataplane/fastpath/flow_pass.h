// What every packet of a live flow passes through. Inlined into the pipeline's loop: there are no calls
// between the look-up of an established flow and the packet's place in its TxQueue.
#pragma once

#include <cstddef>

#include "dataplane/fastpath/answer.h"
#include "dataplane/fastpath/flow_open.h"
#include "dataplane/fastpath/flow_step.h"
#include "dataplane/fastpath/relayed.h"
#include "dataplane/fastpath/router.h"
#include "dataplane/fastpath/tcp_window.h"

namespace bulkhead {

inline std::span<const uint8_t> tcp_header(const PacketRef& p) noexcept {
  const uint8_t* at = frame_of(p.mbuf) + p.meta->l4;
  return {at, (at[offsetof(TcpHeader, data_offset)] >> 4) * size_t{4}};
}

inline uint32_t tcp_payload(const PacketRef& p, std::span<const uint8_t> header) noexcept {
  return l4_bytes(p) - static_cast<uint32_t>(header.size());
}

/// Sends a packet of an allowed flow out of the port that its direction leads to.
inline void forward(PipelineState& s, const PacketRef& p, uint8_t out, const Moment& m) noexcept {
  if (out == s.relay_port) [[unlikely]]
    return send_to_relay(s, p, m);
  if (s.router != nullptr) [[unlikely]]
    return s.router->forward(s, p, m);
  if (p.meta->ip_bytes > s.port(out).most_ip_bytes(p.meta->l3)) [[unlikely]]
    return drop_too_big(s, p, PortId{out}, m);
  send(s, p, PortId{out});
}

/// Counts a packet of a flow that isn't TCP's: in its hot line.
template <class Key>
[[gnu::always_inline]] inline void count_in_hot(FlowTable<Key>& table, FlowHot& hot, uint32_t slot,
                                                unsigned direction, uint32_t bytes) noexcept {
  FlowCounts& counts = hot.counts;
  ++counts.packets[direction];
  counts.bytes[direction] += bytes;
  if (((counts.bytes[direction] | counts.packets[direction]) & 0x80000000) == 0) [[likely]]
    return;
  FlowCold& cold = table.cold(slot);
  cold.total.packets[direction] += counts.packets[direction];
  cold.total.bytes[direction] += counts.bytes[direction];
  counts.packets[direction] = counts.bytes[direction] = 0;
}
/// Counts a packet of TCP, which keeps its windows in the hot line.
inline void count_in_cold(FlowCold& cold, unsigned direction, uint32_t bytes) noexcept {
  ++cold.total.packets[direction];
  cold.total.bytes[direction] += bytes;
}
template <class Key>
void count_packet(FlowTable<Key>& table, uint32_t slot, bool tcp, unsigned direction,
                  uint32_t bytes) noexcept {
  if (tcp)
    count_in_cold(table.cold(slot), direction, bytes);
  else
    count_in_hot(table, table.entry(slot).hot, slot, direction, bytes);
}

/// Shows a packet's flow in its verdict, where one is kept.
template <class Key>
void show_flow(const PacketRef& p, const FlowTable<Key>& table, uint32_t slot,
               FlowRelation relation) noexcept {
  if (p.verdict == nullptr) [[likely]]
    return;
  const FlowCold& cold = table.cold(slot);
  p.verdict->flow = relation;
  p.verdict->rule = RuleIndex{cold.rule};
  p.verdict->tier = static_cast<uint8_t>(cold.tier);
  p.verdict->source_from = cold.source_from;
  p.verdict->source = IdentityId{cold.source};
  p.verdict->destination = IdentityId{cold.destination};
}

/// The rest of what step_flow() does, for what takes no short way: a datagram, one that is too long, or one
/// for a port that writes links. The packet's flow is up to date.
template <class Key>
void pass_flow(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
               const Moment& m) noexcept {
  auto& table = s.table<Key>();
  FlowHot& hot = table.entry(slot).hot;
  show_flow(p, table, slot, FlowRelation::kEstablished);
  if (is_near(hot)) return pass_relayed(s, p, key, slot, direction, m);
  uint8_t out = hot.ports[direction ^ 1];
  // Dropped there, before it could change the flow.
  if (p.meta->ip_bytes > s.port(out).most_ip_bytes(p.meta->l3)) return forward(s, p, out, m);
  bool tcp = p.meta->proto == IpProto::kTcp;
  if (tcp && !step_tcp(s, p, key, slot, direction, m)) return;
  hot.last = m.ticks;
  for (const rte_mbuf* f = p.mbuf; f != nullptr; f = f->next)
    count_packet(table, slot, tcp, direction, f->data_len - p.meta->l3);
  forward(s, p, out, m);
}

// What is apart from the common packet, out of its way: calls that take the packet's number, so that nothing
// of the common one need stand in memory for them.
namespace apart {

template <class Key>
[[gnu::noinline, gnu::cold]] void open(PipelineState& s, size_t i, const Key& key, const Moment& m) noexcept {
  open_flow(s, packet(s, i), key, m);
}
template <class Key>
[[gnu::noinline, gnu::cold]] void elsewhere(PipelineState& s, size_t i, const Key& key, uint32_t slot,
                                            unsigned direction, const Moment& m) noexcept {
  step_from_elsewhere(s, packet(s, i), key, slot, direction, m);
}
[[gnu::noinline, gnu::cold]] inline void drop(PipelineState& s, size_t i, DropReason reason) noexcept {
  bulkhead::drop(s, packet(s, i), reason);
}
template <class Key>
[[gnu::noinline, gnu::cold]] bool update(PipelineState& s, size_t i, const Key& key, uint32_t slot,
                                         unsigned direction, const Moment& m) noexcept {
  return bring_up_to_date(s, packet(s, i), key, slot, direction, m);
}
/// Not so seldom: what is far in flight, or comes again.
template <class Key>
[[gnu::noinline]] bool track(PipelineState& s, size_t i, const Key& key, uint32_t slot, unsigned direction,
                             const Moment& m) noexcept {
  show_flow(packet(s, i), s.table<Key>(), slot, FlowRelation::kEstablished);
  return step_tcp(s, packet(s, i), key, slot, direction, m);
}
template <class Key>
[[gnu::noinline]] void pass(PipelineState& s, size_t i, const Key& key, uint32_t slot, unsigned direction,
                            const Moment& m) noexcept {
  pass_flow(s, packet(s, i), key, slot, direction, m);
}
/// The end of a packet that goes on, where that is more than a place in a TxQueue.
template <class Key>
[[gnu::noinline]] void forward(PipelineState& s, size_t i, uint32_t slot, uint8_t out,
                               const Moment& m) noexcept {
  PacketRef p = packet(s, i);
  show_flow(p, s.table<Key>(), slot, FlowRelation::kEstablished);
  bulkhead::forward(s, p, out, m);
}

}  // namespace apart

/// Matches packet `i` of the burst against its flow, opens one where policy allows, and sends it on or drops
/// it. `key`: its own, of its family; meta.hash and meta.candidate are set. Between look-up and TxQueue the
/// common packet meets no call, and no branch but such as next to always go the same way.
template <class Key>
[[gnu::always_inline]] inline void step_flow(PipelineState& s, size_t i, const Key& key,
                                             const Moment& m) noexcept {
  auto& table = s.table<Key>();
  const PacketMeta& meta = s.burst.meta[i];
  uint32_t slot = meta.candidate;
  if (!table.holds(slot, key)) [[unlikely]] {
    slot = table.find(key, meta.hash);
    if (slot == kNoSlot) return apart::open(s, i, key, m);
  }
  FlowHot& hot = table.entry(slot).hot;
  unsigned direction = meta.source_is_high ^ (hot.flags & kFlowInitiatorHigh);
  static_assert(kFlowInitiatorHigh == 1);
  if (hot.ports[direction] != meta.in_port) [[unlikely]]
    return apart::elsewhere(s, i, key, slot, direction, m);
  // All flags that set a packet apart; a responder that wasn't checked yet only its own packets.
  unsigned flags = (kFlowSenderBound | kFlowRevoked) | kFlowResponderUnchecked * direction;
  if (hot.checked != m.generation || is_due(hot.deadline, m.ticks) || (hot.flags & flags) != 0 ||
      m.ticks - hot.last > s.timeout_ms[static_cast<size_t>(hot.state)]) [[unlikely]]
    if (!apart::update(s, i, key, slot, direction, m)) return;
  uint8_t out = hot.ports[direction ^ 1];
  TxQueue& queue = s.tx[out];
  if (meta.ip_bytes > queue.mtu) [[unlikely]]
    return apart::pass(s, i, key, slot, direction, m);
  rte_mbuf* mbuf = s.burst.packets[i];
  if (meta.proto == IpProto::kTcp) {
    uint32_t bytes = meta.l3 + meta.ip_bytes - meta.l4;
    if (!track_plain_segment(hot, direction, frame_of(mbuf) + meta.l4, bytes)) [[unlikely]]
      if (!apart::track(s, i, key, slot, direction, m)) return;
    count_in_cold(table.cold(slot), direction, meta.ip_bytes);
  } else {
    count_in_hot(table, hot, slot, direction, meta.ip_bytes);
  }
  hot.last = m.ticks;
  if (!s.sends_at_once) [[unlikely]]
    return apart::forward<Key>(s, i, slot, out, m);
  if (!queue.put(mbuf)) [[unlikely]]
    apart::drop(s, i, DropReason::k_tx_full);
}

}  // namespace bulkhead
