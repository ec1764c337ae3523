// What a pipeline works on, and the verbs that its stages share. Inside of fastpath only.
#pragma once

#include <array>
#include <span>

#include <rte_mbuf.h>

#include "base/bytes.h"
#include "dataplane/fastpath/datagram.h"
#include "dataplane/fastpath/deny_log.h"
#include "dataplane/fastpath/flow_table.h"
#include "dataplane/fastpath/half_open.h"
#include "dataplane/fastpath/hello_pool.h"
#include "dataplane/fastpath/name_store.h"
#include "dataplane/fastpath/parse_plain.h"
#include "dataplane/fastpath/pipeline.h"
#include "dataplane/fastpath/token_bucket.h"

namespace bulkhead {

class Router;
struct Fragments;

inline constexpr uint16_t kMostLinkBytes = 18;  ///< in front of an IP packet: Ethernet and one 802.1Q tag

/// The instant and the state that a burst is judged by.
struct Moment {
  BootTime now;
  Ticks ticks;
  const Snapshot* snapshot;
  uint32_t generation;  ///< low half of the snapshot's
};

/// The packets between rx and tx.
struct Burst {
  uint16_t count = 0;
  rte_mbuf* packets[kBurst];
  PacketMeta meta[kBurst];
  PacketKey keys[kBurst];
  PacketVerdict verdicts[kBurst];
};

struct PipelineState {
  PipelineParts parts;
  Burst burst;
  /// What is allowed goes to its TxQueue, with no router, no verdict to fill in and no station to learn.
  bool sends_at_once = false;
  uint8_t relay_port = kPortNone.value;  ///< the mTLS relay's, where there is one
  bool has_overlay = false;              ///< some port is one
  bool reads_links = false;              ///< some port does
  bool learns_stations = false;          ///< some port is an overlay's with several peers
  FlowTable<FlowKey4> flows4;
  FlowTable<FlowKey6> flows6;
  std::array<LinkPart, kMaxPorts> links{};  ///< of untagged frames, by PortId
  std::array<TxQueue, kMaxPorts> tx;
  std::array<uint32_t, 8> timeout_ms{};  ///< by FlowState
  DenyLog denies;
  RejectLimiter rejects;
  std::array<TokenBucket, kMaxPorts> floods;  ///< frames to several peers, by PortId
  TokenBucket challenges;                     ///< SYNs that pass on live connections
  std::unique_ptr<Router> router;             ///< route mode
  std::vector<LateVerdict> late;              ///< room reserved at the start
  HalfOpenFlows half_open;
  HelloPool hellos;
  NameStore names;                 ///< of verified flows
  std::vector<uint32_t> flows_of;  ///< flows by the tag of their source's segment: 65,536
  uint32_t serial = 1;
  BootTime now;                        ///< of the burst in progress
  Ticks ticks = 0;                     ///< the same
  const Snapshot* snapshot = nullptr;  ///< the same; nullptr: no policy yet
  uint32_t sweep4 = 0, sweep6 = 0;     ///< the next slots that the sweep looks at
  uint32_t sweep_generation = 0;       ///< under which the round in progress began
  uint32_t swept_generation = 0;       ///< under which the last whole round was made
  Ticks sweep_ticks = 0;               ///< when it last ran
  Ticks overlay_ticks = 0;             ///< when maintain_overlay() last ran
  std::unique_ptr<Fragments> fragments;

  PipelineState(uint32_t names, const HashSeed& seed);
  ~PipelineState();

  template <class Key>
  FlowTable<Key>& table() {
    if constexpr (std::is_same_v<Key, FlowKey4>)
      return flows4;
    else
      return flows6;
  }
  const PortView& port(uint8_t id) const { return parts.ports[id]; }
  bool route_mode() const { return parts.settings->mode == Mode::kRoute; }
  Ticks ticks_of(BootTime t) const { return static_cast<Ticks>((t.ns - parts.epoch.ns) / 1'000'000); }
  WorkerCounters& counters() { return *parts.counters; }
};

/// One packet of the burst, as the stages hand it on.
struct PacketRef {
  rte_mbuf* mbuf;
  PacketMeta* meta;
  PacketKey* key;
  PacketVerdict* verdict;  ///< nullptr: nobody asks
};

inline const uint8_t* frame_of(const rte_mbuf* mbuf) {
  return rte_pktmbuf_mtod(mbuf, const uint8_t*);
}
inline uint8_t* frame_of(rte_mbuf* mbuf) {
  return rte_pktmbuf_mtod(mbuf, uint8_t*);
}

/// Packet `i` of the burst, for all but the shortest way: no more brief.
inline PacketRef packet(PipelineState& s, size_t i) noexcept {
  Burst& b = s.burst;
  if (b.meta[i].brief != 0) read_rest(frame_of(b.packets[i]), b.meta[i]);
  return {b.packets[i], &b.meta[i], &b.keys[i], s.parts.keep_verdicts ? &b.verdicts[i] : nullptr};
}

inline IpAddress source_of(const uint8_t* ip, bool v4) noexcept {
  return v4 ? IpAddress::v4(load<Be32>(ip + 12).host()) : IpAddress::v6(ip + 8);
}
inline IpAddress destination_of(const uint8_t* ip, bool v4) noexcept {
  return v4 ? IpAddress::v4(load<Be32>(ip + 16).host()) : IpAddress::v6(ip + 24);
}
inline IpAddress source_of(const PacketRef& p) noexcept {
  return source_of(frame_of(p.mbuf) + p.meta->l3, p.meta->family == 4);
}
inline IpAddress destination_of(const PacketRef& p) noexcept {
  return destination_of(frame_of(p.mbuf) + p.meta->l3, p.meta->family == 4);
}

/// Bytes of the transport's header and data; of a datagram, those of all its fragments.
inline uint32_t l4_bytes(const PacketRef& p) noexcept {
  if (p.meta->fragment) [[unlikely]]
    return payload_bytes(p.mbuf) - (p.meta->l4 - payload_at(p.mbuf));
  return static_cast<uint32_t>(p.meta->l3 + p.meta->ip_bytes - p.meta->l4);
}
/// What flows and denies count: a datagram as its fragments.
struct Counted {
  uint32_t packets, bytes;
};
inline Counted counted(const PacketRef& p) noexcept {
  if (!p.meta->fragment) [[likely]]
    return {1, p.meta->ip_bytes};
  Counted sum{0, 0};
  for (const rte_mbuf* f = p.mbuf; f != nullptr; f = f->next)
    ++sum.packets, sum.bytes += static_cast<uint32_t>(f->data_len - p.meta->l3);
  return sum;
}

/// A tag as policy has it: one that it doesn't define is segment `unknown`'s, so that all such share what
/// that one may take.
inline SegmentTag known_tag(const PipelineState& s, SegmentTag tag) noexcept {
  return tag == kTagNone || s.snapshot->image->knows(identity_of(tag)) ? tag : kTagUnknown;
}

inline MacAddress destination_mac(const PacketRef& p) noexcept {
  return load<MacAddress>(frame_of(p.mbuf));
}
inline MacAddress source_mac(const PacketRef& p) noexcept {
  return load<MacAddress>(frame_of(p.mbuf) + 6);
}

/// The end of a packet that doesn't pass: freed and counted under its reason.
void drop(PipelineState& s, const PacketRef& p, DropReason reason) noexcept;
/// The end of a packet of the gateway's own.
void discard(PipelineState& s, rte_mbuf* mbuf, DropReason reason) noexcept;
/// Remembers what became of a held packet, where verdicts are kept.
inline void note_judged(PipelineState& s, const rte_mbuf* packet, const PacketVerdict& verdict,
                        bool judged = true) noexcept {
  if (s.parts.keep_verdicts && s.late.size() < s.late.capacity()) s.late.push_back({packet, verdict, judged});
}
/// The same of one that was judged before, or never is.
inline void note_late(PipelineState& s, const rte_mbuf* packet, Fate fate, DropReason reason,
                      PortId out) noexcept {
  PacketVerdict verdict = kNotJudged;
  verdict.fate = fate;
  verdict.reason = reason;
  verdict.out = out;
  note_judged(s, packet, verdict, false);
}
/// Passes a packet, or a datagram of several, on to another worker by its ring, or drops it.
void hand_over(PipelineState& s, const PacketRef& p, unsigned owner, uint32_t packets = 1) noexcept;
/// The end of a packet that was for the gateway itself.
void consume(PipelineState& s, const PacketRef& p) noexcept;
/// Remembers behind which peer the sender of a packet from an overlay port is, once: where the packet was
/// found good, and before its link header is written anew. What is dropped teaches nothing.
void learn_station(PipelineState& s, rte_mbuf* mbuf) noexcept;
/// enqueue() of what is too long, or goes to a port that writes links.
DropReason enqueue_apart(PipelineState& s, rte_mbuf* mbuf, uint32_t ip_bytes, PortId out) noexcept;
/// Puts a packet into its port's TxQueue. kNone, or why not: packet_too_big, tx_full.
inline DropReason enqueue(PipelineState& s, rte_mbuf* mbuf, uint32_t ip_bytes, PortId out) noexcept {
  TxQueue& queue = s.tx[out.value];
  if (ip_bytes > queue.mtu || queue.mtu == 0) [[unlikely]]
    return enqueue_apart(s, mbuf, ip_bytes, out);
  return queue.put(mbuf) ? DropReason::kNone : DropReason::k_tx_full;
}
/// The same with its verdict, or drops it.
inline void send(PipelineState& s, const PacketRef& p, PortId out) noexcept {
  if (s.learns_stations) [[unlikely]]
    learn_station(s, p.mbuf);
  DropReason reason = enqueue(s, p.mbuf, p.meta->ip_bytes, out);
  if (reason != DropReason::kNone) [[unlikely]]
    return drop(s, p, reason);
  if (p.verdict != nullptr) [[unlikely]] {
    p.verdict->fate = Fate::kForward;
    p.verdict->out = out;
  }
}
/// Puts a packet that the gateway made into a TxQueue and counts it as originated, and as a drop when there
/// is no room. `mbuf` may be nullptr: nothing happens.
void originate(PipelineState& s, rte_mbuf* mbuf, PortId out) noexcept;
/// The same of one that is counted and addressed already.
void put_own(PipelineState& s, rte_mbuf* mbuf, PortId out) noexcept;

}  // namespace bulkhead
