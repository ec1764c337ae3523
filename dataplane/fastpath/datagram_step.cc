// A complete datagram and its flow: read as if it had come in one piece, judged once, and all of its
// fragments take the verdict.
#include <algorithm>

#include "base/bytes.h"
#include "dataplane/fastpath/flow_hash.h"
#include "dataplane/fastpath/flow_pass.h"
#include "dataplane/fastpath/fragments.h"
#include "dataplane/fastpath/parse.h"
#include "dataplane/fastpath/parse_l4.h"
#include "wire/icmp.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"

namespace bulkhead {
namespace {

constexpr uint32_t kLongest = 65'535;  ///< an IPv4 packet; what follows the header of an IPv6 one

/// The first fragment's frame with the whole payload, in Fragments::whole; what says that it is a fragment is
/// zeroed. Nothing where no IP packet is that long.
std::span<const uint8_t> put_together(Fragments& all, const rte_mbuf* datagram, uint16_t l3,
                                      bool v4) noexcept {
  uint32_t headers = payload_at(datagram), payload = payload_bytes(datagram);
  // Beside it the first one's own options or extension headers (RFC 8200 §4.5: without those of the
  // fragment).
  uint32_t beside = headers - l3 - (v4 ? 0 : sizeof(Ipv6Header) + sizeof(Ipv6Fragment));
  if (beside + payload > kLongest) return {};
  uint8_t* whole = all.whole.data();
  std::memcpy(whole, frame_of(datagram), headers);
  if (v4) {
    store(whole + l3 + offsetof(Ipv4Header, total_length),
          Be16(static_cast<uint16_t>(headers - l3 + payload)));
    store(whole + l3 + offsetof(Ipv4Header, fragment), Be16(0));
  } else {
    store(whole + headers - sizeof(Ipv6Fragment) + offsetof(Ipv6Fragment, offset_more), Be16(0));
  }
  uint8_t* at = whole + headers;
  for (; datagram != nullptr; datagram = datagram->next) {
    uint32_t bytes = datagram->data_len - payload_at(datagram);
    std::memcpy(at, frame_of(datagram) + payload_at(datagram), bytes);
    at += bytes;
  }
  return {whole, at};
}

/// Whether what the stages read of an ICMP error stands in the first fragment.
bool first_has_quote(const rte_mbuf* first, const PacketMeta& meta, const uint8_t* whole) noexcept {
  constexpr size_t kQuotedL4 = 8;
  return meta.l4 + quoted_l4_offset(whole + meta.l4, meta.family == 4) + kQuotedL4 <= first->data_len;
}

/// Reads the datagram as one packet. Output: `meta` and `key`; kNone, or why it goes no further.
DropReason read_datagram(PipelineState& s, const rte_mbuf* datagram, const PacketMeta& fragment,
                         uint8_t parse_flags, PacketMeta& meta, PacketKey& key) noexcept {
  const uint16_t l3 = fragment.l3;
  const bool v4 = fragment.family == 4;
  auto frame = put_together(*s.fragments, datagram, l3, v4);
  if (frame.empty()) return DropReason::k_fragment_invalid;
  auto reason = parse_datagram(frame, s.port(fragment.in_port), s.route_mode(),
                               parse_flags | s.parts.parse_flags, meta, key);
  meta.fragment = 1;
  meta.tag = fragment.tag;
  meta.ip_bytes = 0;
  for (const rte_mbuf* f = datagram; f != nullptr; f = f->next)
    meta.ip_bytes = std::max(meta.ip_bytes, static_cast<uint16_t>(f->data_len - l3));
  if (reason != DropReason::kNone) return reason;
  if (meta.kind == PacketKind::kIcmpError && !first_has_quote(datagram, meta, frame.data()))
    return DropReason::k_fragment_tiny;
  meta.hash = v4 ? s.flows4.hash(key.v4) : s.flows6.hash(key.v6);
  return DropReason::kNone;
}

/// Passes the datagram on to its flow's worker in one slot of the ring.
void hand_over_datagram(PipelineState& s, const PacketRef& p, unsigned owner) noexcept {
  uint32_t packets = packets_in(p.mbuf);
  std::atomic<uint32_t>& in_rings = *s.parts.datagrams_in_rings;
  bool room = in_rings.fetch_add(packets, std::memory_order_relaxed) + packets <= kMostInRings;
  if (room) hand_over(s, p, owner, packets);
  if (!room) drop(s, p, DropReason::k_handoff_full);
  if (p.verdict->fate != Fate::kHandOff) in_rings.fetch_sub(packets, std::memory_order_relaxed);
}

/// step_flow() for what isn't one packet.
template <class Key>
void match_flow(PipelineState& s, const PacketRef& p, const Key& key, const Moment& m) noexcept {
  if (p.meta->kind == PacketKind::kIcmpError) return step_icmp_error(s, p, key, m);
  auto& table = s.table<Key>();
  uint32_t slot = table.find(key, p.meta->hash);
  if (slot == kNoSlot) return open_flow(s, p, key, m);
  FlowHot& hot = table.entry(slot).hot;
  unsigned direction = p.meta->source_is_high ^ (hot.flags & kFlowInitiatorHigh);
  if (hot.ports[direction] != p.meta->in_port) return step_from_elsewhere(s, p, key, slot, direction, m);
  if (!bring_up_to_date(s, p, key, slot, direction, m)) return;
  pass_flow(s, p, key, slot, direction, m);
}

void judge(PipelineState& s, const PacketRef& p, const Moment& m) noexcept {
  bool v4 = p.meta->family == 4;
  if (s.parts.worker_count > 1) {
    unsigned owner = owner_of(v4 ? rss_hash(p.key->v4) : rss_hash(p.key->v6), s.parts.worker_count);
    if (owner != s.parts.worker) return hand_over_datagram(s, p, owner);
  }
  if (s.router != nullptr) {
    if (s.router->never_routes(p)) return drop(s, p, DropReason::k_ip_address_invalid);
    if (s.router->is_own(destination_of(p))) return s.router->receive(s, p, m);
    if (Router::is_expired_behind_first(p)) return drop(s, p, DropReason::k_ip_ttl_expired);
  }
  v4 ? match_flow(s, p, p.key->v4, m) : match_flow(s, p, p.key->v6, m);
}

}  // namespace

void step_datagram(PipelineState& s, rte_mbuf* datagram, const PacketRef& brought, bool handed_over,
                   const Moment& m) noexcept {
  FragmentNames names(s, datagram);
  PacketMeta meta{};
  PacketKey key{};
  PacketVerdict verdict = kNotJudged;
  PacketRef p{datagram, &meta, &key, &verdict};
  auto reason = read_datagram(s, datagram, *brought.meta, handed_over ? kSkipL4Checksum : 0, meta, key);
  verdict.service = meta.service;
  if (reason != DropReason::kNone)
    drop(s, p, reason);
  else
    judge(s, p, m);
  if (verdict.fate == Fate::kForward) verdict = part_datagram(s, verdict);
  if (brought.verdict != nullptr) *brought.verdict = verdict;
  if (verdict.fate == Fate::kHandOff) return;  // told of by the worker that judges
  for (const rte_mbuf* name : names)
    if (handed_over || name != brought.mbuf) note_judged(s, name, verdict);
}

}  // namespace bulkhead
