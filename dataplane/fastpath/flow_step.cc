#include "dataplane/fastpath/flow_step.h"

#include "base/bytes.h"
#include "dataplane/fastpath/answer.h"
#include "dataplane/fastpath/flow_open.h"
#include "dataplane/fastpath/flow_pass.h"
#include "dataplane/fastpath/router.h"
#include "dataplane/fastpath/tcp_track.h"
#include "wire/transport.h"

namespace bulkhead {
namespace {

/// A packet's source as its binding has it; spoofed where binding or port say otherwise.
End classify_sender(PipelineState& s, const PacketRef& p, const IpAddress& source, const Moment& m) noexcept {
  const PortView& port = s.port(p.meta->in_port);
  End end = classify_source(*m.snapshot->endpoints, {source, port.id, p.meta->vlan, source_mac(p)});
  end.spoofed |= !admits(port, source, end);
  return end;
}

/// Whether a packet of a live flow comes from the end that it says. Remembers a binding to a MAC.
template <class Key>
bool sender_holds(PipelineState& s, const PacketRef& p, uint32_t slot, unsigned direction,
                  const Moment& m) noexcept {
  auto& table = s.table<Key>();
  FlowHot& hot = table.entry(slot).hot;
  FlowAddresses a = addresses_of(table.entry(slot).key, (hot.flags & kFlowInitiatorHigh) != 0);
  const IpAddress& sender = direction == 0 ? a.initiator : a.responder;
  End end = classify_sender(s, p, sender, m);
  // A link-local address is whose MAC it is: another workload's packet isn't this flow's.
  bool stranger =
      direction == 0 && sender.is_ipv6_link_local() && end.identity.value != table.cold(slot).source;
  if (end.spoofed || stranger) return false;
  if (end.endpoint != nullptr && (end.endpoint->flags & kEndpointHasMac) != 0) hot.flags |= kFlowMacBound;
  if (direction == 1) hot.flags &= static_cast<uint8_t>(~kFlowResponderUnchecked);
  return true;
}

/// Everything that isn't the common case of a packet of a live flow: idle too long, revoked, stale, its
/// sender not checked yet or bound to a MAC. kNone: it goes on. `ended`: the flow is gone, and the packet may
/// open another.
template <class Key>
DropReason recheck(PipelineState& s, const PacketRef& p, uint32_t slot, unsigned direction, const Moment& m,
                   bool& ended) noexcept {
  auto& table = s.table<Key>();
  FlowHot& hot = table.entry(slot).hot;
  if (m.ticks - hot.last > s.timeout_ms[static_cast<size_t>(hot.state)]) {
    end_idle<Key>(s, slot, m);
    ended = true;
    return DropReason::kNone;
  }
  DropReason reason = DropReason::kNone;
  bool revoked = (hot.flags & kFlowRevoked) != 0;
  if (revoked) {
    reason = table.cold(slot).revoked_for;
  } else if (hot.checked != m.generation || is_due(hot.deadline, m.ticks)) {
    MacAddress initiator_mac = direction == 0 ? source_mac(p) : destination_mac(p);
    reason = rejudge<Key>(s, slot, &initiator_mac, m);
  }
  if (reason != DropReason::kNone) {
    if (hot.state <= FlowState::kClosing && s.parts.settings->reset_on_revoke)
      answer_revoked(s, p, hot, direction);
    if (p.verdict != nullptr) show_flow(p, table, slot, FlowRelation::kEstablished);
    if (revoked)
      forget_flow<Key>(s, slot);
    else
      end_flow<Key>(s, slot, EndCause::kRevoked, reason, m);
    return reason;
  }
  bool check_sender =
      (hot.flags & kFlowMacBound) != 0 || (direction == 1 && (hot.flags & kFlowResponderUnchecked) != 0);
  if (check_sender && !sender_holds<Key>(s, p, slot, direction, m)) return DropReason::k_spoofed_source;
  return DropReason::kNone;
}

/// What tracking said of a TCP segment beyond "it passes". True: the packet has met its end.
template <class Key>
bool settle_tcp(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
                FlowState before, TcpResult result, const Moment& m) noexcept {
  auto& table = s.table<Key>();
  FlowHot& hot = table.entry(slot).hot;
  switch (result.step) {
    case TcpStep::kPass:
      count_state(s, IdentityId{table.cold(slot).source}, before, hot.state);
      return false;
    case TcpStep::kDrop:
      drop(s, p, result.reason);
      return true;
    case TcpStep::kChallenge:
      if (s.challenges.take(m.ticks))
        forward(s, p, hot.ports[direction ^ 1], m);
      else
        drop(s, p, DropReason::k_tcp_out_of_window);
      return true;
    case TcpStep::kReopen:
      end_flow<Key>(s, slot, EndCause::kFin, DropReason::kNone, m);
      open_flow(s, p, key, m);
      return true;
    case TcpStep::kReset:
      count_packet(table, slot, true, direction, p.meta->ip_bytes);
      uint8_t out = hot.ports[direction ^ 1];
      end_flow<Key>(s, slot, EndCause::kRst, DropReason::kNone, m);
      forward(s, p, out, m);
      return true;
  }
  return false;
}

}  // namespace

template <class Key>
bool bring_up_to_date(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
                      const Moment& m) noexcept {
  bool ended = false;
  DropReason reason = recheck<Key>(s, p, slot, direction, m, ended);
  if (ended) {
    open_flow(s, p, key, m);
    return false;
  }
  if (reason != DropReason::kNone) drop(s, p, reason);
  return reason == DropReason::kNone;
}

template <class Key>
bool step_tcp(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
              const Moment& m) noexcept {
  FlowHot& hot = s.table<Key>().entry(slot).hot;
  auto header = tcp_header(p);
  FlowState before = hot.state;
  TcpResult result = track_tcp(hot, direction, header, tcp_payload(p, header), s.parts.settings->tcp);
  bool plain = result.step == TcpStep::kPass && before == hot.state;
  return plain || !settle_tcp(s, p, key, slot, direction, before, result, m);
}

template <class Key>
void step_icmp_error(PipelineState& s, const PacketRef& p, const Key& key, const Moment& m) noexcept {
  auto& table = s.table<Key>();
  uint32_t slot = table.find(key, p.meta->hash);
  if (slot == kNoSlot) {
    drop(s, p, DropReason::k_icmp_unrelated);
    return;
  }
  FlowHot& hot = table.entry(slot).hot;
  unsigned quoted = p.meta->source_is_high ^ (hot.flags & kFlowInitiatorHigh);
  // It comes from the side that the quoted packet went to.
  bool idle = m.ticks - hot.last > s.timeout_ms[static_cast<size_t>(hot.state)];
  if (idle || hot.ports[quoted ^ 1] != p.meta->in_port || (hot.flags & kFlowRevoked) != 0) {
    drop(s, p, DropReason::k_icmp_unrelated);
    return;
  }
  if (hot.checked != m.generation || is_due(hot.deadline, m.ticks)) {
    MacAddress initiator_mac = quoted == 0 ? destination_mac(p) : source_mac(p);
    DropReason reason = rejudge<Key>(s, slot, &initiator_mac, m);
    if (reason != DropReason::kNone) {
      end_flow<Key>(s, slot, EndCause::kRevoked, reason, m);
      drop(s, p, reason);
      return;
    }
  }
  const uint8_t* ip = frame_of(p.mbuf) + p.meta->l3;
  IpAddress source = p.meta->family == 4 ? IpAddress::v4(load<Be32>(ip + 12).host()) : IpAddress::v6(ip + 8);
  if (classify_sender(s, p, source, m).spoofed) {
    drop(s, p, DropReason::k_spoofed_source);
    return;
  }
  show_flow(p, table, slot, FlowRelation::kRelated);
  forward(s, p, hot.ports[quoted], m);
}

template <class Key>
DropReason rejudge(PipelineState& s, uint32_t slot, const MacAddress* initiator_mac,
                   const Moment& m) noexcept {
  auto& table = s.table<Key>();
  auto& entry = table.entry(slot);
  FlowHot& hot = entry.hot;
  const Snapshot& now = *m.snapshot;
  auto newer = [&](uint32_t version) { return static_cast<int32_t>(version - hot.checked) > 0; };
  FlowAddresses a = addresses_of(entry.key, (hot.flags & kFlowInitiatorHigh) != 0);
  const ShardVersions& shards = *now.shards;
  bool endpoints_moved = newer(shards.prefix.load(std::memory_order_relaxed)) ||
                         newer(shards.host[shard_of(a.initiator)].load(std::memory_order_relaxed)) ||
                         newer(shards.host[shard_of(a.responder)].load(std::memory_order_relaxed)) ||
                         a.initiator.is_ipv6_link_local();  // its MAC's shard isn't known here
  bool policy_moved = newer(static_cast<uint32_t>(now.image_generation));
  if (!endpoints_moved && !policy_moved && !is_due(hot.deadline, m.ticks)) {
    hot.checked = m.generation;
    return DropReason::kNone;
  }
  return judge_flow<Key>(s, slot, a, initiator_mac, m);
}

template <class Key>
void end_flow(PipelineState& s, uint32_t slot, EndCause cause, DropReason reason, const Moment& m) noexcept {
  FlowRecord r = record_of<Key>(s, slot, m.snapshot, m.now);
  r.kind = reason != DropReason::kNone ? EventKind::kRevoke : EventKind::kClose;
  r.end = cause;
  r.reason = reason;
  if (reason != DropReason::kNone) {
    r.verdict = static_cast<uint8_t>(Verdict::kDeny);
    add(s.counters().flows_revoked, 1);
  }
  s.parts.events.write(r);
  forget_flow<Key>(s, slot);
}

template <class Key>
void forget_flow(PipelineState& s, uint32_t slot) noexcept {
  auto& table = s.table<Key>();
  count_state(s, IdentityId{table.cold(slot).source}, table.entry(slot).hot.state, FlowState{});
  table.erase(slot);
}

template <class Key>
void end_idle(PipelineState& s, uint32_t slot, const Moment& m) noexcept {
  if ((s.table<Key>().entry(slot).hot.flags & kFlowRevoked) != 0)
    forget_flow<Key>(s, slot);  // its event was written when it was revoked
  else
    end_flow<Key>(s, slot, EndCause::kIdle, DropReason::kNone, m);
}

bool may_originate(const PortView& port, const IpAddress& source) noexcept {
  if (port.any_source) return true;
  // Those without an address yet: parse lets nothing of theirs through but DHCP, MLD and neighbour discovery.
  if (source == IpAddress{} || source == IpAddress::v4(0)) return true;
  for (const Prefix& prefix : port.sources)
    if (prefix.contains(source)) return true;
  return false;
}

bool admits(const PortView& port, const IpAddress& source, const End& end) noexcept {
  return may_originate(port, source) || (source.is_ipv6_link_local() && end.endpoint != nullptr);
}

#define BULKHEAD_FOR(Key)                                                                                \
  template bool bring_up_to_date(PipelineState&, const PacketRef&, const Key&, uint32_t, unsigned,       \
                                 const Moment&) noexcept;                                                \
  template bool step_tcp(PipelineState&, const PacketRef&, const Key&, uint32_t, unsigned,               \
                         const Moment&) noexcept;                                                        \
  template void step_icmp_error(PipelineState&, const PacketRef&, const Key&, const Moment&) noexcept;   \
  template void end_idle<Key>(PipelineState&, uint32_t, const Moment&) noexcept;                         \
  template DropReason rejudge<Key>(PipelineState&, uint32_t, const MacAddress*, const Moment&) noexcept; \
  template void end_flow<Key>(PipelineState&, uint32_t, EndCause, DropReason, const Moment&) noexcept;
BULKHEAD_FOR(FlowKey4)
BULKHEAD_FOR(FlowKey6)

}  // namespace bulkhead
