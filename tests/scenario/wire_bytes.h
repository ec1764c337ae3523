// Bytes in network order and checksums for packets made by tests. Written apart from the product's own code,
// the slow and obvious way, so that the two can't share a mistake.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace bulkhead::test {

using Bytes = std::vector<uint8_t>;

inline void put8(Bytes& to, uint64_t value) {
  to.push_back(static_cast<uint8_t>(value));
}
inline void put16(Bytes& to, uint64_t value) {
  put8(to, value >> 8);
  put8(to, value);
}
inline void put32(Bytes& to, uint64_t value) {
  put16(to, value >> 16);
  put16(to, value);
}
template <class Range>
void append(Bytes& to, const Range& bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}
inline void set16(Bytes& in, size_t at, uint16_t value) {
  in[at] = static_cast<uint8_t>(value >> 8);
  in[at + 1] = static_cast<uint8_t>(value);
}
inline uint16_t get16(std::span<const uint8_t> in, size_t at) {
  return static_cast<uint16_t>(in[at] << 8 | in[at + 1]);
}

/// RFC 1071, word by word: the checksum of `bytes` as the number that goes into the field.
uint16_t internet_checksum(std::span<const uint8_t> bytes);
/// RFC 9260 Appendix A, bit by bit: CRC-32C.
uint32_t crc32c(std::span<const uint8_t> bytes);

}  // namespace bulkhead::test
