// What every packet of a live flow passes through. Inlined into the pipeline's loop: there are no calls
// between the look-up of an established flow and the packet's place in its TxQueue.
#pragma once

#include <cstddef>

#include "dataplane/fastpath/flow_open.h"
#include "dataplane/fastpath/flow_step.h"
#include "dataplane/fastpath/router.h"
#include "dataplane/fastpath/tcp_window.h"

namespace bulkhead {

inline std::span<const uint8_t> tcp_header(const PacketRef& p) noexcept {
  const uint8_t* at = frame_of(p.mbuf) + p.meta->l4;
  return {at, (at[offsetof(TcpHeader, data_offset)] >> 4) * size_t{4}};
}

inline uint32_t tcp_payload(const PacketRef& p, std::span<const uint8_t> header) noexcept {
  return static_cast<uint32_t>(p.meta->l3 + p.meta->ip_bytes - p.meta->l4 - header.size());
}

/// Sends a packet of an allowed flow out of the port that its direction leads to.
inline void forward(PipelineState& s, const PacketRef& p, uint8_t out, const Moment& m) noexcept {
  if (s.router != nullptr) [[unlikely]] {
    s.router->forward(s, p, m);
    return;
  }
  send(s, p, PortId{out});
}

/// Counts a packet of a flow: in the hot line but for TCP, which keeps its windows there.
template <class Key>
void count_packet(FlowTable<Key>& table, uint32_t slot, bool tcp, unsigned direction,
                  uint32_t bytes) noexcept {
  FlowHot& hot = table.entry(slot).hot;
  FlowCounts& counts = hot.counts;
  if (!tcp) [[likely]] {
    ++counts.packets[direction];
    counts.bytes[direction] += bytes;
    if (((counts.bytes[direction] | counts.packets[direction]) & 0x80000000) == 0) [[likely]]
      return;
    FlowCold& cold = table.cold(slot);
    cold.packets[direction] += counts.packets[direction];
    cold.bytes[direction] += counts.bytes[direction];
    counts.packets[direction] = counts.bytes[direction] = 0;
    return;
  }
  FlowCold& cold = table.cold(slot);
  ++cold.packets[direction];
  cold.bytes[direction] += bytes;
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

/// Matches a packet against its flow, opens one where policy allows, and sends it on or drops it.
/// `Key` is the packet's family's; meta.hash is set.
template <class Key>
inline void step_flow(PipelineState& s, const PacketRef& p, const Key& key, const Moment& m) noexcept {
  auto& table = s.table<Key>();
  uint32_t slot = table.find(key, p.meta->hash);
  if (slot == kNoSlot) [[unlikely]]
    return open_flow(s, p, key, m);
  FlowHot& hot = table.entry(slot).hot;
  unsigned direction = p.meta->source_is_high ^ (hot.flags & kFlowInitiatorHigh);
  static_assert(kFlowInitiatorHigh == 1);
  if (hot.ports[direction] != p.meta->in_port) [[unlikely]]
    return drop(s, p, DropReason::k_spoofed_source);
  constexpr unsigned kApart = kFlowMacBound | kFlowRevoked;
  bool apart = hot.checked != m.generation || is_due(hot.deadline, m.ticks) ||
               (hot.flags & (direction == 0 ? kApart : kApart | kFlowResponderUnchecked)) != 0 ||
               m.ticks - hot.last > s.timeout_ms[static_cast<size_t>(hot.state)];
  if (apart && !bring_up_to_date(s, p, key, slot, direction, m)) [[unlikely]]
    return;
  show_flow(p, table, slot, FlowRelation::kEstablished);
  bool tcp = p.meta->proto == IpProto::kTcp;
  if (tcp) {
    auto header = tcp_header(p);
    bool strict = s.parts.settings->tcp == TcpMode::kStrict;
    bool plain = track_plain_segment(hot, direction, header, tcp_payload(p, header), strict);
    if (!plain && !step_tcp(s, p, key, slot, direction, m)) [[unlikely]]
      return;
  }
  hot.last = m.ticks;
  count_packet(table, slot, tcp, direction, p.meta->ip_bytes);
  forward(s, p, hot.ports[direction ^ 1], m);
}

}  // namespace bulkhead
