// Big-endian values as they stand in packets: a type of their own, no implicit conversion.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace bulkhead {

/// An unsigned integer kept in network byte order. Alignment 1, so it may stand anywhere in a packet.
template <class T>
class BigEndian {
 public:
  constexpr BigEndian() = default;
  constexpr explicit BigEndian(T host) { set(host); }

  constexpr T host() const {
    T raw = std::bit_cast<T>(bytes_);
    return swap(raw);
  }
  constexpr void set(T host) { bytes_ = std::bit_cast<Bytes>(swap(host)); }
  /// The bytes as they stand, for comparison and checksums.
  constexpr T raw() const { return std::bit_cast<T>(bytes_); }
  constexpr bool operator==(const BigEndian&) const = default;

 private:
  struct Bytes {
    uint8_t b[sizeof(T)];
    constexpr bool operator==(const Bytes&) const = default;
  };
  static constexpr T swap(T v) {
    if constexpr (std::endian::native == std::endian::big) return v;
    if constexpr (sizeof(T) == 2) return __builtin_bswap16(v);
    if constexpr (sizeof(T) == 4) return __builtin_bswap32(v);
    if constexpr (sizeof(T) == 8) return __builtin_bswap64(v);
  }
  Bytes bytes_{};
};
using Be16 = BigEndian<uint16_t>;
using Be32 = BigEndian<uint32_t>;
using Be64 = BigEndian<uint64_t>;
static_assert(sizeof(Be32) == 4 && alignof(Be32) == 1);

/// An unaligned load of a plain value.
template <class T>
inline T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// An unaligned store of a plain value.
template <class T>
inline void store(void* to, const T& value) {
  std::memcpy(to, &value, sizeof value);
}

}  // namespace bulkhead
