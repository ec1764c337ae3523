// What the workers enforce, published by one pointer. A worker loads it once for each burst and uses it to
// the burst's end, so that no packet sees a mix of two states.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/types.h"
#include "contract/counters.h"
#include "policy/endpoint_table.h"
#include "policy/image_view.h"

namespace bulkhead {

inline constexpr size_t kMaxWorkers = 64;
inline constexpr uint32_t kShardCount = 65536;

/// When the endpoints of each shard last changed, and when each tag last came to mean another segment: low 32
/// bits of the generation. Shared by all snapshots. The
/// control thread stores (relaxed) before it publishes the generation (release); workers load relaxed after
/// loading the snapshot (acquire). What was judged keeps the generation of the snapshot that it was judged
/// under, and is stale when a version is newer than that. Never the version itself: a worker in an old
/// snapshot may already see that of the next.
struct ShardVersions {
  std::array<std::atomic<uint32_t>, kShardCount> host;  ///< by shard_of(address)
  std::atomic<uint32_t> prefix;                         ///< any endpoint that isn't a single address
  std::array<std::atomic<uint32_t>, 65536> meaning;     ///< by tag
};

inline uint32_t shard_of(const IpAddress& address) {
  uint64_t low, high;
  __builtin_memcpy(&high, address.bytes.data(), 8);
  __builtin_memcpy(&low, address.bytes.data() + 8, 8);
  uint64_t x = (low ^ high * 0x9e3779b97f4a7c15) * 0xd6e8feb86659fd93;
  return static_cast<uint32_t>(x >> 48);
}

/// One consistent state. Immutable once published; freed after every worker was quiescent.
struct Snapshot {
  const ImageView* image = nullptr;
  const EndpointTable* endpoints = nullptr;
  const ShardVersions* shards = nullptr;
  uint64_t generation = 0;
  uint64_t image_generation = 0;
  RuleHits* hits[kMaxWorkers] = {};  ///< image->rules.size() for each worker, which alone writes them
};

/// The pointer itself. nullptr: no policy, nothing is forwarded.
struct Published {
  alignas(64) std::atomic<const Snapshot*> current{nullptr};
};

}  // namespace bulkhead
