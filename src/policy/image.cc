#include "policy/image.h"

#include <nmmintrin.h>

#include <cstddef>
#include <cstring>

namespace bulkhead {

namespace {

constexpr size_t kStreams =
    4;  // CRC32 takes three cycles and starts one each: enough of them to keep it busy
constexpr size_t kBlockBytes = kStreams * sizeof(uint64_t);
static_assert(offsetof(ImageHeader, checksum) + sizeof(uint64_t) <= kBlockBytes);

struct Streams {
  uint64_t crc[kStreams];

  void take(const unsigned char* block) {
    for (size_t i = 0; i < kStreams; ++i) {
      uint64_t word;
      std::memcpy(&word, block + i * sizeof word, sizeof word);
      crc[i] = _mm_crc32_u64(crc[i], word);
    }
  }
};

}  // namespace

uint64_t image_checksum(const void* image, uint64_t total_bytes) {
  const auto* bytes = static_cast<const unsigned char*>(image);
  Streams streams{{0xffffffff, total_bytes & 0xffffffff, total_bytes >> 32, 0}};

  for (uint64_t at = 0; at < total_bytes; at += kBlockBytes) {
    bool whole = total_bytes - at >= kBlockBytes;
    if (at != 0 && whole) {
      streams.take(bytes + at);
      continue;
    }
    unsigned char block[kBlockBytes] =
        {};  // the first one without its checksum, the last one filled up with zeros
    std::memcpy(block, bytes + at, whole ? kBlockBytes : total_bytes - at);
    if (at == 0) std::memset(block + offsetof(ImageHeader, checksum), 0, sizeof(uint64_t));
    streams.take(block);
  }

  uint64_t low = streams.crc[0] | streams.crc[1] << 32, high = streams.crc[2] | streams.crc[3] << 32;
  return low ^ high * 0x9e3779b97f4a7c15;
}

}  // namespace bulkhead
