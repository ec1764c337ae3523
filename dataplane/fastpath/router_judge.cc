// A held packet is judged once more when it leaves: seconds may have passed since policy allowed it.
#include <cstddef>

#include "dataplane/fastpath/flow_open.h"
#include "dataplane/fastpath/protection.h"
#include "dataplane/fastpath/router_parts.h"
#include "wire/transport.h"

namespace bulkhead {
namespace {

/// A packet whose flow has ended meanwhile, revoked perhaps, is judged as one that would open it. A reset
/// ends its flow itself.
DropReason judge_without_flow(PipelineState& s, const PacketRef& p, const Moment& m) noexcept {
  if (p.meta->kind == PacketKind::kIcmpError || p.meta->opening == Opening::kIcmpNot)
    return DropReason::k_icmp_unrelated;
  bool resets = p.meta->proto == IpProto::kTcp &&
                (frame_of(p.mbuf)[p.meta->l4 + offsetof(TcpHeader, flags)] & kTcpRst) != 0;
  if (p.meta->opening == Opening::kTcpNot && !resets) return DropReason::k_tcp_no_state;
  const PortView& port = s.port(p.meta->in_port);
  IpAddress source = source_of(p), destination = destination_of(p);
  Origin origin{source, port.id, p.meta->vlan, source_mac(p), known_tag(s, p.meta->tag)};
  Evaluation e = evaluate(*m.snapshot->image, *m.snapshot->endpoints, origin, destination,
                          ServiceKey{p.meta->service}, m.now);
  add(s.counters().judged, 1);
  DropReason reason =
      admits(port, source, e.source) ? reason_without_flow(e.decision, p) : DropReason::k_spoofed_source;
  if (reason != DropReason::kNone) note_denied(s, p, source, destination, e, reason, m);
  return reason;
}

template <class Key>
FlowBirth birth(PipelineState& s, const PacketRef& p, const Key& key) noexcept {
  uint32_t slot = s.table<Key>().find(key, p.meta->hash);
  return slot == kNoSlot ? FlowBirth{} : s.table<Key>().cold(slot).birth;
}

template <class Key>
DropReason judge(PipelineState& s, const PacketRef& p, const Key& key, FlowBirth flow,
                 const Moment& m) noexcept {
  auto& table = s.table<Key>();
  uint32_t slot = table.find(key, p.meta->hash);
  // Another flow of the same 5-tuple may be protected as this one's wasn't.
  bool is_its_own = slot != kNoSlot && table.cold(slot).birth == flow;
  bool from_relay = p.meta->in_port == s.relay_port;  // which opens nothing
  if (!is_its_own) return from_relay ? DropReason::k_tcp_no_state : judge_without_flow(s, p, m);
  const FlowHot& hot = table.entry(slot).hot;
  if ((hot.flags & kFlowRevoked) != 0) return table.cold(slot).revoked_for;
  if (hot.checked == m.generation && !is_due(hot.deadline, m.ticks)) return DropReason::kNone;
  return rejudge<Key>(s, slot, m);
}

}  // namespace

FlowBirth birth_of_flow(PipelineState& s, const PacketRef& p) noexcept {
  return p.meta->family == 4 ? birth(s, p, p.key->v4) : birth(s, p, p.key->v6);
}

DropReason judge_held(PipelineState& s, const PacketRef& p, FlowBirth flow, const Moment& m) noexcept {
  return p.meta->family == 4 ? judge(s, p, p.key->v4, flow, m) : judge(s, p, p.key->v6, flow, m);
}

}  // namespace bulkhead
