#include "wire_bytes.h"

namespace bulkhead::test {

uint16_t internet_checksum(std::span<const uint8_t> bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    uint32_t low = i + 1 < bytes.size() ? bytes[i + 1] : 0;
    sum += uint32_t{bytes[i]} << 8 | low;
    if (sum > 0xffff) sum = (sum & 0xffff) + 1;
  }
  return static_cast<uint16_t>(0xffff - sum);
}

uint32_t crc32c(std::span<const uint8_t> bytes) {
  constexpr uint32_t kReflectedPolynomial = 0x82f63b78;
  uint32_t crc = 0xffffffff;
  for (uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ kReflectedPolynomial : crc >> 1;
  }
  return crc ^ 0xffffffff;
}

}  // namespace bulkhead::test
