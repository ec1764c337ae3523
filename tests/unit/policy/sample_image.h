// A small image that has everything in it, in a block of memory exactly as large as it is, so that a
// sanitizer sees any step outside.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include "controlplane/compiler/compile.h"

namespace bulkhead {

/// Segments of both families' kinds, every tier, action and mTLS mode, deadlines, audit, ranges, a list large
/// enough to be a selector of its own, and rules for `unknown` and `gateway`.
Policy sample_policy();
CompiledPolicy compiled_sample();

/// Bytes of an image that a test may damage.
class ImageBlock {
 public:
  explicit ImageBlock(std::span<const std::byte> image)
      : bytes_(static_cast<std::byte*>(std::aligned_alloc(kImageAlignment, image.size()))),
        size_(image.size()) {
    std::memcpy(bytes_.get(), image.data(), image.size());
  }
  std::span<std::byte> span() { return {bytes_.get(), size_}; }
  ImageHeader& header() { return *reinterpret_cast<ImageHeader*>(bytes_.get()); }
  /// The records of a section, as its (undamaged) header says.
  template <class Record>
  std::span<Record> section(SectionId id) {
    const Section& section = header().sections[id];
    return {reinterpret_cast<Record*>(bytes_.get() + section.offset), section.count};
  }
  /// Makes the checksum fit what the bytes are now.
  void repair_checksum() { header().checksum = image_checksum(bytes_.get(), size_); }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<std::byte, Free> bytes_;
  size_t size_;
};

}  // namespace bulkhead
