// The flow table of one worker and one address family.
//
// Buckets of one cache line hold eight 16-bit tags, compared by one instruction, and the slots of their
// entries. A key has two buckets; an insert takes the first while that is roomy, else the emptier of the two,
// and moves nobody, so its cost is bounded. `spilled` says how many keys of a bucket live in their second
// one: while it is 0, a miss costs one line.
#pragma once

#include <immintrin.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>

#include <rte_malloc.h>
#include <rte_prefetch.h>

#include "dataplane/fastpath/flow.h"
#include "dataplane/fastpath/flow_hash.h"

namespace bulkhead {

inline constexpr uint32_t kNoSlot = 0xffffffff;

struct alignas(64) FlowBucket {
  uint16_t tags[8];  ///< 0: free
  uint32_t slots[8];
  uint16_t spilled;
};
static_assert(sizeof(FlowBucket) == 64);

/// Frees what rte_malloc gave.
struct RteFree {
  void operator()(void* at) const { rte_free(at); }
};
template <class T>
using RteArray = std::unique_ptr<T[], RteFree>;
/// Zeroed, cache-aligned hugepage memory; nullptr when there is none left.
template <class T>
RteArray<T> make_rte_array(size_t count) {
  return RteArray<T>(static_cast<T*>(rte_zmalloc(nullptr, count * sizeof(T), 64)));
}

/// Thread: the owning worker only.
template <class Key>
class FlowTable {
 public:
  using Entry = FlowEntry<Key>;

  /// Room for `capacity` flows. False: memory ran out.
  bool create(uint32_t capacity, const HashSeed& seed) {
    uint64_t buckets = 8;
    while (buckets * 5 < capacity)
      buckets *= 2;  // at most five eighths full: both buckets of a key are then next to never full
    mask_ = static_cast<uint32_t>(buckets - 1);
    capacity_ = capacity;
    seed_ = seed;
    buckets_ = make_rte_array<FlowBucket>(buckets);
    entries_ = make_rte_array<Entry>(capacity);
    cold_ = make_rte_array<FlowCold>(capacity);
    lines_[0] = reinterpret_cast<const char*>(entries_.get());
    lines_[1] = reinterpret_cast<const char*>(cold_.get());
    return buckets_ && entries_ && cold_;
  }

  uint64_t hash(const Key& key) const noexcept { return flow_hash(key, seed_); }
  void prefetch_bucket(uint64_t hash) const noexcept { rte_prefetch0(&buckets_[first_of(hash)]); }
  /// The slot that the hash most likely belongs to: only a hint, and any slot where its first bucket has
  /// none.
  uint32_t candidate(uint64_t hash) const noexcept {
    const FlowBucket& bucket = buckets_[first_of(hash)];
    uint32_t match =
        match_tags(bucket, tag_of_hash(hash)) | 1u << 14;  // without a match the last way, unasked
    return bucket.slots[__builtin_ctz(match) / 2];
  }
  /// Starts loading the entry, and the cold record where packets of `key` touch it.
  void prefetch_entry(uint32_t slot, const Key& key) const noexcept {
    const Entry* entry = &entries_[slot];
    rte_prefetch0(entry);
    if constexpr (sizeof(Entry) > 64) rte_prefetch0(reinterpret_cast<const char*>(entry) + 64);
    // Where it isn't TCP once more a line of the entries, rather than a branch that depends on the packet.
    rte_prefetch0(lines_[key.proto == IpProto::kTcp] + size_t{slot} * sizeof(FlowCold));
  }

  /// Whether the flow's slot is the one that candidate() said, even if flows came and went since then. Where
  /// it isn't, find() has the answer.
  bool holds(uint32_t candidate, const Key& key) const noexcept {
    return same(entries_[candidate].key, key);  // a free slot has no packet's key
  }
  /// The flow's slot, or kNoSlot.
  [[gnu::noinline]] uint32_t find(const Key& key, uint64_t hash) const noexcept {
    const FlowBucket& first = buckets_[first_of(hash)];
    uint32_t slot = find_in(first, key, tag_of_hash(hash));
    if (slot != kNoSlot || first.spilled == 0) return slot;
    return find_in(buckets_[second_of(hash)], key, tag_of_hash(hash));
  }

  /// A zeroed entry with the key set, or kNoSlot when the table or both of its buckets are full.
  uint32_t insert(const Key& key, uint64_t hash) noexcept {
    constexpr int kRoomy = 4;  // free ways from which on the second bucket isn't even looked at
    FlowBucket* bucket = &buckets_[first_of(hash)];
    uint32_t room = match_tags(*bucket, 0);
    bool spill = false;
    if (std::popcount(room) / 2 < kRoomy) {
      FlowBucket* second = &buckets_[second_of(hash)];
      uint32_t second_room = match_tags(*second, 0);
      spill = std::popcount(second_room) > std::popcount(room);
      if (spill) bucket = second, room = second_room;
    }
    if (room == 0) return kNoSlot;
    uint32_t slot = take_slot();
    if (slot == kNoSlot) return kNoSlot;
    int way = __builtin_ctz(room) / 2;
    bucket->tags[way] = tag_of_hash(hash);
    bucket->slots[way] = slot;
    if (spill) ++buckets_[first_of(hash)].spilled;
    entries_[slot] = Entry{};
    entries_[slot].key = key;
    cold_[slot] = FlowCold{};
    ++size_;
    return slot;
  }

  /// Takes out the flow of that slot, which must be live.
  void erase(uint32_t slot) noexcept {
    uint64_t hash_value = hash(entries_[slot].key);
    if (!erase_in(buckets_[first_of(hash_value)], slot)) {
      erase_in(buckets_[second_of(hash_value)], slot);
      --buckets_[first_of(hash_value)].spilled;
    }
    entries_[slot].hot.state = FlowState{};  // the sweep passes over it
    entries_[slot].key = Key{};              // no packet has both addresses 0: holds() is false
    cold_[slot].next = free_;
    free_ = slot + 1;
    --size_;
  }

  Entry& entry(uint32_t slot) noexcept { return entries_[slot]; }
  const Entry& entry(uint32_t slot) const noexcept { return entries_[slot]; }
  FlowCold& cold(uint32_t slot) noexcept { return cold_[slot]; }
  const FlowCold& cold(uint32_t slot) const noexcept { return cold_[slot]; }
  /// Whether the slot holds a flow: a free one has no state.
  bool live(uint32_t slot) const noexcept { return entries_[slot].hot.state != FlowState{}; }
  /// Slots from here on were never used.
  uint32_t used_end() const noexcept { return fresh_; }
  uint32_t size() const noexcept { return size_; }

 private:
  uint32_t first_of(uint64_t hash) const noexcept { return static_cast<uint32_t>(hash) & mask_; }
  static uint16_t tag_of_hash(uint64_t hash) noexcept { return static_cast<uint16_t>(hash >> 48) | 1; }
  uint32_t second_of(uint64_t hash) const noexcept {
    // Another 32 bits of the hash; where both buckets fall together, the neighbour.
    uint32_t second = static_cast<uint32_t>(hash >> 32) * 0x9e3779b1u >> 3 & mask_;
    return second == first_of(hash) ? second ^ 1 : second;
  }
  /// Two bits for each way whose tag is `tag`.
  static uint32_t match_tags(const FlowBucket& bucket, uint16_t tag) noexcept {
    __m128i tags = _mm_load_si128(reinterpret_cast<const __m128i*>(bucket.tags));
    return static_cast<uint32_t>(
        _mm_movemask_epi8(_mm_cmpeq_epi16(tags, _mm_set1_epi16(static_cast<int16_t>(tag)))));
  }
  static bool same(const FlowKey4& a, const FlowKey4& b) noexcept {
    __m128i x = _mm_load_si128(reinterpret_cast<const __m128i*>(&a)),
            y = _mm_load_si128(reinterpret_cast<const __m128i*>(&b));
    return _mm_movemask_epi8(_mm_cmpeq_epi8(x, y)) == 0xffff;
  }
  static bool same(const FlowKey6& a, const FlowKey6& b) noexcept { return a == b; }

  uint32_t find_in(const FlowBucket& bucket, const Key& key, uint16_t tag) const noexcept {
    for (uint32_t match = match_tags(bucket, tag); match != 0; match &= match - 1, match &= match - 1) {
      uint32_t slot = bucket.slots[__builtin_ctz(match) / 2];
      if (same(entries_[slot].key, key)) return slot;
    }
    return kNoSlot;
  }
  static bool erase_in(FlowBucket& bucket, uint32_t slot) noexcept {
    for (int way = 0; way < 8; ++way) {
      if (bucket.tags[way] == 0 || bucket.slots[way] != slot) continue;
      bucket.tags[way] = 0;
      return true;
    }
    return false;
  }
  /// Freed slots first, the last one freed before others: it is in the cache.
  uint32_t take_slot() noexcept {
    if (free_ != 0) {
      uint32_t slot = free_ - 1;
      free_ = cold_[slot].next;
      return slot;
    }
    return fresh_ < capacity_ ? fresh_++ : kNoSlot;
  }

  RteArray<FlowBucket> buckets_;
  RteArray<Entry> entries_;
  RteArray<FlowCold> cold_;
  const char* lines_[2] = {};  ///< entries_ and cold_, for prefetch_entry()
  HashSeed seed_{};
  uint32_t mask_ = 0, capacity_ = 0, size_ = 0;
  uint32_t free_ = 0;  ///< slot + 1; 0: none
  uint32_t fresh_ = 0;
};

}  // namespace bulkhead
