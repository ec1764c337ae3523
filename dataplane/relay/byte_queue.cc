#include "dataplane/relay/byte_queue.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace bulkhead {

bool MemoryBudget::take(uint64_t bytes) noexcept {
  if (used_.fetch_add(bytes, std::memory_order_relaxed) + bytes <= limit_) return true;
  give(bytes);
  return false;
}

BlockPool::~BlockPool() {
  for (auto& blocks : kept_)
    for (std::byte* block : blocks) std::free(block);
}

std::byte* BlockPool::take(unsigned size) noexcept {
  if (size == 0)
    budget_.force(bytes_of(0));
  else if (!budget_.take(bytes_of(size)))
    return nullptr;
  std::byte* block;
  if (auto& kept = kept_[size]; !kept.empty()) {
    block = kept.back();
    kept.pop_back();
  } else {
    block = static_cast<std::byte*>(std::malloc(bytes_of(size)));
  }
  if (!block) budget_.give(bytes_of(size));
  return block;
}

void BlockPool::give(std::byte* block, unsigned size) noexcept {
  budget_.give(bytes_of(size));
  auto& kept = kept_[size];
  if (kept.capacity() == 0) kept.reserve(kKeptBytes / bytes_of(size));
  if (kept.size() < kept.capacity())
    kept.push_back(block);
  else
    std::free(block);
}

std::span<std::byte> ByteQueue::room(BlockPool& pool) noexcept {
  if (!block_) {
    size_ = next_size_;
    block_ = pool.take(size_);
    if (!block_ && size_ != 0) block_ = pool.take(size_ = 0);
    if (!block_) return {};
  }
  size_t capacity = BlockPool::bytes_of(size_);
  if (end_ == capacity && begin_ > 0) {
    std::memmove(block_, block_ + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == capacity && !grow(pool)) return {};
  return {block_ + end_, std::min(BlockPool::bytes_of(size_) - end_, kMostAtOnce)};
}

void ByteQueue::filled(BlockPool& pool, size_t bytes) noexcept {
  constexpr uint8_t kLargestFirst = 4;  // 64 KiB: as much as is read at once
  size_t capacity = BlockPool::bytes_of(size_);
  end_ += static_cast<uint32_t>(bytes);
  if (end_ == capacity && next_size_ < kLargestFirst) next_size_ = std::max<uint8_t>(next_size_, size_) + 1;
  if (next_size_ > kLargestFirst) next_size_ = kLargestFirst;
  if (bytes != 0 && end_ < capacity / 4 && next_size_ > 0 && next_size_ == size_) --next_size_;
  if (empty()) give_back(pool);
}

void ByteQueue::drop(BlockPool& pool, size_t count) noexcept {
  begin_ += static_cast<uint32_t>(count);
  if (empty()) give_back(pool);
}

void ByteQueue::give_back(BlockPool& pool) noexcept {
  if (block_) pool.give(block_, size_);
  block_ = nullptr;
  begin_ = end_ = 0;
}

bool ByteQueue::grow(BlockPool& pool) noexcept {
  if (size_ + 1u == BlockPool::kSizes) return false;
  std::byte* larger = pool.take(size_ + 1u);
  if (!larger) return false;
  std::memcpy(larger, block_ + begin_, end_ - begin_);
  pool.give(block_, size_);
  block_ = larger;
  end_ -= begin_;
  begin_ = 0;
  ++size_;
  return true;
}

}  // namespace bulkhead
