// The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
#pragma once

#include <immintrin.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/bytes.h"

namespace bulkhead {

namespace checksum_detail {
inline constexpr size_t kLong = 256;  ///< bytes from which on vectors pay

/// Sum of `bytes` bytes, a multiple of 64 and at most 64 KiB: 32-bit lanes that add up low and high 16-bit
/// words, which can't overflow.
inline uint64_t sum_of_blocks(const uint8_t* at, size_t bytes) noexcept {
  const __m256i low_words = _mm256_set1_epi32(0xffff);
  __m256i low = _mm256_setzero_si256(), high = low;
  for (const uint8_t* end = at + bytes; at != end; at += 64) {
    __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    __m256i y = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32));
    low = _mm256_add_epi32(low,
                           _mm256_add_epi32(_mm256_and_si256(x, low_words), _mm256_and_si256(y, low_words)));
    high = _mm256_add_epi32(high, _mm256_add_epi32(_mm256_srli_epi32(x, 16), _mm256_srli_epi32(y, 16)));
  }
  alignas(32) uint32_t lanes[16];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), low);
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes + 8), high);
  uint64_t sum = 0;
  for (uint32_t lane : lanes) sum += lane;
  return sum;
}
}  // namespace checksum_detail

/// One's complement sum of two 64-bit words: 2^64 is 1 modulo 2^16 - 1, so the carry comes around. 0 only
/// where both are.
inline uint64_t checksum_add(uint64_t a, uint64_t b) noexcept {
  uint64_t sum;
  bool carry = __builtin_add_overflow(a, b, &sum);
  return sum + carry;
}

/// checksum_add() of `sum` and all of the `bytes` bytes, which are 8 at least and 64 KiB at most.
inline uint64_t checksum_add(uint64_t sum, const uint8_t* at, size_t bytes) noexcept {
  if (bytes >= checksum_detail::kLong) [[unlikely]] {
    size_t blocks = (bytes - 1) & ~size_t{63};
    sum = checksum_add(sum, checksum_detail::sum_of_blocks(at, blocks));
    at += blocks;
    bytes -= blocks;
    // The last 8 below may reach back into what was summed already; it shifts that out.
  }
  // The end, 1 to 8 bytes, are the upper ones of the last 8 (shifts count modulo 64): no branch for each of
  // its halves.
  sum = checksum_add(sum, load<uint64_t>(at + bytes - 8) >> (-8 * bytes & 63));
#pragma GCC \
    unroll 1  // most packets have a few words, for which anything more elaborate costs more than it saves
  for (const uint8_t* end = at + ((bytes - 1) & ~size_t{7}); at != end; at += 8)
    sum = checksum_add(sum, load<uint64_t>(at));
  return sum;
}

/// One's complement sum of `bytes` bytes as they stand in memory, not yet folded: sums add up, the order of
/// words doesn't matter. An odd last byte counts as if a zero byte followed. `bytes`: at most 64 KiB.
inline uint64_t checksum_sum(const void* at, size_t bytes) noexcept {
  auto* p = static_cast<const uint8_t*>(at);
  if (bytes >= 8) [[likely]] {
    uint64_t sum = checksum_add(0, p, bytes);
    return (sum & 0xffffffff) + (sum >> 32);
  }
  uint64_t word = 0;
  if (bytes != 0) std::memcpy(&word, p, bytes);  // of nothing there may be no address
  return (word & 0xffffffff) + (word >> 32);
}

/// Folds a sum to 16 bits, in memory order.
constexpr uint16_t checksum_fold(uint64_t sum) noexcept {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

/// The checksum field for data of that sum, in memory order.
constexpr uint16_t checksum_finish(uint64_t sum) noexcept {
  return static_cast<uint16_t>(~checksum_fold(sum));
}

/// Whether a sum that isn't 0 folds to 0xffff. A compiler asks for a multiple by one multiplication.
constexpr bool checksum_is_multiple(uint64_t sum) noexcept {
  return sum % 0xffff == 0;
}

/// Whether data that includes its checksum field adds up (RFC 1071 §1).
constexpr bool checksum_holds(uint64_t sum) noexcept {
  return checksum_is_multiple(sum) && sum != 0;
}

/// The checksum after one 16-bit word changed; all values in memory order (RFC 1624 eqn. 3).
constexpr uint16_t checksum_update(uint16_t checksum, uint16_t from, uint16_t to) noexcept {
  return checksum_finish(uint64_t{static_cast<uint16_t>(~checksum)} + static_cast<uint16_t>(~from) + to);
}

/// The protocol and length words of a pseudo-header, as a sum in memory order (RFC 9293 §3.1, RFC 8200 §8.1).
constexpr uint64_t pseudo_header_sum(uint8_t proto, uint32_t l4_bytes) noexcept {
  return uint64_t{Be16(proto).raw()} + Be16(static_cast<uint16_t>(l4_bytes)).raw() +
         Be16(static_cast<uint16_t>(l4_bytes >> 16)).raw();
}

}  // namespace bulkhead
