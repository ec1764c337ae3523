#include "dataplane/fastpath/hello_pool.h"

#include <algorithm>
#include <cstring>

namespace bulkhead {

void HelloPool::create(uint32_t checks, uint32_t chunks) {
  checks_.resize(std::max(checks, 2u));
  chunks_.resize(std::max(chunks, 2 * kMostChunks));
  segments_.resize(65536);
  for (uint32_t i = 0; i < checks_.size(); ++i)
    checks_[i].in_all.after = i + 1 < checks_.size() ? i + 1 : kNoIndex;
  free_chunks_ = static_cast<uint32_t>(chunks_.size());
  for (uint32_t i = 0; i < free_chunks_; ++i) chunks_[i].next = i + 1 < free_chunks_ ? i + 1 : kNoIndex;
  free_check_ = free_chunk_ = 0;
}

uint32_t HelloPool::before_begin(SegmentTag source) const noexcept {
  const Segment& own = segments_[source.value];
  if (own.size >= checks_.size() / 2) return own.checks.first;
  return free_check_ == kNoIndex ? all_.first : kNoIndex;
}

uint32_t HelloPool::begin(HalfOpenFlows::Flow flow, SegmentTag source) noexcept {
  uint32_t check = free_check_;
  free_check_ = checks_[check].in_all.after;
  checks_[check] = HelloCheck{};
  checks_[check].flow = flow;
  checks_[check].source = source;
  Segment& own = segments_[source.value];
  all_.append(checks_, check);
  own.checks.append(checks_, check);
  ++own.size, ++size_;
  return check;
}

void HelloPool::end(uint32_t check) noexcept {
  Segment& own = segments_[checks_[check].source.value];
  for (const HelloCheck::Side& side : checks_[check].sides) give_back(side, own);
  all_.remove(checks_, check);
  own.checks.remove(checks_, check);
  --own.size, --size_;
  checks_[check].in_all.after = free_check_;
  free_check_ = check;
}

void HelloPool::give_back(const HelloCheck::Side& side, Segment& segment) noexcept {
  if (side.first == kNoIndex) return;
  chunks_[side.last].next = free_chunk_;
  free_chunk_ = side.first;
  free_chunks_ += chunks_of(side.bytes);
  segment.chunks -= chunks_of(side.bytes);
}

uint32_t HelloPool::before_keep(uint32_t check, unsigned direction, size_t bytes) const noexcept {
  const HelloCheck& own = checks_[check];
  const HelloCheck::Side& side = own.sides[direction];
  const Segment& segment = segments_[own.source.value];
  uint32_t more = chunks_of(side.bytes + static_cast<uint32_t>(bytes)) - chunks_of(side.bytes);
  // Never itself: half of the room is enough for one.
  if (segment.chunks + more > chunks_.size() / 2)
    return segment.checks.first != check ? segment.checks.first : own.in_segment.after;
  if (more > free_chunks_) return all_.first != check ? all_.first : own.in_all.after;
  return kNoIndex;
}

void HelloPool::keep(uint32_t check, unsigned direction, std::span<const uint8_t> bytes) noexcept {
  HelloCheck::Side& side = checks_[check].sides[direction];
  while (!bytes.empty()) {
    uint32_t at = side.bytes % kChunkBytes;
    if (at == 0) {
      uint32_t chunk = free_chunk_;
      free_chunk_ = chunks_[chunk].next;
      --free_chunks_;
      ++segments_[checks_[check].source.value].chunks;
      (side.last == kNoIndex ? side.first : chunks_[side.last].next) = chunk;
      side.last = chunk;
    }
    size_t count = std::min<size_t>(bytes.size(), kChunkBytes - at);
    std::memcpy(chunks_[side.last].bytes + at, bytes.data(), count);
    side.bytes += static_cast<uint32_t>(count);
    bytes = bytes.subspan(count);
  }
}

bool HelloPool::same(const HelloCheck::Side& side, uint32_t offset,
                     std::span<const uint8_t> bytes) const noexcept {
  uint32_t chunk = side.first;
  for (uint32_t skip = offset / kChunkBytes; skip != 0; --skip) chunk = chunks_[chunk].next;
  for (size_t at = offset % kChunkBytes; !bytes.empty(); at = 0) {
    size_t count = std::min<size_t>(bytes.size(), kChunkBytes - at);
    if (std::memcmp(chunks_[chunk].bytes + at, bytes.data(), count) != 0) return false;
    bytes = bytes.subspan(count);
    chunk = chunks_[chunk].next;
  }
  return true;
}

}  // namespace bulkhead
