#include "dataplane/fastpath/deny_log.h"

#include <immintrin.h>

namespace bulkhead {
namespace {

/// The event that stands for denies of many kinds: it has a reason and a count, but no addresses.
FlowRecord sum_record(const FlowRecord& last, DropReason reason, uint64_t packets, uint64_t bytes) noexcept {
  FlowRecord record{};
  record.kind = EventKind::kDeny;
  record.many_kinds = 1;
  record.reason = reason;
  record.packets[0] = packets;
  record.bytes[0] = bytes;
  record.opened_boot_ns = last.opened_boot_ns;
  record.time_boot_ns = last.time_boot_ns;
  record.until_boot_ns = last.until_boot_ns;
  record.generation = last.generation;
  record.image_generation = last.image_generation;
  record.rule = kRuleNone.value;
  record.in_port = record.out_port = kPortNone.value;
  record.worker = last.worker;
  return record;
}

__m128i words_of(const IpAddress& address) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(address.bytes.data()));
}

}  // namespace

uint64_t DenyLog::kind_of(const FlowRecord& record, const HashSeed& seed) noexcept {
  __m128i s = hash_detail::seed_of(seed);
  __m128i x = hash_detail::mix(_mm_xor_si128(words_of(record.source), s), s);
  x = hash_detail::mix(_mm_xor_si128(x, words_of(record.destination)), s);
  auto rest = static_cast<int64_t>(uint64_t{static_cast<uint8_t>(record.reason)} << 32 | record.service);
  x = hash_detail::mix(_mm_xor_si128(x, _mm_set_epi64x(0, rest)), s);
  return static_cast<uint64_t>(_mm_cvtsi128_si64(x)) | 1;
}

/// A place's repetitions become an event where there may be one more, else a part of their reason's sum.
void DenyLog::write(Place& place, Ticks now, EventWriter& events) noexcept {
  if (!bucket_.take(now) || !events.write(place.record)) {
    Sum& sum = sums_[static_cast<size_t>(place.record.reason)];
    sum.packets += place.record.packets[0];
    sum.bytes += place.record.bytes[0];
    if (!summed_) sums_due_ = now + kWindow;
    summed_ = true;
    last_summed_ = place.record;
  }
  place.record.packets[0] = place.record.bytes[0] = 0;
  place.since = now;
}

void DenyLog::note(const FlowRecord& record, Ticks now, EventWriter& events) noexcept {
  uint64_t kind = kind_of(record, seed_);
  Place& place = places_[kind >> 56];
  if (place.kind != kind && place.kind != 0 && place.record.packets[0] != 0)
    write(place, now, events);  // another kind moves in
  bool repeats = place.kind == kind;
  uint64_t packets = repeats ? place.record.packets[0] : 0, bytes = repeats ? place.record.bytes[0] : 0;
  place.kind = kind;
  place.record = record;
  place.record.packets[0] += packets;
  place.record.bytes[0] += bytes;
  if (!repeats || is_due(place.since + kWindow, now)) write(place, now, events);
}

/// What doesn't get into the ring stays in its sum until there is room.
void DenyLog::write_sums(Ticks now, EventWriter& events) noexcept {
  summed_ = false;
  sums_due_ = now + kWindow;
  for (size_t reason = 0; reason < sums_.size(); ++reason) {
    Sum& sum = sums_[reason];
    if (sum.packets == 0) continue;
    if (events.write(sum_record(last_summed_, static_cast<DropReason>(reason), sum.packets, sum.bytes)))
      sum = {};
    else
      summed_ = true;
  }
}

void DenyLog::flush(Ticks now, EventWriter& events) noexcept {
  if (summed_ && is_due(sums_due_, now)) write_sums(now, events);
  for (int i = 0; i < 4; ++i) {
    Place& place = places_[cursor_++ % places_.size()];
    if (place.kind == 0 || !is_due(place.since + kWindow, now)) continue;
    if (place.record.packets[0] != 0)
      write(place, now, events);
    else
      place.kind = 0;
  }
}

}  // namespace bulkhead
