#include "dataplane/fastpath/fragments.h"

#include <algorithm>

#include "base/bytes.h"
#include "dataplane/fastpath/flow_step.h"
#include "dataplane/fastpath/link.h"
#include "dataplane/fastpath/overlay.h"
#include "dataplane/fastpath/router.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"

namespace bulkhead {
namespace {

constexpr uint32_t kExpiredAtOnce = 256;  ///< datagrams
constexpr uint32_t kExpiredFragmentsAtOnce = 1024;
constexpr size_t kLongestWhole = kMostLinkBytes + 60 + 65'535 + 1024;  ///< IPv6: extension headers beside

uint32_t datagrams_of_worker(const DataplaneSettings& settings, unsigned workers) noexcept {
  return std::max(1u, settings.fragments.datagrams / workers);
}

FragmentTable::Limits limits_of(const PipelineParts& parts) noexcept {
  const FragmentSettings& settings = parts.settings->fragments;
  return {datagrams_of_worker(*parts.settings, parts.worker_count), settings.per_source,
          most_fragments_of_worker(*parts.settings, parts.worker_count), settings.timeout};
}

/// What a fragment says of itself.
struct FragmentHeader {
  FragmentKey key;
  uint16_t offset;
  bool more;
};

FragmentHeader read_fragment(const PacketRef& p) noexcept {
  const uint8_t* frame = frame_of(p.mbuf);
  const uint8_t* ip = frame + p.meta->l3;
  bool v4 = p.meta->family == 4;
  FragmentHeader h{};
  h.key.source = source_of(ip, v4);
  h.key.destination = destination_of(ip, v4);
  h.key.vlan = p.meta->vlan;
  h.key.port = p.meta->in_port;
  h.key.mac = source_mac(p);
  h.key.tag = p.meta->tag;
  if (v4) {
    auto header = load<Ipv4Header>(ip);
    uint16_t field = header.fragment.host();
    h.key.id = header.id.host();
    h.key.proto = header.proto;
    h.offset = static_cast<uint16_t>((field & kIpv4OffsetMask) * 8);
    h.more = (field & kIpv4MoreFragments) != 0;
  } else {
    auto header = load<Ipv6Fragment>(frame + p.meta->l4 - sizeof(Ipv6Fragment));
    uint16_t field = header.offset_more.host();
    h.key.id = header.id.host();
    h.offset = field & kIpv6FragmentOffsetMask;
    h.more = (field & kIpv6FragmentMore) != 0;
  }
  return h;
}

void show_count(PipelineState& s) noexcept {
  s.counters().datagrams_held.store(s.fragments->table.datagrams(), std::memory_order_relaxed);
}

/// All that the datagram has left, dropped.
void drop_held(PipelineState& s, uint32_t datagram, DropReason reason) noexcept {
  while (rte_mbuf* mbuf = s.fragments->table.take(datagram)) {
    add(s.counters().held, static_cast<uint64_t>(-1));
    note_late(s, mbuf, Fate::kDrop, reason, kPortNone);
    discard(s, mbuf, reason);
  }
}

void give_up(PipelineState& s, uint32_t datagram, DropReason reason) noexcept {
  drop_held(s, datagram, reason);
  s.fragments->table.end(datagram);
  show_count(s);
}

/// Nothing of the datagram passes any more: neither what is there nor what still comes.
void refuse(PipelineState& s, uint32_t datagram, DropReason reason) noexcept {
  drop_held(s, datagram, reason);
  s.fragments->table.refuse(datagram, reason);
}

/// The fragment's datagram: the one that it goes on, or a new one. kNone: there is no room for it.
uint32_t datagram_for(PipelineState& s, const FragmentKey& key, SegmentTag segment,
                      const Moment& m) noexcept {
  FragmentTable& table = s.fragments->table;
  uint32_t datagram = table.find(key);
  if (datagram != FragmentTable::kNone && !table.is_over(datagram, m.now)) return datagram;
  if (datagram != FragmentTable::kNone) give_up(s, datagram, DropReason::k_fragment_incomplete);
  if (table.is_share_used(key.source, segment)) return FragmentTable::kNone;
  if (table.is_full()) give_up(s, table.datagram_to_evict(), DropReason::k_fragment_limit);
  datagram = table.begin(key, segment, m.now);
  show_count(s);
  return datagram;
}

/// Makes room for one more fragment of `datagram`. False: it is itself what has to go, or nothing can.
bool make_room(PipelineState& s, uint32_t datagram) noexcept {
  Fragments& all = *s.fragments;
  while (!all.has_room(1)) {
    uint32_t victim = all.table.holder_to_evict();
    if (victim == datagram || victim == FragmentTable::kNone) return false;
    give_up(s, victim, DropReason::k_fragment_limit);
  }
  return true;
}

/// Whether a single packet like this would be let in, whatever it is a part of.
DropReason check_sender(PipelineState& s, const PacketRef& p, const FragmentKey& key, End& sender,
                        const Moment& m) noexcept {
  const PortView& port = s.port(key.port);
  sender = classify_source(*m.snapshot->endpoints,
                           {key.source, port.id, key.vlan, key.mac, known_tag(s, key.tag)});
  // A router's neighbour may talk to it from a link-local address that nobody has bound.
  bool link_local = s.router != nullptr && key.source.is_ipv6_link_local();
  if (sender.spoofed || (!admits(port, key.source, sender) && !link_local))
    return DropReason::k_spoofed_source;
  if (s.router != nullptr && s.router->never_routes(p)) return DropReason::k_ip_address_invalid;
  return DropReason::kNone;
}

/// Takes a datagram's fragments out of the table, with its last one linked into one.
rte_mbuf* link_datagram(PipelineState& s, uint32_t datagram) noexcept {
  FragmentTable& table = s.fragments->table;
  rte_mbuf* first = table.take(datagram);
  uint64_t held = 0;
  for (rte_mbuf* last = first; last != nullptr; last = last->next, ++held) last->next = table.take(datagram);
  table.end(datagram);
  mark_datagram(first);
  add(s.counters().held, -(held - 1));  // the last one to come never was
  show_count(s);
  return first;
}

}  // namespace

uint32_t most_fragments_of_worker(const DataplaneSettings& settings, unsigned workers) noexcept {
  return 2 * datagrams_of_worker(settings, workers) + FragmentTable::kMostOfDatagram;
}

uint32_t fragment_buffers(const DataplaneSettings& settings, unsigned workers) noexcept {
  return workers * most_fragments_of_worker(settings, workers) + (workers > 1 ? kMostInRings : 0);
}

Fragments::Fragments(const PipelineParts& parts)
    : seed{{parts.hash_seed[0], parts.hash_seed[1]}},
      most(most_fragments_of_worker(*parts.settings, parts.worker_count)),
      table(limits_of(parts), seed),
      whole(kLongestWhole),
      leaving(most) {}

Fragments::~Fragments() {
  for (uint32_t d; (d = table.oldest()) != FragmentTable::kNone; table.end(d))
    while (rte_mbuf* mbuf = table.take(d)) rte_pktmbuf_free(mbuf);
  for (; leaving_count != 0; --leaving_count, leaving_first = (leaving_first + 1) % most)
    free_packets(leaving[leaving_first].datagram);
}

void take_over(PipelineState& s, const rte_mbuf* packet) noexcept {
  if (!is_datagram(packet)) return;
  uint32_t packets = packets_in(packet);
  add(s.counters().held, -uint64_t{packets - 1});  // whoever took it out of the ring counted one
  s.parts.datagrams_in_rings->fetch_sub(packets, std::memory_order_relaxed);
}

void step_fragment(PipelineState& s, const PacketRef& p, const Moment& m) noexcept {
  if (is_datagram(p.mbuf)) {
    take_over(s, p.mbuf);
    return step_datagram(s, p.mbuf, p, true, m);
  }
  FragmentHeader header = read_fragment(p);
  const FragmentKey& key = header.key;
  if (s.parts.worker_count > 1) {
    unsigned owner = fragment_owner(key.source, s.fragments->seed, s.parts.worker_count);
    if (owner != s.parts.worker) return hand_over(s, p, owner);
  }
  End sender;
  if (auto refused = check_sender(s, p, key, sender, m); refused != DropReason::kNone)
    return drop(s, p, refused);

  FragmentTable& table = s.fragments->table;
  uint32_t datagram = datagram_for(s, key, tag_of(sender.identity), m);
  if (datagram == FragmentTable::kNone) return drop(s, p, DropReason::k_fragment_limit);
  if (auto reason = table.refused(datagram); reason != DropReason::kNone) return drop(s, p, reason);
  const uint8_t* payload = frame_of(p.mbuf) + p.meta->l4;
  auto bytes = static_cast<uint16_t>(p.meta->l3 + p.meta->ip_bytes - p.meta->l4);
  Fragment fragment{p.mbuf, payload, header.offset, bytes, header.more};
  switch (table.fit(datagram, fragment)) {
    case FragmentTable::Fit::kFits:
      break;
    case FragmentTable::Fit::kDuplicate:
      return drop(s, p, DropReason::k_fragment_duplicate);
    case FragmentTable::Fit::kOverlaps:
      refuse(s, datagram, DropReason::k_fragment_overlap);
      return drop(s, p, DropReason::k_fragment_overlap);
    case FragmentTable::Fit::kTooMany:
      refuse(s, datagram, DropReason::k_fragment_limit);
      return drop(s, p, DropReason::k_fragment_limit);
  }
  if (!make_room(s, datagram)) {
    give_up(s, datagram, DropReason::k_fragment_limit);
    return drop(s, p, DropReason::k_fragment_limit);
  }
  p.mbuf->hash.usr = p.meta->l4;
  table.add(datagram, fragment);
  if (table.is_complete(datagram)) return step_datagram(s, link_datagram(s, datagram), p, false, m);
  add(s.counters().held, 1);
  if (p.verdict != nullptr) p.verdict->fate = Fate::kHold;
}

/// Forgets a bounded number of those whose time is over.
static bool expire(PipelineState& s, const Moment& m) noexcept {
  FragmentTable& table = s.fragments->table;
  uint32_t before = table.fragments(), left = kExpiredAtOnce;
  for (uint32_t d; (d = table.oldest()) != FragmentTable::kNone && table.is_over(d, m.now); --left) {
    if (left == 0 || before - table.fragments() >= kExpiredFragmentsAtOnce) return true;
    give_up(s, d, DropReason::k_fragment_incomplete);
  }
  return false;
}

enum class Parting : uint8_t { kLeft, kWaits, kUnresolved };

/// Puts all fragments into the TxQueue, with `room` of its places at most in use, or none where one would
/// find no place or no peer.
static Parting put_all(PipelineState& s, rte_mbuf* datagram, PortId out, uint32_t room) noexcept {
  uint16_t copies = places_for(s, out, load<MacAddress>(frame_of(datagram)));
  if (copies == 0) return Parting::kUnresolved;
  room = std::min<uint32_t>(room, most_in_use(copies));
  if (s.tx[out.value].count + copies * packets_in(datagram) > room) return Parting::kWaits;
  bool writes_link = s.port(out.value).writes_link();
  while (datagram != nullptr) {
    rte_mbuf* fragment = take_first(datagram);
    DropReason reason = writes_link ? put_with_link(s, fragment, out, true) : enqueue(s, fragment, 0, out);
    if (reason != DropReason::kNone) discard(s, fragment, reason);
  }
  return Parting::kLeft;
}

static_assert(FragmentTable::kMostOfDatagram <= TxQueue::kCapacity);

PacketVerdict part_datagram(PipelineState& s, PacketVerdict verdict) noexcept {
  Fragments& all = *s.fragments;
  TxQueue& queue = s.tx[verdict.out.value];
  rte_mbuf* datagram = queue.take_back();
  uint32_t packets = packets_in(datagram);
  if (s.router != nullptr) Router::follow_first(datagram);
  // As many places stay free as the rest of the burst may take.
  Parting parting = Parting::kWaits;
  if (all.leaving_count == 0) parting = put_all(s, datagram, verdict.out, TxQueue::kCapacity - kBurst);
  if (parting == Parting::kLeft) return verdict;
  if (parting == Parting::kUnresolved || !all.has_room(packets)) {
    drop(s, {datagram, nullptr, nullptr, &verdict},
         parting == Parting::kUnresolved ? DropReason::k_neighbour_unresolved : DropReason::k_tx_full);
    return verdict;
  }
  all.leaving[(all.leaving_first + all.leaving_count++) % all.most] = {datagram, verdict.out};
  all.leaving_packets += packets;
  add(s.counters().held, packets);
  verdict.fate = Fate::kHold;
  verdict.out = kPortNone;
  return verdict;
}

/// Those that wait for room leave in turn.
static bool leave(PipelineState& s) noexcept {
  Fragments& all = *s.fragments;
  while (all.leaving_count != 0) {
    auto [datagram, out] = all.leaving[all.leaving_first];
    FragmentNames names(s, datagram);
    uint32_t packets = packets_in(datagram);
    Parting parting = put_all(s, datagram, out, TxQueue::kCapacity);
    DropReason reason = DropReason::kNone;
    if (parting == Parting::kUnresolved) reason = DropReason::k_neighbour_unresolved;
    // More peers have answered since it was admitted: it would wait for ever.
    if (parting == Parting::kWaits && s.tx[out.value].count == 0) reason = DropReason::k_tx_full;
    if (parting == Parting::kWaits && reason == DropReason::kNone) return true;
    if (reason != DropReason::kNone) drop(s, {datagram, nullptr, nullptr, nullptr}, reason);
    all.leaving_first = (all.leaving_first + 1) % all.most;
    --all.leaving_count;
    all.leaving_packets -= packets;
    add(s.counters().held, -uint64_t{packets});
    for (const rte_mbuf* name : names)
      note_late(s, name, reason == DropReason::kNone ? Fate::kForward : Fate::kDrop, reason,
                reason == DropReason::kNone ? out : kPortNone);
  }
  return false;
}

bool maintain_fragments(PipelineState& s, const Moment& m) noexcept {
  bool expires = expire(s, m), leaves = leave(s);
  return expires || leaves;
}

BootTime next_fragment_timer(const PipelineState& s) noexcept {
  const Fragments& all = *s.fragments;
  if (all.leaving_count != 0) return s.now;
  uint32_t oldest = all.table.oldest();
  return oldest != FragmentTable::kNone ? all.table.timeout_of(oldest) : kNever;
}

}  // namespace bulkhead
