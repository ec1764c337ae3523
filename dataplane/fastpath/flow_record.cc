// Flows as records, and the counters of their states.
#include <bit>

#include "base/bytes.h"
#include "dataplane/fastpath/relayed.h"

namespace bulkhead {
namespace {

uint16_t host16(uint16_t raw) noexcept {
  return std::bit_cast<Be16>(raw).host();
}

IpAddress address(uint32_t raw) noexcept {
  return IpAddress::v4(std::bit_cast<Be32>(raw).host());
}
IpAddress address(const uint8_t (&raw)[16]) noexcept {
  return IpAddress::v6(raw);
}

}  // namespace

template <class Key>
FlowAddresses addresses_of(const Key& key, bool initiator_high) noexcept {
  IpAddress low = address(key.low_address), high = address(key.high_address);
  bool icmp = key.proto == IpProto::kIcmp || key.proto == IpProto::kIcmpv6;
  if (icmp) {
    uint16_t id = host16(key.low_port);
    return initiator_high ? FlowAddresses{high, low, id, 0} : FlowAddresses{low, high, id, 0};
  }
  uint16_t low_port = host16(key.low_port), high_port = host16(key.high_port);
  return initiator_high ? FlowAddresses{high, low, high_port, low_port}
                        : FlowAddresses{low, high, low_port, high_port};
}

Counter& gauge_of(WorkerCounters& c, FlowState state) noexcept {
  switch (state) {
    case FlowState::kOpening:
    case FlowState::kHello:
      return c.flows_tcp_opening;
    case FlowState::kEstablished:
      return c.flows_tcp_established;
    case FlowState::kClosing:
      return c.flows_tcp_closing;
    case FlowState::kUdp:
      return c.flows_udp;
    case FlowState::kIcmp:
      return c.flows_icmp;
    default:
      return c.flows_other;
  }
}

template <class Key>
void count_state(PipelineState& s, uint32_t slot, FlowState from, FlowState to) noexcept {
  if (from == to || is_far(s.table<Key>().entry(slot).hot)) return;
  FlowCold& cold = s.table<Key>().cold(slot);
  SegmentTag source = tag_of(IdentityId{cold.source});
  bool was_half_open = is_half_open(from), half_open = is_half_open(to);
  if (was_half_open && !half_open) {
    if (uint32_t check = s.half_open.check(cold.next); check != kNoIndex) s.hellos.end(check);
    s.half_open.remove(cold.next);
    cold.next = kNoIndex;
  }
  if (half_open && !was_half_open) cold.next = s.half_open.add(source, {slot, std::is_same_v<Key, FlowKey6>});
  uint32_t flows = is_near(s.table<Key>().entry(slot).hot) ? 2 : 1;
  if (from == FlowState{}) s.flows_of[source.value] += flows;
  if (to == FlowState{}) s.flows_of[source.value] -= flows;
  if (from != FlowState{}) add(gauge_of(s.counters(), from), static_cast<uint64_t>(-1));
  if (to != FlowState{}) add(gauge_of(s.counters(), to), 1);
}

static FlowProtection protection_of(const FlowHot& hot, const FlowCold& cold) noexcept {
  if (is_near(hot)) return FlowProtection::kRelay;
  if (cold.hellos) return FlowProtection::kEndToEnd;
  return cold.mtls == static_cast<uint8_t>(MtlsMode::kRelay) ? FlowProtection::kLocal : FlowProtection::kNone;
}

/// What is known of a flow's TLS.
static void describe_tls(const PipelineState& s, const FlowHot& hot, const FlowCold& cold,
                         FlowRecord& r) noexcept {
  std::string_view name;
  if (cold.verified) {
    name = s.names.text(cold.next);
    r.tls_suite = static_cast<uint16_t>(0x1300 | cold.tls);
    r.tls_verified = 1;
  } else if (is_half_open(hot.state) && s.half_open.check(cold.next) != kNoIndex) {
    const TlsHellos& hellos = s.hellos.at(s.half_open.check(cold.next)).hellos;
    if (hellos.heard_client()) name = hellos.name();
  }
  r.sni_bytes = static_cast<uint8_t>(name.size());
  name.copy(r.sni, sizeof r.sni);
}

template <class Key>
ServiceKey service_of(const Key& key, const FlowAddresses& a) noexcept {
  if (has_ports(key.proto)) return service_key(key.proto, a.responder_port);
  bool icmp = key.proto == IpProto::kIcmp || key.proto == IpProto::kIcmpv6;
  return service_key(key.proto, icmp ? key.high_port : uint16_t{0});
}

template <class Key>
FlowRecord record_of(const PipelineState& s, uint32_t slot, const Snapshot* snapshot, BootTime now) noexcept {
  const auto& table = const_cast<PipelineState&>(s).table<Key>();
  const FlowHot& hot = table.entry(slot).hot;
  const FlowCold& cold = table.cold(slot);
  const Key& key = table.entry(slot).key;
  FlowAddresses a = addresses_of(key, (hot.flags & kFlowInitiatorHigh) != 0);
  FlowRecord r{};
  r.flow_id = uint64_t{cold.birth.at} << 32 | (cold.birth.serial * s.parts.worker_count + s.parts.worker);
  r.opened_boot_ns = s.parts.epoch.ns + int64_t{cold.birth.at} * 1'000'000;
  r.time_boot_ns = now.ns;
  Ticks ahead = hot.deadline - s.ticks_of(now);
  r.until_boot_ns =
      (hot.flags & kFlowEnds) != 0 && ahead < kFarthest ? now.ns + int64_t{ahead} * 1'000'000 : INT64_MAX;
  r.generation = snapshot != nullptr ? snapshot->generation : 0;
  for (int d = 0; d < 2; ++d) {
    bool tcp = key.proto == IpProto::kTcp;
    r.packets[d] = cold.total.packets[d] + (tcp ? 0 : hot.counts.packets[d]);
    r.bytes[d] = cold.total.bytes[d] + (tcp ? 0 : hot.counts.bytes[d]);
  }
  r.source = a.initiator;
  r.destination = a.responder;
  r.source_port = a.initiator_port;
  r.destination_port = a.responder_port;
  r.source_identity = cold.source;
  r.destination_identity = cold.destination;
  r.image_generation = cold.image_generation;
  // Numbers of workloads are the present policy's; a flow that wasn't judged under it yet speaks of the one
  // before.
  if (snapshot != nullptr && cold.image_generation == static_cast<uint32_t>(snapshot->image_generation)) {
    bool tagged = cold.source_from == static_cast<uint8_t>(IdentitySource::kTag);
    // A tag that names another segment than the address says that it isn't that workload.
    if (auto* e = snapshot->endpoints->find(a.initiator);
        e != nullptr && (!tagged || tag_of(IdentityId{e->identity}) == tag_of(IdentityId{cold.source})))
      r.source_workload = e->workload;
    if (auto* e = snapshot->endpoints->find(a.responder)) r.destination_workload = e->workload;
  }
  r.service = service_of(key, a).value;
  r.rule = cold.rule;
  r.zone = key.zone;
  r.in_port = hot.ports[0];
  r.out_port = hot.ports[1];
  if (is_near(hot)) {
    auto& pipeline = const_cast<PipelineState&>(s);
    r.out_port = table.entry(far_of<Key>(pipeline, slot)).hot.ports[1];
  }
  r.proto = static_cast<uint8_t>(key.proto);
  r.reason = DropReason::kNone;
  r.verdict = static_cast<uint8_t>(Verdict::kAllow);
  r.tier = static_cast<uint8_t>(cold.tier);
  r.state = static_cast<uint8_t>(hot.state);
  r.source_from = cold.source_from;
  r.mtls = cold.mtls;
  r.protection = protection_of(hot, cold);
  describe_tls(s, hot, cold, r);
  r.log = cold.log;
  r.worker = static_cast<uint8_t>(s.parts.worker);
  return r;
}

template void count_state<FlowKey4>(PipelineState&, uint32_t, FlowState, FlowState) noexcept;
template void count_state<FlowKey6>(PipelineState&, uint32_t, FlowState, FlowState) noexcept;
template FlowAddresses addresses_of(const FlowKey4&, bool) noexcept;
template FlowAddresses addresses_of(const FlowKey6&, bool) noexcept;
template ServiceKey service_of(const FlowKey4&, const FlowAddresses&) noexcept;
template ServiceKey service_of(const FlowKey6&, const FlowAddresses&) noexcept;
template FlowRecord record_of<FlowKey4>(const PipelineState&, uint32_t, const Snapshot*, BootTime) noexcept;
template FlowRecord record_of<FlowKey6>(const PipelineState&, uint32_t, const Snapshot*, BootTime) noexcept;

}  // namespace bulkhead
