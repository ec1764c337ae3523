// Shared memory between the planes: memfds with seals, and mappings of them.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/fd.h"

namespace bulkhead {

/// A mapping that unmaps itself.
class Mapping {
 public:
  Mapping() = default;
  Mapping(void* at, size_t bytes) : at_(at), bytes_(bytes) {}
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();
  std::byte* bytes() const { return static_cast<std::byte*>(at_); }
  template <class T>
  T* as(size_t offset = 0) const {
    return reinterpret_cast<T*>(bytes() + offset);
  }
  size_t size() const { return bytes_; }
  explicit operator bool() const { return at_ != nullptr; }

 private:
  void* at_ = nullptr;
  size_t bytes_ = 0;
};

/// A memfd of `bytes` zeroes, mapped writable here. `name` shows in /proc.
struct SharedMemory {
  Fd fd;
  Mapping mapping;
};
/// Its size is sealed at once; its content and further seals are not.
Expected<SharedMemory> make_shared_memory(const char* name, size_t bytes);

/// Writes `content` into a new memfd and seals it: no growing, shrinking, writing, or further seals.
Expected<Fd> make_sealed(const char* name, std::span<const std::byte> content);
/// Forbids new writable mappings and further seals; the caller's existing mapping stays writable
/// (F_SEAL_FUTURE_WRITE).
Expected<void> seal_against_readers(const Fd& fd);
/// Forbids further seals, so that no reader can take the right to write from the next one.
Expected<void> seal_as_writable(const Fd& fd);
/// Copies a memfd that must be fully sealed (write, shrink, grow, seal) and exactly `bytes` long into `to`.
/// Errors: kInvalid where a seal is missing or the size differs; nothing is read then.
Expected<void> copy_sealed(const Fd& fd, std::span<std::byte> to);
/// Maps read-only. Errors: kInvalid when it isn't sealed against shrinking or isn't at least `bytes` long.
Expected<Mapping> map_read_only(const Fd& fd, size_t bytes);
/// Maps read-write, with the same checks.
Expected<Mapping> map_read_write(const Fd& fd, size_t bytes);

}  // namespace bulkhead
