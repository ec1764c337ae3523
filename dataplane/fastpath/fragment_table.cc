#include "dataplane/fastpath/fragment_table.h"

#include <cstring>

#include "base/bytes.h"

namespace bulkhead {
namespace {

/// Of `kBytes` bytes, a multiple of 16, as flow_hash() does it.
template <size_t kBytes>
uint64_t secret_hash(const void* at, const HashSeed& seed) noexcept {
  __m128i s = hash_detail::seed_of(seed), x = _mm_setzero_si128();
  for (size_t i = 0; i < kBytes; i += 16) {
    auto* block = reinterpret_cast<const __m128i*>(static_cast<const char*>(at) + i);
    x = hash_detail::mix(_mm_xor_si128(_mm_xor_si128(x, _mm_loadu_si128(block)), s), s);
  }
  return static_cast<uint64_t>(_mm_cvtsi128_si64(x));
}

uint64_t account_hash(const IpAddress& account, const HashSeed& seed) noexcept {
  return secret_hash<sizeof account>(account.bytes.data(), seed);
}

IpAddress subnet_of(const IpAddress& source) noexcept {
  return source.is_v4() ? source : masked(source, 64);
}

/// Whom a source's fragments count against.
IpAddress account_of(const IpAddress& source, SegmentTag segment) noexcept {
  IpAddress account = subnet_of(source);
  if (!source.is_v4())
    store(account.bytes.data() + 14, Be16(segment.value));  // masked: nothing else is there
  return account;
}

template <class Records, class Next>
void chain_free(Records& records, Next next) {
  for (uint32_t i = 0; i < records.size(); ++i)
    next(records[i]) = i + 1 < records.size() ? i + 1 : FragmentTable::kNone;
}

}  // namespace

unsigned fragment_owner(const IpAddress& source, const HashSeed& seed, unsigned workers) noexcept {
  // The chains use the low bits.
  return static_cast<unsigned>((account_hash(subnet_of(source), seed) >> 32) % workers);
}

FragmentTable::FragmentTable(const Limits& limits, const HashSeed& seed)
    : limits_(limits),
      seed_(seed),
      datagrams_(limits.datagrams),
      slots_(limits.fragments),
      sources_(limits.datagrams),
      segments_(65'536),
      by_key_(limits.datagrams),
      by_account_(limits.datagrams),
      most_datagrams_(limits.datagrams),
      most_fragments_(limits.fragments) {
  chain_free(datagrams_, [](Datagram& d) -> uint32_t& { return d.age.after; });
  chain_free(slots_, [](Slot& s) -> uint32_t& { return s.next; });
  chain_free(sources_, [](Source& s) -> uint32_t& { return s.next_free; });
}

FragmentTable::Peers& FragmentTable::peers_of(const Datagram& datagram) noexcept {
  Segment& segment = segments_[datagram.segment];
  return datagram.refused == DropReason::kNone ? segment.holding : segment.refused;
}

uint32_t FragmentTable::find(const FragmentKey& key) const noexcept {
  uint64_t hash = secret_hash<sizeof key>(&key, seed_);
  uint32_t i = by_key_.first(hash);
  while (i != kNone && (datagrams_[i].hash != hash || datagrams_[i].key != key)) i = by_key_.next(i);
  return i;
}

BootTime FragmentTable::timeout_of(uint32_t datagram) const noexcept {
  return datagrams_[datagram].since + limits_.timeout;
}

bool FragmentTable::is_over(uint32_t datagram, BootTime now) const noexcept {
  return now >= timeout_of(datagram);
}

uint32_t FragmentTable::find_source(const IpAddress& account) const noexcept {
  uint32_t i = by_account_.first(account_hash(account, seed_));
  while (i != kNone && sources_[i].account != account) i = by_account_.next(i);
  return i;
}

bool FragmentTable::is_share_used(const IpAddress& source, SegmentTag segment) const noexcept {
  uint32_t i = find_source(account_of(source, segment));
  return i != kNone && sources_[i].datagrams >= limits_.per_source;
}

/// There are as many records as datagrams: one is free where a datagram's is.
uint32_t FragmentTable::enter_source(const IpAddress& account) noexcept {
  uint32_t i = find_source(account);
  if (i == kNone) {
    i = free_source_;
    free_source_ = sources_[i].next_free;
    sources_[i] = {account, 0, kNone};
    by_account_.insert(account_hash(account, seed_), i);
  }
  ++sources_[i].datagrams;
  return i;
}

void FragmentTable::leave_source(uint32_t source) noexcept {
  Source& s = sources_[source];
  if (--s.datagrams != 0) return;
  by_account_.erase(account_hash(s.account, seed_), source);
  s.next_free = free_source_;
  free_source_ = source;
}

uint32_t FragmentTable::begin(const FragmentKey& key, SegmentTag segment, BootTime now) noexcept {
  uint32_t i = free_datagram_;
  Datagram& d = datagrams_[i];
  free_datagram_ = d.age.after;
  d = Datagram{};
  d.key = key;
  d.hash = secret_hash<sizeof key>(&key, seed_);
  d.since = now;
  d.segment = segment.value;
  d.source = enter_source(account_of(key.source, segment));
  by_key_.insert(d.hash, i);
  by_age_.append(datagrams_, i);
  peers_of(d).append(datagrams_, i);
  most_datagrams_.add(d.segment);
  ++datagram_count_;
  return i;
}

void FragmentTable::end(uint32_t datagram) noexcept {
  Datagram& d = datagrams_[datagram];
  by_key_.erase(d.hash, datagram);
  by_age_.remove(datagrams_, datagram);
  peers_of(d).remove(datagrams_, datagram);
  most_datagrams_.remove(d.segment);
  leave_source(d.source);
  d.age.after = free_datagram_;
  free_datagram_ = datagram;
  --datagram_count_;
}

void FragmentTable::refuse(uint32_t datagram, DropReason reason) noexcept {
  Datagram& d = datagrams_[datagram];
  peers_of(d).remove(datagrams_, datagram);
  d.refused = reason;
  peers_of(d).append(datagrams_, datagram);
}

/// The slots between which a fragment of that offset belongs. Most come in order: after the last one.
FragmentTable::Place FragmentTable::place_of(const Datagram& d, uint16_t offset) const noexcept {
  if (d.last != kNone && slots_[d.last].fragment.offset <= offset) return {d.last, kNone};
  Place place{kNone, d.first};
  for (; place.after != kNone && slots_[place.after].fragment.offset <= offset;
       place.after = slots_[place.after].next)
    place.before = place.after;
  return place;
}

FragmentTable::Fit FragmentTable::fit(uint32_t datagram, const Fragment& f) const noexcept {
  const Datagram& d = datagrams_[datagram];
  const uint32_t end = uint32_t{f.offset} + f.bytes;
  Place place = place_of(d, f.offset);
  if (place.before != kNone) {
    const Fragment& before = slots_[place.before].fragment;
    if (before.offset == f.offset && before.bytes == f.bytes && before.more == f.more &&
        std::memcmp(before.payload, f.payload, f.bytes) == 0)
      return Fit::kDuplicate;
    if (before.offset + before.bytes > f.offset) return Fit::kOverlaps;
  }
  if (place.after != kNone && slots_[place.after].fragment.offset < end) return Fit::kOverlaps;
  // The end that a last fragment says is nobody else's, and nothing goes as far or beyond.
  bool second_end = d.total != 0 && (!f.more || end >= d.total);
  bool within = !f.more && place.after != kNone;
  if (second_end || within) return Fit::kOverlaps;
  return d.count == kMostOfDatagram ? Fit::kTooMany : Fit::kFits;
}

void FragmentTable::add(uint32_t datagram, const Fragment& f) noexcept {
  Datagram& d = datagrams_[datagram];
  Place place = place_of(d, f.offset);
  uint32_t at = free_slot_;
  free_slot_ = slots_[at].next;
  slots_[at] = {f, place.after};
  (place.before != kNone ? slots_[place.before].next : d.first) = at;
  if (place.after == kNone) d.last = at;
  ++d.count;
  d.received += f.bytes;
  if (!f.more) d.total = uint32_t{f.offset} + f.bytes;
  most_fragments_.add(d.segment);
  ++fragment_count_;
}

/// None overlap, and none is beyond the end: as many bytes as it has are all of them.
bool FragmentTable::is_complete(uint32_t datagram) const noexcept {
  const Datagram& d = datagrams_[datagram];
  return d.total != 0 && d.received == d.total;
}

rte_mbuf* FragmentTable::take(uint32_t datagram) noexcept {
  Datagram& d = datagrams_[datagram];
  if (d.first == kNone) return nullptr;
  uint32_t at = d.first;
  Slot& slot = slots_[at];
  d.first = slot.next;
  if (d.first == kNone) d.last = kNone;
  --d.count;
  d.received -= slot.fragment.bytes;
  slot.next = free_slot_;
  free_slot_ = at;
  most_fragments_.remove(d.segment);
  --fragment_count_;
  return slot.fragment.mbuf;
}

uint32_t FragmentTable::datagram_to_evict() const noexcept {
  uint32_t tag = most_datagrams_.first();
  if (tag == Ranking::kNobody) return kNone;
  const Segment& segment = segments_[tag];
  return segment.refused.first != kNone ? segment.refused.first : segment.holding.first;
}

uint32_t FragmentTable::holder_to_evict() const noexcept {
  uint32_t tag = most_fragments_.first();
  if (tag == Ranking::kNobody) return kNone;
  return segments_[tag].holding.first;
}

}  // namespace bulkhead
