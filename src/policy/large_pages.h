// Memory for large tables: on 2 MiB pages where the kernel has some, so that a look-up misses no TLB.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <limits>
#include <new>

namespace bulkhead {

/// An allocator for std::vector. Small blocks come from the heap as ever. Throws std::bad_alloc.
template <class T>
struct LargePageAllocator {
  using value_type = T;
  static constexpr size_t kPageBytes = size_t{2} << 20;

  LargePageAllocator() = default;
  template <class Other>
  LargePageAllocator(const LargePageAllocator<Other>&) {}

  T* allocate(size_t count) {
    if (count > (std::numeric_limits<size_t>::max() - kPageBytes) / sizeof(T)) throw std::bad_alloc();
    if (!is_large(count)) return static_cast<T*>(::operator new(count * sizeof(T)));
    size_t bytes = (count * sizeof(T) + kPageBytes - 1) / kPageBytes * kPageBytes;
    void* memory = ::operator new(bytes, std::align_val_t{kPageBytes});
    madvise(memory, bytes, MADV_HUGEPAGE);  // a wish: ordinary pages do as well
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t count) noexcept {
    if (is_large(count)) {
      ::operator delete(memory, std::align_val_t{kPageBytes});
    } else {
      ::operator delete(memory);
    }
  }
  bool operator==(const LargePageAllocator&) const = default;

 private:
  static bool is_large(size_t count) { return count * sizeof(T) >= 2 * kPageBytes; }
};

}  // namespace bulkhead
