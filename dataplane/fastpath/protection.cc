#include "dataplane/fastpath/protection.h"

#include "dataplane/fastpath/flow_open.h"
#include "dataplane/fastpath/flow_pass.h"
#include "dataplane/fastpath/relay_life.h"
#include "dataplane/fastpath/relayed.h"
#include "dataplane/fastpath/router.h"

namespace bulkhead {
namespace {

constexpr DropReason kRefused = DropReason::k_mtls_required;

bool is_bare_segment(const PacketRef& p) noexcept {
  return p.meta->proto == IpProto::kTcp && tcp_payload(p, tcp_header(p)) == 0;
}

/// Whether what answers the initiator leaves on the same kind of port as it came in on: a router's ways there
/// and back may differ.
bool answers_likewise(const PipelineState& s, const IpAddress& initiator, uint8_t in) noexcept {
  if (s.router == nullptr) return true;
  auto back = s.router->next_hop(initiator);
  return back && s.port(back->port.value).attached == s.port(in).attached;
}

}  // namespace

Protection protection_between(const PipelineState& s, MtlsMode mode, uint8_t in, uint8_t out) noexcept {
  if (mode != MtlsMode::kRelay) return mode == MtlsMode::kNone ? Protection::kNone : Protection::kHellos;
  bool from_workload = s.port(in).attached, to_workload = s.port(out).attached;
  if (from_workload != to_workload) return Protection::kRelay;
  return from_workload ? Protection::kNone : Protection::kHellos;
}

DropReason may_begin(const PipelineState& s, MtlsMode mode, const PacketRef& p, const IpAddress& initiator,
                     PortId out, const Moment& m) noexcept {
  if (mode == MtlsMode::kNone) return DropReason::kNone;
  if (p.meta->proto != IpProto::kTcp) return kRefused;
  if (mode == MtlsMode::kRelay && !answers_likewise(s, initiator, p.meta->in_port)) return kRefused;
  switch (protection_between(s, mode, p.meta->in_port, out.value)) {
    case Protection::kNone:
      return DropReason::kNone;
    case Protection::kHellos:
      return is_bare_segment(p) ? DropReason::kNone : kRefused;
    case Protection::kRelay:
      if (initiator.is_ipv6_link_local()) return kRefused;  // nobody's but on its link
      break;
  }
  bool serves =
      s.relay_port != kPortNone.value && (s.parts.relay == nullptr || s.parts.relay->is_ready(m.now));
  return serves ? DropReason::kNone : DropReason::k_relay_unavailable;
}

DropReason still_protected(const PipelineState& s, MtlsMode mode, const FlowHot& flow) noexcept {
  if (mode == MtlsMode::kNone) return DropReason::kNone;
  if (flow.state > FlowState::kClosing) return kRefused;  // not TCP
  if (is_near(flow)) return mode == MtlsMode::kRelay ? DropReason::kNone : kRefused;
  bool needs_relay = protection_between(s, mode, flow.ports[0], flow.ports[1]) == Protection::kRelay;
  return needs_relay ? kRefused : DropReason::kNone;
}

DropReason reason_without_flow(const Decision& decision, const PacketRef& p) noexcept {
  DropReason reason = verdict_reason(decision);
  if (reason != DropReason::kNone || decision.mtls == MtlsMode::kNone) return reason;
  return decision.mtls == MtlsMode::kEndToEnd && is_bare_segment(p) ? DropReason::kNone : kRefused;
}

}  // namespace bulkhead
