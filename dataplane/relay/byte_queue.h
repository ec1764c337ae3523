// What one side of a connection said and the other hasn't taken yet. Memory is there while there are bytes.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace bulkhead {

/// Memory for all queues of the relay. Thread: any.
class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t limit_bytes) : limit_(limit_bytes) {}
  bool take(uint64_t bytes) noexcept;
  /// Takes it whatever the limit says.
  void force(uint64_t bytes) noexcept { used_.fetch_add(bytes, std::memory_order_relaxed); }
  void give(uint64_t bytes) noexcept { used_.fetch_sub(bytes, std::memory_order_relaxed); }
  uint64_t used() const noexcept { return used_.load(std::memory_order_relaxed); }

 private:
  const uint64_t limit_;
  std::atomic<uint64_t> used_{0};
};

/// Blocks of 4 KiB << size, of which the last used are kept at hand. Thread: one, a worker.
class BlockPool {
 public:
  static constexpr unsigned kSizes = 7;  ///< 4 KiB to 256 KiB
  static constexpr size_t bytes_of(unsigned size) { return size_t{4096} << size; }

  explicit BlockPool(MemoryBudget& budget) : budget_(budget) {}
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;

  /// nullptr where the budget is used up; of the least size, only where there is no memory at all:
  /// connections, whose number is bounded, can always go on.
  std::byte* take(unsigned size) noexcept;
  void give(std::byte* block, unsigned size) noexcept;

 private:
  static constexpr size_t kKeptBytes = size_t{1} << 20;  ///< of each size
  MemoryBudget& budget_;
  std::array<std::vector<std::byte*>, kSizes> kept_;
};

/// Bytes in order, in one block that grows while the reader is slower than the writer, up to kMost, and is
/// given back when it is empty. Thread: the pool's.
class ByteQueue {
 public:
  static constexpr size_t kMost = BlockPool::bytes_of(BlockPool::kSizes - 1);
  static constexpr size_t kMostAtOnce = 65536;  ///< room that is offered

  ByteQueue() = default;
  ByteQueue(const ByteQueue&) = delete;

  /// Room for more at the end; empty where the queue is full, or grows no more for want of memory.
  std::span<std::byte> room(BlockPool& pool) noexcept;
  /// The first `bytes` of what room() gave are filled; 0: none, and the block is given back if it is empty.
  void filled(BlockPool& pool, size_t bytes) noexcept;
  std::span<const std::byte> bytes() const noexcept { return {block_ + begin_, end_ - begin_}; }
  bool empty() const noexcept { return begin_ == end_; }
  /// The first `count` bytes are done with.
  void drop(BlockPool& pool, size_t count) noexcept;
  void clear(BlockPool& pool) noexcept { drop(pool, end_ - begin_); }

 private:
  void give_back(BlockPool& pool) noexcept;
  bool grow(BlockPool& pool) noexcept;

  std::byte* block_ = nullptr;
  uint32_t begin_ = 0, end_ = 0;
  uint8_t size_ = 0;       ///< of `block_`
  uint8_t next_size_ = 0;  ///< of the next, as the last was used
};

}  // namespace bulkhead
