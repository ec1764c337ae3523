#include "dataplane/fastpath/pipeline.h"

#include <algorithm>

#include <rte_prefetch.h>

#include "dataplane/fastpath/flow_pass.h"
#include "dataplane/fastpath/fragments.h"
#include "dataplane/fastpath/inspect.h"
#include "dataplane/fastpath/link.h"
#include "dataplane/fastpath/overlay.h"
#include "dataplane/fastpath/parse.h"
#include "dataplane/fastpath/pipeline_state.h"
#include "dataplane/fastpath/relayed.h"
#include "dataplane/fastpath/router.h"
#include "dataplane/fastpath/sweep.h"
#include "wire/arp.h"
#include "wire/ethernet.h"

namespace bulkhead {

void drop(PipelineState& s, const PacketRef& p, DropReason reason) noexcept {
  add(s.counters().drops[static_cast<size_t>(reason)], packets_in(p.mbuf));
  if (p.verdict != nullptr) {
    if (p.verdict->fate != Fate::kReject) p.verdict->fate = Fate::kDrop;
    p.verdict->reason = reason;
    p.verdict->out = kPortNone;
  }
  free_packets(p.mbuf);
}

void discard(PipelineState& s, rte_mbuf* mbuf, DropReason reason) noexcept {
  add(s.counters().drops[static_cast<size_t>(reason)], 1);
  rte_pktmbuf_free(mbuf);
}

void consume(PipelineState& s, const PacketRef& p) noexcept {
  learn_station(s, p.mbuf);
  add(s.counters().consumed, packets_in(p.mbuf));
  if (p.verdict != nullptr) p.verdict->fate = Fate::kConsume;
  free_packets(p.mbuf);
}

void originate(PipelineState& s, rte_mbuf* mbuf, PortId out) noexcept {
  if (mbuf == nullptr) return;
  add(s.counters().originated, packets_in(mbuf));
  if (s.router != nullptr && out.value != s.relay_port) {
    s.router->send_own(s, mbuf, sizeof(EthernetHeader), out, s.now);
    return;
  }
  // Virtual devices would take a frame over the MTU, count it as sent, and lose it.
  if (mbuf->pkt_len > s.port(out.value).mtu + uint32_t{kMostLinkBytes})
    return discard(s, mbuf, DropReason::k_packet_too_big);
  put_own(s, mbuf, out);
}

void put_own(PipelineState& s, rte_mbuf* mbuf, PortId out) noexcept {
  DropReason reason = enqueue(s, mbuf, 0, out);
  if (reason != DropReason::kNone) discard(s, mbuf, reason);
}

void hand_over(PipelineState& s, const PacketRef& p, unsigned owner, uint32_t packets) noexcept {
  if (rte_ring_enqueue(s.parts.hand_off[owner], p.mbuf) != 0) return drop(s, p, DropReason::k_handoff_full);
  add(s.counters().held, packets);  // until the owner takes it out of the ring
  add(s.counters().handed_off, 1);
  if (p.verdict != nullptr) p.verdict->fate = Fate::kHandOff;
}

namespace {

bool has_key(const PacketMeta& meta) noexcept {
  return meta.reason == DropReason::kNone &&
         (meta.kind == PacketKind::kFlow || meta.kind == PacketKind::kIcmpError);
}

/// Cuts off padding behind the IP packet or ARP, so that no old bytes travel on.
void trim(rte_mbuf* mbuf, size_t bytes) noexcept {
  mbuf->data_len = static_cast<uint16_t>(bytes);
  mbuf->pkt_len = static_cast<uint32_t>(bytes);
}

/// Any packet by the full checks; its hash where it has a key.
[[gnu::noinline]] void parse_any(PipelineState& s, size_t i) noexcept {
  rte_mbuf* mbuf = s.burst.packets[i];
  PacketMeta& meta = s.burst.meta[i];
  PacketKey& key = s.burst.keys[i];
  const PortView& port = s.port(static_cast<uint8_t>(mbuf->port));
  if (mbuf->nb_segs != 1 && rte_pktmbuf_linearize(mbuf) != 0) [[unlikely]] {
    meta = PacketMeta{};
    meta.in_port = port.id.value;
    meta.reason = DropReason::k_frame_truncated;  // longer than any mbuf: jumbo frames come in one piece or
                                                  // not at all
    return;
  }
  parse_frame({frame_of(mbuf), rte_pktmbuf_data_len(mbuf)}, port, s.route_mode(), s.parts.parse_flags, meta,
              key);
  if (meta.reason != DropReason::kNone) return;
  size_t content = meta.family != 0 ? meta.ip_bytes : sizeof(ArpHeader);
  trim(mbuf, std::min<size_t>(mbuf->data_len, meta.l3 + content));
  if (!has_key(meta)) return;
  if (meta.family == 4) {
    meta.hash = s.flows4.hash(key.v4);
    s.flows4.prefetch_bucket(meta.hash);
  } else {
    meta.hash = s.flows6.hash(key.v6);
    s.flows6.prefetch_bucket(meta.hash);
  }
}

[[gnu::always_inline]] inline void parse_one(PipelineState& s, size_t i) noexcept {
  rte_mbuf* mbuf = s.burst.packets[i];
  PacketMeta& meta = s.burst.meta[i];
  FlowKey4& key = s.burst.keys[i].v4;
  const LinkPart& link = s.links[static_cast<uint8_t>(mbuf->port)];
  if (mbuf->nb_segs == 1 && parse_plain(frame_of(mbuf), mbuf->data_len, link, meta, key)) [[likely]] {
    trim(mbuf, sizeof(EthernetHeader) + meta.ip_bytes);
    meta.hash = s.flows4.hash(key);
    s.flows4.prefetch_bucket(meta.hash);
  } else {
    parse_any(s, i);
  }
}

/// parse: every frame to meta and key, or to its drop; then the key's hash, whose bucket begins to load.
[[gnu::noinline]] void parse_burst(PipelineState& s) noexcept {
  Burst& b = s.burst;
  const size_t count = b.count;
#pragma GCC unroll 4
  for (size_t i = 0; i < count; ++i) rte_prefetch0(frame_of(b.packets[i]));
  for (size_t i = 0; i < count; ++i) parse_one(s, i);
}

/// The same where some ports read what stands before a frame's own headers.
[[gnu::noinline]] void parse_behind_links(PipelineState& s) noexcept {
  for (size_t i = 0; i < s.burst.count; ++i) rte_prefetch0(frame_of(s.burst.packets[i]));
  for (size_t i = 0; i < s.burst.count; ++i) {
    rte_mbuf* mbuf = s.burst.packets[i];
    PacketMeta& meta = s.burst.meta[i];
    const PortView& port = s.port(static_cast<uint8_t>(mbuf->port));
    bool in_one_piece = mbuf->nb_segs == 1 || rte_pktmbuf_linearize(mbuf) == 0;
    if (port.reads_link() && in_one_piece && !is_opened(mbuf)) {
      open_link(s, mbuf, port, meta);
      if (meta.reason != DropReason::kNone || meta.kind == PacketKind::kUnderlay) continue;
    }
    parse_one(s, i);
    meta.tag = carried_tag(mbuf);
  }
}

/// Looks the keys up as far as their buckets say, and starts loading flows.
[[gnu::noinline]] void prefetch_flows(PipelineState& s) noexcept {
  Burst& b = s.burst;
  const size_t count = b.count;
  for (size_t i = 0; i < count; ++i) {
    PacketMeta& meta = b.meta[i];
    const PacketKey& key = b.keys[i];
    if (is_plain(meta) || (has_key(meta) && meta.family == 4)) [[likely]] {
      meta.candidate = s.flows4.candidate(meta.hash);
      s.flows4.prefetch_entry(meta.candidate, key.v4);
    } else if (has_key(meta)) {
      meta.candidate = s.flows6.candidate(meta.hash);
      s.flows6.prefetch_entry(meta.candidate, key.v6);
    }
  }
}

void begin_verdicts(PipelineState& s) noexcept {
  Burst& b = s.burst;
  for (uint16_t i = 0; i < b.count; ++i) b.verdicts[i] = kNotJudged;
}

/// A packet that cannot be read further, or must not.
void settle_unreadable(PipelineState& s, size_t i) noexcept {
  drop(s, packet(s, i), s.burst.meta[i].reason);
}

/// Passes a packet on to the worker that owns its flow. False: it is ours.
bool hand_off(PipelineState& s, size_t i) noexcept {
  const PacketMeta& meta = s.burst.meta[i];
  const PacketKey& key = s.burst.keys[i];
  uint32_t rss = meta.family == 4 ? rss_hash(key.v4) : rss_hash(key.v6);
  unsigned owner = owner_of(rss, s.parts.worker_count);
  if (owner == s.parts.worker) return false;
  hand_over(s, packet(s, i), owner);
  return true;
}

/// ARP and neighbour discovery: between the ends of a wire, or to the router.
void step_neighbour(PipelineState& s, const PacketRef& p, const Moment& m) noexcept {
  DropReason reason = p.meta->kind == PacketKind::kArp ? inspect_arp(s, p, m) : inspect_neighbour(s, p, m);
  if (reason != DropReason::kNone) {
    drop(s, p, reason);
  } else if (s.router != nullptr) {
    s.router->resolve(s, p, m);
  } else {
    send(s, p, s.port(p.meta->in_port).peer);
  }
}

template <class Key>
void step_keyed(PipelineState& s, size_t i, const Key& key, const Moment& m) noexcept {
  if (s.burst.meta[i].kind == PacketKind::kIcmpError) [[unlikely]]
    return step_icmp_error(s, packet(s, i), key, m);
  step_flow(s, i, key, m);
}

/// Whether a packet of route mode is for the gateway itself.
bool is_for_gateway(PipelineState& s, const PacketRef& p) noexcept {
  const uint8_t* ip = frame_of(p.mbuf) + p.meta->l3;
  return s.router->is_own(p.meta->family == 4 ? IpAddress::v4(load<Be32>(ip + 16).host())
                                              : IpAddress::v6(ip + 24));
}

[[gnu::noinline]] void step(PipelineState& s, size_t i, const Moment& m) noexcept {
  PacketRef p = packet(s, i);
  if (p.meta->in_port == s.relay_port) [[unlikely]]
    return s.parts.worker_count > 1 && is_relayed(*p.meta) && hand_off(s, i) ? void()
                                                                             : step_from_relay(s, i, m);
  if (p.meta->reason != DropReason::kNone) [[unlikely]] {
    settle_unreadable(s, i);
    return;
  }
  if (p.meta->kind == PacketKind::kUnderlay) [[unlikely]]
    return step_underlay(s, p);
  if (s.router != nullptr && Router::is_for_other_station(p, s.port(p.meta->in_port).mac)) [[unlikely]]
    return drop(s, p, DropReason::k_other_station);
  if (!has_key(*p.meta)) [[unlikely]] {
    if (p.meta->kind == PacketKind::kFragment) return step_fragment(s, p, m);
    step_neighbour(s, p, m);
    return;
  }
  if (s.parts.worker_count > 1 && hand_off(s, i)) return;
  if (s.router != nullptr) [[unlikely]] {
    if (s.router->never_routes(p)) return drop(s, p, DropReason::k_ip_address_invalid);
    if (is_for_gateway(s, p)) return s.router->receive(s, p, m);
  }
  if (p.meta->family == 4) [[likely]]
    step_keyed(s, i, p.key->v4, m);
  else
    step_keyed(s, i, p.key->v6, m);
}

/// Each packet in order to its end, or to where it waits.
[[gnu::noinline]] void step_burst(PipelineState& s, const Moment& m) noexcept {
  Burst& b = s.burst;
  // Nothing stands between a packet and its flow: no gateway's address, no other worker.
  const bool direct = s.router == nullptr && s.parts.worker_count == 1;
  for (size_t i = 0, count = b.count; i < count; ++i) {
    if (direct && is_plain(b.meta[i])) [[likely]]
      step_flow(s, i, b.keys[i].v4, m);
    else
      step(s, i, m);
  }
}

Moment moment_of(const PipelineState& s, BootTime now, const Snapshot* snapshot) noexcept {
  return {now, s.ticks_of(now), snapshot,
          snapshot != nullptr ? static_cast<uint32_t>(snapshot->generation) : 0};
}

}  // namespace

void Pipeline::run(rte_mbuf** packets, uint16_t count, BootTime now, const Snapshot* snapshot) noexcept {
  PipelineState& s = *state_;
  Burst& b = s.burst;
  b.count = count;
  std::copy_n(packets, count, b.packets);
  if (s.parts.keep_verdicts) begin_verdicts(s);
  Moment m = moment_of(s, now, snapshot);
  s.now = now;
  s.ticks = m.ticks;
  s.snapshot = snapshot;
  s.late.clear();
  if (snapshot == nullptr) [[unlikely]] {
    for (uint16_t i = 0; i < count; ++i) {
      b.meta[i] = {};            // nothing of it is read
      take_over(s, packets[i]);  // a worker that has the policy already may have handed it over
      drop(s, packet(s, i), DropReason::k_no_policy);
    }
    return;
  }
  s.reads_links ? parse_behind_links(s) : parse_burst(s);
  prefetch_flows(s);
  if (s.parts.keep_verdicts)
    for (uint16_t i = 0; i < count; ++i) b.verdicts[i].service = packet(s, i).meta->service;
  step_burst(s, m);
}

bool Pipeline::maintain(BootTime now, const Snapshot* snapshot) noexcept {
  PipelineState& s = *state_;
  Moment m = moment_of(s, now, snapshot);
  s.now = now;
  s.ticks = m.ticks;
  s.snapshot = snapshot;
  s.late.clear();
  s.denies.flush(m.ticks, s.parts.events);
  if (s.has_overlay && s.overlay_ticks != m.ticks) {
    s.overlay_ticks = m.ticks;
    maintain_overlay(s);
  }
  if (snapshot == nullptr) return false;
  bool more = maintain_fragments(s, m);  // first: it needs the most room at once
  if (s.router != nullptr) s.router->maintain(s, m);
  return sweep_flows(s, m) || more;
}

TxQueue& Pipeline::out(PortId port) noexcept {
  return state_->tx[port.value];
}

std::span<const PacketVerdict> Pipeline::verdicts() const noexcept {
  return {state_->burst.verdicts, state_->burst.count};
}

std::span<const LateVerdict> Pipeline::late_verdicts() const noexcept {
  return state_->late;
}

uint32_t Pipeline::flow_count() const noexcept {
  return state_->flows4.size() + state_->flows6.size();
}

BootTime Pipeline::next_timer() const noexcept {
  BootTime next = next_fragment_timer(*state_);
  return state_->router != nullptr ? std::min(next, state_->router->next_timer()) : next;
}

size_t Pipeline::list_flows(uint32_t& cursor, uint32_t budget, std::span<FlowRecord> records,
                            const Snapshot* snapshot) const noexcept {
  const PipelineState& s = *state_;
  uint32_t end4 = s.flows4.used_end(), end = end4 + s.flows6.used_end();
  size_t written = 0;
  for (; budget != 0 && cursor < end && written < records.size(); --budget, ++cursor) {
    bool v4 = cursor < end4;
    uint32_t slot = v4 ? cursor : cursor - end4;
    if (v4 ? !s.flows4.live(slot) : !s.flows6.live(slot)) continue;
    if (is_far(v4 ? s.flows4.entry(slot).hot : s.flows6.entry(slot).hot)) continue;
    FlowRecord& r = records[written++];
    Ticks last = v4 ? s.flows4.entry(slot).hot.last : s.flows6.entry(slot).hot.last;
    BootTime seen{s.parts.epoch.ns + int64_t{last} * 1'000'000};
    r = v4 ? record_of<FlowKey4>(s, slot, snapshot, seen) : record_of<FlowKey6>(s, slot, snapshot, seen);
  }
  if (cursor >= end) cursor = UINT32_MAX;
  return written;
}

PipelineState::PipelineState(uint32_t names_kept, const HashSeed& seed) : names(names_kept, seed) {}
PipelineState::~PipelineState() = default;

Pipeline::Pipeline(std::unique_ptr<PipelineState> state) : state_(std::move(state)) {}
Pipeline::~Pipeline() = default;

std::unique_ptr<Pipeline> Pipeline::create(const PipelineParts& parts) {
  HashSeed seed{{parts.hash_seed[0], parts.hash_seed[1]}};
  unsigned n = parts.worker_count;
  auto share = [n](uint32_t limit) { return limit == 0 ? 0 : std::max(1u, limit / n); };
  const uint32_t hellos = std::min(share(kMostHellos), parts.max_flows);
  auto state = std::make_unique<PipelineState>(hellos, seed);
  state->parts = parts;
  state->hellos.create(hellos, kChunksOfHellos * hellos);
  if (!state->flows4.create(parts.max_flows, seed) || !state->flows6.create(parts.max_flows, seed))
    return nullptr;
  const TimeoutSettings& t = parts.settings->timeouts;
  std::chrono::milliseconds by_state[8] = {{},        t.syn, t.syn,  t.established,
                                           t.closing, t.udp, t.icmp, t.other};
  for (size_t i = 0; i < 8; ++i) state->timeout_ms[i] = static_cast<uint32_t>(by_state[i].count());
  for (const PortView& port : parts.ports) {
    state->links[port.id.value] = untagged_link(port, state->route_mode(), parts.parse_flags);
    state->tx[port.id.value].mtu = port.writes_link() ? 0 : port.mtu;
    state->reads_links |= port.reads_link();
    state->has_overlay |= port.vxlan.has_value();
    state->learns_stations |= port.has_several_peers();
    if (port.relay) state->relay_port = port.id.value;
  }
  if (parts.keep_verdicts) state->late.reserve(8192);
  state->fragments = std::make_unique<Fragments>(parts);
  state->half_open.create(std::min(share(parts.settings->half_open_total), parts.max_flows),
                          share(parts.settings->half_open_per_identity));
  state->flows_of.resize(65536);
  state->rejects.set(share(parts.settings->reject_per_identity), share(parts.settings->reject_total));
  state->challenges.set(100);
  for (TokenBucket& floods : state->floods) floods.set(share(kFloodsPerSecond));
  state->denies = DenyLog(seed);
  if (parts.settings->mode == Mode::kRoute) {
    state->router = Router::create(parts);
    if (!state->router) return nullptr;
  }
  state->sends_at_once = state->router == nullptr && !parts.keep_verdicts && !state->learns_stations;
  return std::unique_ptr<Pipeline>(new Pipeline(std::move(state)));
}

}  // namespace bulkhead
