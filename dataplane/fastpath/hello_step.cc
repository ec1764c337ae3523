#include "dataplane/fastpath/hello_step.h"

#include <algorithm>

#include "dataplane/fastpath/flow_open.h"
#include "dataplane/fastpath/flow_pass.h"

namespace bulkhead {
namespace {

/// What becomes of a segment's data.
enum class DataFate : uint8_t { kPasses, kDropped, kCut };

constexpr DropReason kRefused = DropReason::k_mtls_required;

/// One segment's data and where it belongs.
struct Data {
  unsigned direction;
  uint32_t sequence;
  uint32_t acked;  ///< what its receiver has acknowledged of this direction, before the segment
  std::span<const uint8_t> bytes;
  bool was_half_open;  ///< before the segment: not both ends had said that they are through
};

void give_way(PipelineState& s, uint32_t check, const Moment& m) noexcept {
  HalfOpenFlows::Flow oldest = s.hellos.at(check).flow;
  add(s.counters().half_open_evicted, 1);
  if (oldest.v6)
    retire_flow<FlowKey6>(s, oldest.slot, EndCause::kEvicted, m);
  else
    retire_flow<FlowKey4>(s, oldest.slot, EndCause::kEvicted, m);
}

/// The flow's record; an older flow's gives way where there is none.
uint32_t record_for(PipelineState& s, HalfOpenFlows::Flow flow, const FlowCold& cold,
                    const Moment& m) noexcept {
  uint32_t& check = s.half_open.check(cold.next);
  if (check != kNoIndex) return check;
  SegmentTag source = tag_of(IdentityId{cold.source});
  if (uint32_t older = s.hellos.before_begin(source); older != kNoIndex) give_way(s, older, m);
  check = s.hellos.begin(flow, source);
  return check;
}

/// Whether the bytes that passed before are the same; those that the receiver has are its own affair.
bool repeats(const HelloPool& pool, const HelloCheck::Side& side, uint32_t acked, uint32_t offset,
             std::span<const uint8_t> bytes) noexcept {
  uint32_t known = acked - side.start;
  if (known > offset) {
    size_t skip = std::min<size_t>(known - offset, bytes.size());
    bytes = bytes.subspan(skip);
    offset += static_cast<uint32_t>(skip);
  }
  return bytes.empty() || pool.same(side, offset, bytes);
}

/// Whether policy admits the name of the ClientHello that has just been heard.
template <class Key>
bool admits_name(PipelineState& s, uint32_t slot, const TlsHellos& hellos, const Moment& m) noexcept {
  const auto& entry = s.table<Key>().entry(slot);
  FlowAddresses a = addresses_of(entry.key, (entry.hot.flags & kFlowInitiatorHigh) != 0);
  std::string_view name = hellos.name();
  add(s.counters().judged, 1);
  Decision decision = evaluate_flow<Key>(s, slot, a, &name, m).decision;
  return decision.verdict == Verdict::kAllow &&
         (decision.mtls != MtlsMode::kEndToEnd || decision.admits_name);
}

/// Reads what nobody has read before.
template <class Key>
TlsFault read_fresh(PipelineState& s, uint32_t slot, uint32_t check, const Data& data,
                    const Moment& m) noexcept {
  HelloCheck& record = s.hellos.at(check);
  HelloCheck::Side& side = record.sides[data.direction];
  bool heard = record.hellos.heard_client();
  size_t taken;
  TlsFault fault = record.hellos.take(data.direction, data.bytes, taken);
  if (fault != TlsFault::kNone) return fault;
  if (side.bytes + taken > kMostHelloBytes) return TlsFault::kTooLong;
  if (!heard && record.hellos.heard_client() && !admits_name<Key>(s, slot, record.hellos, m))
    return TlsFault::kNameNotAllowed;
  for (uint32_t older; (older = s.hellos.before_keep(check, data.direction, taken)) != kNoIndex;)
    give_way(s, older, m);
  s.hellos.keep(check, data.direction, data.bytes.first(taken));
  return TlsFault::kNone;
}

/// Data of a flow whose hellos are being read.
template <class Key>
DataFate read_data(PipelineState& s, uint32_t slot, Data data, TlsFault& fault, const Moment& m) noexcept {
  FlowCold& cold = s.table<Key>().cold(slot);
  if (!data.was_half_open) return DataFate::kDropped;
  uint32_t check = record_for(s, {slot, std::is_same_v<Key, FlowKey6>}, cold, m);
  HelloCheck& record = s.hellos.at(check);
  HelloCheck::Side& side = record.sides[data.direction];
  if (!side.begun) side.begun = true, side.start = data.acked;
  auto offset = static_cast<int32_t>(data.sequence - side.start);
  if (offset < -1) return DataFate::kDropped;
  if (offset == -1) {  // a keep-alive's byte, that its receiver has
    data.bytes = data.bytes.subspan(1);
    offset = 0;
  }
  auto at = static_cast<uint32_t>(offset);
  if (at > side.bytes) return record.hellos.verified() ? DataFate::kPasses : DataFate::kDropped;
  size_t again = std::min<size_t>(side.bytes - at, data.bytes.size());
  if (!repeats(s.hellos, side, data.acked, at, data.bytes.first(again))) return DataFate::kDropped;
  data.bytes = data.bytes.subspan(again);
  if (data.bytes.empty() || record.hellos.verified()) return DataFate::kPasses;
  fault = read_fresh<Key>(s, slot, check, data, m);
  return fault == TlsFault::kNone ? DataFate::kPasses : DataFate::kCut;
}

/// Whether each side's hello is verified, and has arrived.
bool is_over(const HelloCheck& check, const FlowHot& hot) noexcept {
  if (!check.hellos.verified()) return false;
  for (unsigned d = 0; d < 2; ++d)
    if (before(hot.tcp.acked[d], check.sides[d].start + check.sides[d].bytes)) return false;
  return true;
}

/// The flow is what policy requires: from here on it is one like others.
template <class Key>
void finish(PipelineState& s, uint32_t slot, uint32_t check, const Moment& m) noexcept {
  FlowCold& cold = s.table<Key>().cold(slot);
  const TlsHellos& hellos = s.hellos.at(check).hellos;
  uint32_t name = s.names.keep(hellos.name());
  cold.tls = static_cast<uint8_t>(hellos.suite());
  stop_reading<Key>(s, slot);
  cold.next = name;
  cold.verified = 1;
  FlowRecord verified = record_of<Key>(s, slot, m.snapshot, m.now);
  verified.kind = EventKind::kVerified;
  s.parts.events.write(verified);
}

}  // namespace

ServerName server_name_of(const PipelineState& s, const FlowHot& hot, const FlowCold& cold) noexcept {
  if (cold.verified) return {true, s.names.text(cold.next)};
  if (!is_half_open(hot.state) || s.half_open.check(cold.next) == kNoIndex) return {false, {}};
  const TlsHellos& hellos = s.hellos.at(s.half_open.check(cold.next)).hellos;
  return {hellos.heard_client() || hellos.verified(), hellos.name()};
}

DropReason judge_tls(FlowCold& flow, const ServerName& name, const Decision& decision) noexcept {
  TlsFault fault = TlsFault::kNone;
  if (!flow.verified && !flow.hellos)
    fault = TlsFault::kNotVerified;
  else if (decision.mtls == MtlsMode::kEndToEnd && name.known && !decision.admits_name)
    fault = TlsFault::kNameNotAllowed;
  if (fault == TlsFault::kNone) return DropReason::kNone;
  if (!flow.verified) flow.tls = static_cast<uint8_t>(fault);
  return kRefused;
}

template <class Key>
void stop_reading(PipelineState& s, uint32_t slot) noexcept {
  FlowHot& hot = s.table<Key>().entry(slot).hot;
  if (hot.state == FlowState::kHello) {
    count_state<Key>(s, slot, FlowState::kHello, FlowState::kEstablished);
    hot.state = FlowState::kEstablished;
  } else if (hot.state == FlowState::kOpening) {
    uint32_t& check = s.half_open.check(s.table<Key>().cold(slot).next);
    if (check != kNoIndex) s.hellos.end(check);
    check = kNoIndex;
  }
}

template <class Key>
bool step_hello(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
                const Moment& m) noexcept {
  auto& table = s.table<Key>();
  FlowHot& hot = table.entry(slot).hot;
  auto header = tcp_header(p);
  const uint32_t payload = tcp_payload(p, header);
  const FlowHot before = hot;
  // Strictly, whatever the gateway's own mode: both directions have to pass here, and an acknowledgement of
  // what was never sent must not make data look old.
  TcpResult result = track_tcp(hot, direction, header, payload, TcpMode::kStrict);
  if (result.step == TcpStep::kDrop) return !settle_tcp(s, p, key, slot, direction, before.state, result, m);

  if (hot.state == FlowState::kEstablished) hot.state = FlowState::kHello;
  DataFate fate = DataFate::kPasses;
  TlsFault fault = TlsFault::kNone;
  TcpSegment segment = read_segment(header, payload);
  // What has no data says nothing of where data ends: nobody has seen what would be before it.
  bool ahead = after(segment.sequence, before.tcp.end[direction]) && !segment.has(kTcpSyn);
  if (ahead && payload == 0) hot.tcp.end[direction] = before.tcp.end[direction];
  if (ahead && segment.has(kTcpFin)) fate = DataFate::kDropped;  // its sender sends it again
  // Who opens at the same time as its peer is no client, and nothing of a SYN or RST is a hello's.
  if (result.step == TcpStep::kCross) fate = DataFate::kDropped;
  if (payload != 0 && fate == DataFate::kPasses) {
    bool plain = result.step == TcpStep::kPass && !segment.has(kTcpSyn) && !p.meta->fragment;
    fate = plain ? read_data<Key>(s, slot,
                                  {direction,
                                   segment.sequence,
                                   before.tcp.acked[direction],
                                   {header.data() + header.size(), payload},
                                   is_half_open(before.state)},
                                  fault, m)
                 : DataFate::kDropped;
  }
  if (fate != DataFate::kPasses) {
    hot = before;
    if (fate == DataFate::kCut) {
      table.cold(slot).tls = static_cast<uint8_t>(fault);
      revoke_flow<Key>(s, p, slot, direction, kRefused, m);
    }
    drop(s, p, kRefused);
    return false;
  }
  if (settle_tcp(s, p, key, slot, direction, before.state, result, m)) return false;
  if (!is_half_open(hot.state)) return true;
  uint32_t check = s.half_open.check(table.cold(slot).next);
  if (check != kNoIndex && hot.state == FlowState::kHello && is_over(s.hellos.at(check), hot))
    finish<Key>(s, slot, check, m);
  return true;
}

template bool step_hello(PipelineState&, const PacketRef&, const FlowKey4&, uint32_t, unsigned,
                         const Moment&) noexcept;
template bool step_hello(PipelineState&, const PacketRef&, const FlowKey6&, uint32_t, unsigned,
                         const Moment&) noexcept;
template void stop_reading<FlowKey4>(PipelineState&, uint32_t) noexcept;
template void stop_reading<FlowKey6>(PipelineState&, uint32_t) noexcept;

}  // namespace bulkhead
