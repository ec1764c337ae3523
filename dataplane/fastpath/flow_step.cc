#include "dataplane/fastpath/flow_step.h"

#include "base/bytes.h"
#include "dataplane/fastpath/answer.h"
#include "dataplane/fastpath/flow_open.h"
#include "dataplane/fastpath/flow_pass.h"
#include "dataplane/fastpath/hello_step.h"
#include "dataplane/fastpath/parse_l4.h"
#include "dataplane/fastpath/relayed.h"
#include "dataplane/fastpath/router.h"
#include "dataplane/fastpath/tcp_track.h"
#include "wire/icmp.h"
#include "wire/ipv6.h"
#include "wire/transport.h"

namespace bulkhead {
namespace {

/// A packet's source as its binding has it; spoofed where binding or port say otherwise.
End classify_sender(PipelineState& s, const PacketRef& p, const IpAddress& source, const Moment& m) noexcept {
  const PortView& port = s.port(p.meta->in_port);
  End end = classify_source(*m.snapshot->endpoints,
                            {source, port.id, p.meta->vlan, source_mac(p), known_tag(s, p.meta->tag)});
  end.spoofed |= !admits(port, source, end);
  return end;
}

/// Whether a tag on a packet of a live flow, or that it has none, agrees with what the flow was allowed by.
bool tag_agrees(const PipelineState& s, const FlowCold& flow, unsigned direction, SegmentTag tag) noexcept {
  bool by_tag = direction == 0 && flow.source_from == static_cast<uint8_t>(IdentitySource::kTag);
  if (tag == kTagNone) return !by_tag;
  SegmentTag of_flow = tag_of(IdentityId{direction == 0 ? flow.source : flow.destination});
  return tag == of_flow || known_tag(s, tag) == of_flow;
}

/// Whether a packet of a live flow comes from the end that it says, and goes to no other: kNone, or why it is
/// dropped. Remembers a binding to a MAC.
template <class Key>
DropReason refused_sender(PipelineState& s, const PacketRef& p, uint32_t slot, unsigned direction,
                          const Moment& m) noexcept {
  if (p.meta->in_port == s.relay_port) return DropReason::kNone;
  auto& entry = s.table<Key>().entry(slot);
  FlowAddresses a = addresses_of(entry.key, (entry.hot.flags & kFlowInitiatorHigh) != 0);
  // A link-local address is whose MAC it is: another workload's packet isn't this flow's, in neither
  // direction.
  const MacAddress* link_local = initiator_mac(entry);
  if (link_local != nullptr && *link_local != (direction == 0 ? source_mac(p) : destination_mac(p)))
    return DropReason::k_spoofed_source;
  End end = classify_sender(s, p, direction == 0 ? a.initiator : a.responder, m);
  if (end.spoofed) return DropReason::k_spoofed_source;
  if (!tag_agrees(s, s.table<Key>().cold(slot), direction, p.meta->tag))
    return DropReason::k_identity_changed;
  if (end.endpoint != nullptr && (end.endpoint->flags & kEndpointHasMac) != 0)
    entry.hot.flags |= kFlowSenderBound;
  if (direction == 1) entry.hot.flags &= static_cast<uint8_t>(~kFlowResponderUnchecked);
  return DropReason::kNone;
}

/// Whether a revoked flow is over for this packet: it asks for a new one.
bool asks_anew(const PacketRef& p) noexcept {
  return p.meta->proto == IpProto::kTcp && p.meta->opening == Opening::kMay;
}

}  // namespace

template <class Key>
DropReason recheck(PipelineState& s, const PacketRef& p, uint32_t slot, unsigned direction, const Moment& m,
                   bool& ended) noexcept {
  uint32_t whole = whole_of<Key>(s, slot);
  FlowHot& leg = s.table<Key>().entry(slot).hot;
  FlowHot& hot = s.table<Key>().entry(whole).hot;
  if (m.ticks - hot.last > s.timeout_ms[static_cast<size_t>(hot.state)]) {
    retire_flow<Key>(s, whole, EndCause::kIdle, m);
    ended = true;
    return DropReason::kNone;
  }
  // First of all, so that no stranger's packet can end the flow or be answered.
  const bool checked = (leg.flags & kFlowSenderBound) != 0;
  DropReason reason = checked ? refused_sender<Key>(s, p, slot, direction, m) : DropReason::kNone;
  if (reason != DropReason::kNone) return reason;
  if ((hot.flags & kFlowRevoked) != 0) {
    if (asks_anew(p)) {
      forget_flow<Key>(s, whole);
      ended = true;
      return DropReason::kNone;
    }
    reason = s.table<Key>().cold(whole).revoked_for;
  } else if (hot.checked != m.generation || is_due(hot.deadline, m.ticks)) {
    reason = rejudge<Key>(s, whole, m);
  }
  if (reason != DropReason::kNone) {
    revoke_flow<Key>(s, p, slot, direction, reason, m);
    return reason;
  }
  // Judging may have found a binding that wasn't there before.
  bool is_due_now =
      (leg.flags & kFlowSenderBound) != 0 || (direction == 1 && (leg.flags & kFlowResponderUnchecked) != 0);
  return is_due_now && !checked ? refused_sender<Key>(s, p, slot, direction, m) : DropReason::kNone;
}

namespace {

/// The sequence number of the TCP segment that an ICMP error quotes; parse has seen that it is there.
uint32_t quoted_sequence(const PacketRef& p) noexcept {
  const uint8_t* icmp = frame_of(p.mbuf) + p.meta->l4;
  return load<Be32>(icmp + quoted_l4_offset(icmp, p.meta->family == 4) + offsetof(TcpHeader, sequence))
      .host();
}

/// Whether a quoted segment of that direction may still be on its way: sent, and not acknowledged yet (RFC
/// 5927 §4.1). One less, as of a SYN whose answer isn't seen yet, or a keep-alive.
bool may_be_in_flight(const FlowHot& flow, unsigned direction, uint32_t sequence) noexcept {
  return !before(sequence, flow.tcp.acked[direction] - 1) && !after(sequence, flow.tcp.end[direction]);
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
bool settle_tcp(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
                FlowState before, TcpResult result, const Moment& m) noexcept {
  auto& table = s.table<Key>();
  FlowHot& hot = table.entry(slot).hot;
  switch (result.step) {
    case TcpStep::kPass:
      count_state<Key>(s, slot, before, hot.state);
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
    case TcpStep::kCross: {
      if (is_near(hot) || is_far(hot) || !may_open(s, p, key, m)) {
        drop(s, p, DropReason::k_tcp_no_state);
        return true;
      }
      auto header = tcp_header(p);
      cross_tcp(hot, header, tcp_payload(p, header));
      return false;
    }
    case TcpStep::kReopen:
      if (is_far(hot) || p.meta->in_port == s.relay_port) {
        drop(s, p, DropReason::k_tcp_no_state);
        return true;
      }
      end_flow<Key>(s, slot, before == FlowState::kOpening ? EndCause::kReopened : EndCause::kFin,
                    DropReason::kNone, m);
      open_flow(s, p, key, m);
      return true;
    case TcpStep::kReset:
      if (is_near(hot) || is_far(hot)) {
        pass_reset<Key>(s, p, slot, direction, m);
        return true;
      }
      count_packet(table, slot, true, direction, p.meta->ip_bytes);
      uint8_t out = hot.ports[direction ^ 1];
      end_flow<Key>(s, slot, EndCause::kRst, DropReason::kNone, m);
      forward(s, p, out, m);
      return true;
  }
  return false;
}

template <class Key>
bool step_tcp(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
              const Moment& m) noexcept {
  if (needs_hellos(s.table<Key>().cold(slot))) [[unlikely]]
    return step_hello(s, p, key, slot, direction, m);
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
  if (slot == kNoSlot) return drop(s, p, DropReason::k_icmp_unrelated);
  FlowHot& whole = table.entry(slot).hot;
  unsigned quoted = p.meta->source_is_high ^ (whole.flags & kFlowInitiatorHigh);
  // It comes from the side that the quoted packet went to: of the relay's connections the one that is there.
  uint32_t leg = is_near(whole) && whole.ports[quoted ^ 1] != p.meta->in_port ? far_of<Key>(s, slot) : slot;
  FlowHot& hot = table.entry(leg).hot;
  bool idle = m.ticks - whole.last > s.timeout_ms[static_cast<size_t>(whole.state)];
  if (idle || hot.ports[quoted ^ 1] != p.meta->in_port || (whole.flags & kFlowRevoked) != 0)
    return drop(s, p, DropReason::k_icmp_unrelated);
  bool checks_sequence = key.proto == IpProto::kTcp && s.parts.settings->tcp == TcpMode::kStrict;
  if (checks_sequence && !may_be_in_flight(hot, quoted, quoted_sequence(p)))
    return drop(s, p, DropReason::k_icmp_unrelated);
  const uint8_t* ip = frame_of(p.mbuf) + p.meta->l3;
  IpAddress source = p.meta->family == 4 ? IpAddress::v4(load<Be32>(ip + 12).host()) : IpAddress::v6(ip + 8);
  End sender = classify_sender(s, p, source, m);
  if (sender.spoofed) return drop(s, p, DropReason::k_spoofed_source);
  if (sender.contained) return drop(s, p, DropReason::k_contained);
  if (whole.checked != m.generation || is_due(whole.deadline, m.ticks)) {
    DropReason reason = rejudge<Key>(s, slot, m);
    if (reason != DropReason::kNone) {
      revoke_idle<Key>(s, slot, reason, m);
      return drop(s, p, reason);
    }
  }
  show_flow(p, table, slot, FlowRelation::kRelated);
  forward(s, p, hot.ports[quoted], m);
}

template <class Key>
DropReason rejudge(PipelineState& s, uint32_t slot, const Moment& m) noexcept {
  auto& table = s.table<Key>();
  auto& entry = table.entry(slot);
  FlowHot& hot = entry.hot;
  const Snapshot& now = *m.snapshot;
  auto newer = [&](uint32_t version) { return static_cast<int32_t>(version - hot.checked) > 0; };
  FlowAddresses a = addresses_of(entry.key, (hot.flags & kFlowInitiatorHigh) != 0);
  const ShardVersions& shards = *now.shards;
  bool endpoints_moved = newer(shards.prefix.load(std::memory_order_relaxed)) ||
                         newer(shards.host[shard_of(a.initiator)].load(std::memory_order_relaxed)) ||
                         newer(shards.host[shard_of(a.responder)].load(std::memory_order_relaxed));
  if (const MacAddress* mac = initiator_mac(entry))
    endpoints_moved |= newer(shards.host[shard_of(mac_key(*mac))].load(std::memory_order_relaxed));
  bool policy_moved = newer(static_cast<uint32_t>(now.image_generation));
  if (!endpoints_moved && !policy_moved && !is_due(hot.deadline, m.ticks)) {
    hot.checked = m.generation;
    return DropReason::kNone;
  }
  return judge_flow<Key>(s, slot, a, m);
}

/// Why a flow's TLS isn't what policy requires. A verified one has a name that isn't allowed any more, where
/// names matter.
static void describe_fault(const FlowCold& cold, DropReason reason, FlowRecord& r) noexcept {
  if (reason != DropReason::k_mtls_required) return;
  bool by_name = cold.verified && cold.mtls == static_cast<uint8_t>(MtlsMode::kEndToEnd);
  if (by_name) r.tls_fault = TlsFault::kNameNotAllowed;
  if (!cold.verified) r.tls_fault = static_cast<TlsFault>(cold.tls);
}

template <class Key>
void end_flow(PipelineState& s, uint32_t slot, EndCause cause, DropReason reason, const Moment& m) noexcept {
  slot = whole_of<Key>(s, slot);
  FlowRecord r = record_of<Key>(s, slot, m.snapshot, m.now);
  r.kind = reason != DropReason::kNone ? EventKind::kRevoke : EventKind::kClose;
  r.end = cause;
  r.reason = reason;
  describe_fault(s.table<Key>().cold(slot), reason, r);
  if (reason != DropReason::kNone) {
    r.verdict = static_cast<uint8_t>(Verdict::kDeny);
    add(s.counters().flows_revoked, 1);
  }
  s.parts.events.write(r);
  forget_flow<Key>(s, slot);
}

template <class Key>
void revoke_flow(PipelineState& s, const PacketRef& p, uint32_t slot, unsigned direction, DropReason reason,
                 const Moment& m) noexcept {
  auto& table = s.table<Key>();
  uint32_t whole = whole_of<Key>(s, slot);
  FlowHot& hot = table.entry(slot).hot;
  if (hot.state <= FlowState::kClosing && s.parts.settings->reset_on_revoke) {
    answer_revoked(s, p, hot, direction);
    reset_other_leg<Key>(s, p, slot, direction);
  }
  show_flow(p, table, whole, FlowRelation::kEstablished);
  if ((table.entry(whole).hot.flags & kFlowRevoked) != 0)
    forget_flow<Key>(s, whole);  // its event was written when it was revoked
  else
    end_flow<Key>(s, whole, EndCause::kRevoked, reason, m);
}

template <class Key>
void revoke_idle(PipelineState& s, uint32_t slot, DropReason reason, const Moment& m) noexcept {
  auto& table = s.table<Key>();
  FlowHot& hot = table.entry(slot).hot;
  if (hot.state > FlowState::kClosing || !s.parts.settings->reset_on_revoke) {
    end_flow<Key>(s, slot, EndCause::kRevoked, reason, m);
    return;
  }
  FlowRecord r = record_of<Key>(s, slot, m.snapshot, m.now);
  r.kind = EventKind::kRevoke;
  r.end = EndCause::kRevoked;
  r.reason = reason;
  describe_fault(table.cold(slot), reason, r);
  r.verdict = static_cast<uint8_t>(Verdict::kDeny);
  s.parts.events.write(r);
  add(s.counters().flows_revoked, 1);
  hot.flags |= kFlowRevoked;
  table.cold(slot).revoked_for = reason;
}

template <class Key>
void forget_flow(PipelineState& s, uint32_t slot) noexcept {
  auto& table = s.table<Key>();
  slot = whole_of<Key>(s, slot);
  if (is_near(table.entry(slot).hot)) table.erase(far_of<Key>(s, slot));
  count_state<Key>(s, slot, table.entry(slot).hot.state, FlowState{});
  if (table.cold(slot).verified) s.names.release(table.cold(slot).next);
  table.erase(slot);
}

template <class Key>
void retire_flow(PipelineState& s, uint32_t slot, EndCause cause, const Moment& m) noexcept {
  slot = whole_of<Key>(s, slot);
  if ((s.table<Key>().entry(slot).hot.flags & kFlowRevoked) != 0)
    forget_flow<Key>(s, slot);  // its event was written when it was revoked
  else
    end_flow<Key>(s, slot, cause, DropReason::kNone, m);
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

#define BULKHEAD_FOR(Key)                                                                               \
  template bool bring_up_to_date(PipelineState&, const PacketRef&, const Key&, uint32_t, unsigned,      \
                                 const Moment&) noexcept;                                               \
  template DropReason recheck<Key>(PipelineState&, const PacketRef&, uint32_t, unsigned, const Moment&, \
                                   bool&) noexcept;                                                     \
  template void forget_flow<Key>(PipelineState&, uint32_t) noexcept;                                    \
  template bool step_tcp(PipelineState&, const PacketRef&, const Key&, uint32_t, unsigned,              \
                         const Moment&) noexcept;                                                       \
  template void step_icmp_error(PipelineState&, const PacketRef&, const Key&, const Moment&) noexcept;  \
  template bool settle_tcp(PipelineState&, const PacketRef&, const Key&, uint32_t, unsigned, FlowState, \
                           TcpResult, const Moment&) noexcept;                                          \
  template void revoke_flow<Key>(PipelineState&, const PacketRef&, uint32_t, unsigned, DropReason,      \
                                 const Moment&) noexcept;                                               \
  template void retire_flow<Key>(PipelineState&, uint32_t, EndCause, const Moment&) noexcept;           \
  template DropReason rejudge<Key>(PipelineState&, uint32_t, const Moment&) noexcept;                   \
  template void revoke_idle<Key>(PipelineState&, uint32_t, DropReason, const Moment&) noexcept;         \
  template void end_flow<Key>(PipelineState&, uint32_t, EndCause, DropReason, const Moment&) noexcept;
BULKHEAD_FOR(FlowKey4)
BULKHEAD_FOR(FlowKey6)

}  // namespace bulkhead
