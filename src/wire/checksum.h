// The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace bulkhead {

/// One's complement sum of `bytes` bytes as they stand in memory, not yet folded: sums add up, the order of
/// 32-bit words doesn't matter. An odd last byte counts as if a zero byte followed.
inline uint64_t checksum_sum(const void* at, size_t bytes) noexcept {
  auto* p = static_cast<const uint8_t*>(at);
  uint64_t a = 0, b = 0;
  while (bytes >= 16) {
    uint64_t x = load<uint64_t>(p), y = load<uint64_t>(p + 8);
    a += (x & 0xffffffff) + (x >> 32);
    b += (y & 0xffffffff) + (y >> 32);
    p += 16;
    bytes -= 16;
  }
  if (bytes >= 8) {
    uint64_t x = load<uint64_t>(p);
    a += (x & 0xffffffff) + (x >> 32);
    p += 8;
    bytes -= 8;
  }
  if (bytes >= 4) {
    a += load<uint32_t>(p);
    p += 4;
    bytes -= 4;
  }
  if (bytes >= 2) {
    b += load<uint16_t>(p);
    p += 2;
    bytes -= 2;
  }
  if (bytes != 0) b += *p;
  return a + b;
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

/// Whether data that includes its checksum field adds up (RFC 1071 §1).
constexpr bool checksum_holds(uint64_t sum) noexcept {
  return checksum_fold(sum) == 0xffff;
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
