#include "contract/events.h"

#include <cstddef>
#include <cstring>
#include <type_traits>

namespace bulkhead {

static_assert((kEventRingSlots & (kEventRingSlots - 1)) == 0);
static_assert(sizeof(EventRingHeader) <= kEventRingData);

template <class Header>
static auto slot_of(Header* ring, uint64_t index) {
  using Byte = std::conditional_t<std::is_const_v<Header>, const std::byte, std::byte>;
  return reinterpret_cast<Byte*>(ring) + kEventRingData +
         (index & (kEventRingSlots - 1)) * sizeof(FlowRecord);
}

bool EventWriter::write(const FlowRecord& record) noexcept {
  if (!ring_) return false;
  uint64_t head = ring_->head.load(std::memory_order_relaxed);
  uint64_t tail = tail_->tail.load(std::memory_order_acquire);
  if (head - tail >= kEventRingSlots) {  // full; a tail beyond the head is a number far larger still
    ring_->lost.store(ring_->lost.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return false;
  }
  std::memcpy(slot_of(ring_, head), &record, sizeof record);
  ring_->head.store(head + 1, std::memory_order_release);
  return true;
}

bool EventReader::read(FlowRecord& record) noexcept {
  if (!ring_) return false;
  uint64_t tail = tail_->tail.load(std::memory_order_relaxed);
  uint64_t head = ring_->head.load(std::memory_order_acquire);
  if (head - tail >
      kEventRingSlots) {  // a reader before this one left nonsense: the worker waits until it is made good
    tail_->tail.store(head, std::memory_order_release);
    return false;
  }
  if (head == tail) return false;
  std::memcpy(&record, slot_of(ring_, tail), sizeof record);
  tail_->tail.store(tail + 1, std::memory_order_release);
  return true;
}

}  // namespace bulkhead
