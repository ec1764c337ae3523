#include "dataplane/fastpath/flow_open.h"

#include "base/bytes.h"
#include "dataplane/fastpath/answer.h"
#include "dataplane/fastpath/hello_step.h"
#include "dataplane/fastpath/protection.h"
#include "dataplane/fastpath/relayed.h"
#include "dataplane/fastpath/router.h"
#include "dataplane/fastpath/tcp_track.h"
#include "wire/transport.h"

namespace bulkhead {
namespace {

FlowState first_state(IpProto proto) noexcept {
  switch (proto) {
    case IpProto::kTcp:
      return FlowState::kOpening;
    case IpProto::kUdp:
      return FlowState::kUdp;
    case IpProto::kIcmp:
    case IpProto::kIcmpv6:
      return FlowState::kIcmp;
    default:
      return FlowState::kOther;
  }
}

void count_hits(PipelineState& s, const Decision& decision, const Moment& m) noexcept {
  add(s.counters().judged, 1);
  RuleHits* hits = m.snapshot->hits[s.parts.worker];
  if (hits == nullptr) return;
  if (decision.rule != kRuleNone) add(hits[decision.rule.value].decided, 1);
  if (decision.audit_rule != kRuleNone) add(hits[decision.audit_rule.value].audited, 1);
}

void show_decision(const PacketRef& p, const Evaluation& e) noexcept {
  if (p.verdict == nullptr) return;
  p.verdict->rule = e.decision.rule;
  p.verdict->tier = static_cast<uint8_t>(e.decision.tier);
  p.verdict->source_from = static_cast<uint8_t>(e.source.source);
  p.verdict->source = e.source.identity;
  p.verdict->destination = e.destination.identity;
}

/// A record of a packet that has no flow.
FlowRecord packet_record(PipelineState& s, const PacketRef& p, const IpAddress& source,
                         const IpAddress& destination, const Evaluation& e, const Moment& m) noexcept {
  FlowRecord r{};
  r.time_boot_ns = r.opened_boot_ns = m.now.ns;
  r.until_boot_ns = INT64_MAX;
  r.generation = m.snapshot->generation;
  r.image_generation = static_cast<uint32_t>(m.snapshot->image_generation);
  Counted sum = counted(p);
  r.packets[0] = sum.packets;
  r.bytes[0] = sum.bytes;
  r.source = source;
  r.destination = destination;
  r.source_port = p.meta->source_port;
  r.destination_port = p.meta->destination_port;
  r.source_identity = e.source.identity.value;
  r.destination_identity = e.destination.identity.value;
  // A tag that names another segment than the address says that it isn't that workload.
  bool is_endpoint = e.source.endpoint != nullptr &&
                     tag_of(IdentityId{e.source.endpoint->identity}) == tag_of(e.source.identity);
  r.source_workload = is_endpoint ? e.source.endpoint->workload : 0;
  r.destination_workload = e.destination.endpoint != nullptr ? e.destination.endpoint->workload : 0;
  r.service = p.meta->service;
  r.rule = e.decision.rule.value;
  r.in_port = p.meta->in_port;
  r.out_port = kPortNone.value;
  r.proto = static_cast<uint8_t>(p.meta->proto);
  r.tier = static_cast<uint8_t>(e.decision.tier);
  r.source_from = static_cast<uint8_t>(e.source.source);
  r.mtls = static_cast<uint8_t>(e.decision.mtls);
  r.log = e.decision.log;
  r.worker = static_cast<uint8_t>(s.parts.worker);
  return r;
}

void note_audit(PipelineState& s, const PacketRef& p, const FlowAddresses& a, const Evaluation& e,
                const Moment& m) noexcept {
  if (e.decision.audit_rule == kRuleNone) return;
  FlowRecord r = packet_record(s, p, a.initiator, a.responder, e, m);
  r.kind = EventKind::kAudit;
  r.rule = e.decision.audit_rule.value;
  r.verdict = static_cast<uint8_t>(e.decision.audit_action == Action::kAllow ? Verdict::kAllow
                                   : e.decision.audit_action == Action::kAsk ? Verdict::kAsk
                                                                             : Verdict::kDeny);
  s.parts.events.write(r);
}

/// Judges a packet as the first of a flow from `a.initiator`. kNone: it may open one.
DropReason judge_packet(PipelineState& s, const PacketRef& p, const FlowAddresses& a, Evaluation& e,
                        const Moment& m) noexcept {
  const PortView& port = s.port(p.meta->in_port);
  Origin origin{a.initiator, port.id, p.meta->vlan, source_mac(p), known_tag(s, p.meta->tag)};
  e = evaluate(*m.snapshot->image, *m.snapshot->endpoints, origin, a.responder, ServiceKey{p.meta->service},
               m.now);
  count_hits(s, e.decision, m);
  return admits(port, a.initiator, e.source) ? verdict_reason(e.decision) : DropReason::k_spoofed_source;
}

/// Whether a mode asks for TLS of the flow's ends' own.
bool asks_hellos(const PipelineState& s, MtlsMode mode, const FlowHot& flow) noexcept {
  return !is_near(flow) && protection_between(s, mode, flow.ports[0], flow.ports[1]) == Protection::kHellos;
}

/// What a judged flow keeps of its evaluation. `link_local`: the initiator is known by its MAC alone.
void keep_decision(const PipelineState& s, FlowHot& hot, FlowCold& cold, const Evaluation& e, bool link_local,
                   const Moment& m) noexcept {
  hot.checked = m.generation;
  hot.deadline = deadline_ticks(s, e.decision.next_change, m);
  bool ends = hot.deadline != m.ticks + kFarthest;
  hot.flags = static_cast<uint8_t>(ends ? hot.flags | kFlowEnds : hot.flags & ~kFlowEnds);
  hot.flags |= kFlowResponderUnchecked;
  bool mac_bound =
      link_local || (e.source.endpoint != nullptr && (e.source.endpoint->flags & kEndpointHasMac) != 0);
  bool tagged = s.port(hot.ports[0]).trust_tags || s.port(hot.ports[1]).trust_tags;
  bool bound = mac_bound || tagged;
  hot.flags = static_cast<uint8_t>(bound ? hot.flags | kFlowSenderBound : hot.flags & ~kFlowSenderBound);
  cold.rule = e.decision.rule.value;
  cold.image_generation = static_cast<uint32_t>(m.snapshot->image_generation);
  cold.source = e.source.identity.value;
  cold.destination = e.destination.identity.value;
  cold.tier = e.decision.tier;
  cold.source_from = static_cast<uint8_t>(e.source.source) & 3;
  cold.mtls = static_cast<uint8_t>(e.decision.mtls) & 3;
  cold.hellos = asks_hellos(s, e.decision.mtls, hot);
  cold.log = e.decision.log;
}

/// Makes room for a connection that takes that many flows, or says why there is none. Limits of the gateway
/// are shared evenly by its workers. Half-open connections over their limits give way, the oldest first.
DropReason make_room(PipelineState& s, IpProto proto, IdentityId source, uint32_t flows,
                     const Moment& m) noexcept {
  const DataplaneSettings& settings = *s.parts.settings;
  SegmentTag segment = tag_of(source);
  uint32_t share = std::max(settings.max_flows_per_identity / s.parts.worker_count, 1u);
  if (s.flows4.size() + s.flows6.size() + flows > s.parts.max_flows ||
      s.flows_of[segment.value] + flows > share)
    return DropReason::k_flow_table_full;
  HalfOpenFlows::Flow oldest;
  if (proto != IpProto::kTcp || !s.half_open.must_evict(segment, oldest)) return DropReason::kNone;
  add(s.counters().half_open_evicted, 1);
  if (oldest.v6)
    retire_flow<FlowKey6>(s, oldest.slot, EndCause::kEvicted, m);
  else
    retire_flow<FlowKey4>(s, oldest.slot, EndCause::kEvicted, m);
  return DropReason::kNone;
}

}  // namespace

DropReason verdict_reason(const Decision& decision) noexcept {
  if (decision.verdict == Verdict::kDeny) return decision.reason;
  if (decision.verdict == Verdict::kAsk)
    return DropReason::k_ask_timeout;  // nobody to ask: no answer ever comes
  return DropReason::kNone;
}

bool is_answered(const PipelineState& s, const Evaluation& e, DropReason reason) noexcept {
  if (reason == DropReason::k_spoofed_source) return false;
  bool implicit = e.decision.rule == kRuleNone && reason != DropReason::k_contained;
  return e.decision.reject || (implicit && s.parts.settings->reject_implicit_deny);
}

Ticks deadline_ticks(const PipelineState& s, BootTime next_change, const Moment& m) noexcept {
  int64_t ahead_ns = next_change.ns - m.now.ns;
  if (ahead_ns >= int64_t{kFarthest} * 1'000'000) return m.ticks + kFarthest;
  return s.ticks_of(
      next_change);  // rounded down: within its last millisecond a flow is judged packet by packet
}

void note_denied(PipelineState& s, const PacketRef& p, const IpAddress& source, const IpAddress& destination,
                 const Evaluation& e, DropReason reason, const Moment& m) noexcept {
  FlowRecord r = packet_record(s, p, source, destination, e, m);
  r.kind = EventKind::kDeny;
  r.reason = reason;
  r.verdict = static_cast<uint8_t>(e.decision.verdict == Verdict::kAsk ? Verdict::kAsk : Verdict::kDeny);
  s.denies.note(r, m.ticks, s.parts.events);
}

template <class Key>
void open_flow(PipelineState& s, const PacketRef& p, const Key& key, const Moment& m) noexcept {
  FlowAddresses a = addresses_of(key, p.meta->source_is_high);
  if (p.verdict != nullptr) p.verdict->flow = FlowRelation::kNone;
  if (p.meta->opening != Opening::kMay) {
    drop(s, p,
         p.meta->opening == Opening::kTcpNot ? DropReason::k_tcp_no_state : DropReason::k_icmp_unrelated);
    return;
  }
  const PortView& port = s.port(p.meta->in_port);
  Evaluation e{};
  DropReason reason = judge_packet(s, p, a, e, m);
  show_decision(p, e);
  note_audit(s, p, a, e, m);
  auto deny = [&] {
    note_denied(s, p, a.initiator, a.responder, e, reason, m);
    if (is_answered(s, e, reason)) {
      answer_reject(s, p, e.source.identity, m);
      if (p.verdict != nullptr) p.verdict->fate = Fate::kReject;
    }
    drop(s, p, reason);
  };
  if (reason != DropReason::kNone) return deny();
  NextHop next{port.peer, a.responder};
  if (s.router != nullptr) {
    auto admitted = s.router->admit(s, p, m);
    if (!admitted) return;
    next = *admitted;
  } else if (p.meta->ip_bytes > s.port(next.port.value).most_ip_bytes(p.meta->l3)) {
    return drop_too_big(s, p, next.port, m);  // before there is a flow for it
  }
  reason = may_begin(s, e.decision.mtls, p, a.initiator, next.port, m);
  if (reason != DropReason::kNone) return deny();
  bool relayed = protection_between(s, e.decision.mtls, port.id.value, next.port.value) == Protection::kRelay;
  reason = make_room(s, p.meta->proto, e.source.identity, relayed ? 2 : 1, m);
  auto& table = s.table<Key>();
  uint32_t slot = reason == DropReason::kNone ? table.insert(key, p.meta->hash) : kNoSlot;
  if (slot == kNoSlot) {
    drop(s, p, reason == DropReason::kNone ? DropReason::k_flow_table_full : reason);
    return;
  }
  FlowHot& hot = table.entry(slot).hot;
  FlowCold& cold = table.cold(slot);
  hot.flags = p.meta->source_is_high ? kFlowInitiatorHigh : 0;
  hot.ports[0] = p.meta->in_port;
  hot.ports[1] = next.port.value;
  hot.last = m.ticks;
  hot.state = first_state(p.meta->proto);
  cold.birth = {m.ticks, s.serial++};
  bool link_local = a.initiator.is_ipv6_link_local();
  if constexpr (std::is_same_v<Key, FlowKey6>)
    if (link_local) table.entry(slot).initiator_mac = source_mac(p);
  keep_decision(s, hot, cold, e, link_local, m);
  Counted sum = counted(p);
  if (p.meta->proto == IpProto::kTcp) {
    const uint8_t* at = frame_of(p.mbuf) + p.meta->l4;
    size_t header = (load<TcpHeader>(at).data_offset >> 4) * size_t{4};
    begin_tcp(hot, {at, header}, static_cast<uint32_t>(l4_bytes(p) - header));
    cold.total.packets[0] = sum.packets;
    cold.total.bytes[0] = sum.bytes;
  } else {
    hot.counts.packets[0] = sum.packets;
    hot.counts.bytes[0] = sum.bytes;
  }
  count_state<Key>(s, slot, FlowState{}, hot.state);
  if (relayed) reason = open_relayed(s, p, key, slot, m);
  if (reason != DropReason::kNone) {
    forget_flow<Key>(s, slot);
    return drop(s, p, reason);
  }
  add(s.counters().new_flows, 1);
  FlowRecord opened = record_of<Key>(s, slot, m.snapshot, m.now);
  opened.kind = EventKind::kOpen;
  s.parts.events.write(opened);
  if (p.verdict != nullptr) p.verdict->flow = FlowRelation::kNew;
  if (relayed)
    send_to_relay(s, p, m);
  else if (s.router != nullptr)
    s.router->deliver(s, p, next, m);
  else
    send(s, p, next.port);
}

template <class Key>
bool may_open(PipelineState& s, const PacketRef& p, const Key& key, const Moment& m) noexcept {
  Evaluation e{};
  return judge_packet(s, p, addresses_of(key, p.meta->source_is_high), e, m) == DropReason::kNone &&
         e.decision.mtls == MtlsMode::kNone;
}

template <class Key>
Evaluation evaluate_flow(PipelineState& s, uint32_t slot, const FlowAddresses& a,
                         const std::string_view* server_name, const Moment& m) noexcept {
  auto& entry = s.table<Key>().entry(slot);
  const FlowCold& cold = s.table<Key>().cold(slot);
  const EndpointTable& endpoints = *m.snapshot->endpoints;
  // keep_decision() has every packet checked against a binding's MAC.
  const MacAddress* link_local = initiator_mac(entry);
  const Endpoint* binding = link_local != nullptr ? nullptr : endpoints.find(a.initiator);
  MacAddress mac = link_local != nullptr ? *link_local : binding != nullptr ? binding->mac : MacAddress{};
  uint16_t vlan = s.route_mode() ? uint16_t{0} : static_cast<uint16_t>(entry.key.zone & 0x0fff);
  bool tagged = cold.source_from == static_cast<uint8_t>(IdentitySource::kTag);
  SegmentTag tag = tagged ? tag_of(IdentityId{cold.source}) : kTagNone;
  PortId port = s.port(entry.hot.ports[0]).id;
  return evaluate(*m.snapshot->image, endpoints, {a.initiator, port, vlan, mac, tag}, a.responder,
                  service_of(entry.key, a), m.now, server_name);
}

template <class Key>
DropReason judge_flow(PipelineState& s, uint32_t slot, const FlowAddresses& a, const Moment& m) noexcept {
  auto& entry = s.table<Key>().entry(slot);
  FlowCold& cold = s.table<Key>().cold(slot);
  const PortView& port = s.port(entry.hot.ports[0]);
  ServerName name = server_name_of(s, entry.hot, cold);
  Evaluation e = evaluate_flow<Key>(s, slot, a, name.known ? &name.text : nullptr, m);
  count_hits(s, e.decision, m);
  DropReason reason =
      admits(port, a.initiator, e.source) ? verdict_reason(e.decision) : DropReason::k_spoofed_source;
  if (reason == DropReason::kNone) reason = still_protected(s, e.decision.mtls, entry.hot);
  bool same_ends = tag_of(e.source.identity) == tag_of(IdentityId{cold.source}) &&
                   tag_of(e.destination.identity) == tag_of(IdentityId{cold.destination});
  auto is_reused = [&](uint32_t identity) {
    uint32_t since =
        m.snapshot->shards->meaning[tag_of(IdentityId{identity}).value].load(std::memory_order_relaxed);
    return static_cast<int32_t>(since - entry.hot.checked) > 0;
  };
  same_ends &= !is_reused(cold.source) && !is_reused(cold.destination);
  if (reason == DropReason::kNone && !same_ends) reason = DropReason::k_identity_changed;
  if (reason == DropReason::kNone && asks_hellos(s, e.decision.mtls, entry.hot))
    reason = judge_tls(cold, name, e.decision);
  if (reason == DropReason::kNone) {
    keep_decision(s, entry.hot, cold, e, initiator_mac(entry) != nullptr, m);
    if (!needs_hellos(cold)) stop_reading<Key>(s, slot);
    if (is_near(entry.hot)) check_responder_again<Key>(s, slot);
    return reason;
  }
  cold.rule = e.decision.rule.value;
  cold.image_generation = static_cast<uint32_t>(m.snapshot->image_generation);
  cold.tier = e.decision.tier;
  cold.mtls = static_cast<uint8_t>(e.decision.mtls) & 3;
  return reason;
}

template void open_flow(PipelineState&, const PacketRef&, const FlowKey4&, const Moment&) noexcept;
template void open_flow(PipelineState&, const PacketRef&, const FlowKey6&, const Moment&) noexcept;
template bool may_open(PipelineState&, const PacketRef&, const FlowKey4&, const Moment&) noexcept;
template bool may_open(PipelineState&, const PacketRef&, const FlowKey6&, const Moment&) noexcept;
template Evaluation evaluate_flow<FlowKey4>(PipelineState&, uint32_t, const FlowAddresses&,
                                            const std::string_view*, const Moment&) noexcept;
template Evaluation evaluate_flow<FlowKey6>(PipelineState&, uint32_t, const FlowAddresses&,
                                            const std::string_view*, const Moment&) noexcept;
template DropReason judge_flow<FlowKey4>(PipelineState&, uint32_t, const FlowAddresses&,
                                         const Moment&) noexcept;
template DropReason judge_flow<FlowKey6>(PipelineState&, uint32_t, const FlowAddresses&,
                                         const Moment&) noexcept;

}  // namespace bulkhead
