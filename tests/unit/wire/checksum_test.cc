#include "wire/checksum.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace bulkhead {
namespace {

/// RFC 1071 in so many words: 16 bits at a time, the carry added at once. In memory order.
uint16_t naive_fold(const std::vector<uint8_t>& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    sum += uint32_t{bytes[i]} << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0u);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return Be16(static_cast<uint16_t>(sum)).raw();
}

std::vector<uint8_t> random_bytes(std::mt19937& random, size_t count, bool all_ones = false) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = all_ones ? 0xff : static_cast<uint8_t>(random());
  return bytes;
}

/// One's complement has two zeroes.
bool same(uint16_t a, uint16_t b) {
  return a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0);
}

TEST(Checksum, EveryLengthAndAlignment_AgreesWithTheNaiveSum) {
  std::mt19937 random(1);
  for (size_t length = 0; length < 600; ++length) {
    for (size_t offset = 0; offset < 9; ++offset) {
      auto bytes = random_bytes(random, length + offset);
      std::vector<uint8_t> exact(bytes.begin() + static_cast<ptrdiff_t>(offset), bytes.end());
      ASSERT_TRUE(same(checksum_fold(checksum_sum(bytes.data() + offset, length)), naive_fold(exact)))
          << length << " at " << offset;
    }
  }
}
TEST(Checksum, LongestPacketOfOnes_DoesNotOverflow) {
  std::mt19937 random(1);
  auto bytes = random_bytes(random, 65535, true);
  EXPECT_TRUE(same(checksum_fold(checksum_sum(bytes.data(), bytes.size())), naive_fold(bytes)));
}
TEST(Checksum, SumsOfEvenParts_AddUp) {
  std::mt19937 random(2);
  auto bytes = random_bytes(random, 300);
  for (size_t split = 0; split <= bytes.size(); split += 2) {
    uint64_t sum =
        checksum_sum(bytes.data(), split) + checksum_sum(bytes.data() + split, bytes.size() - split);
    ASSERT_TRUE(same(checksum_fold(sum), naive_fold(bytes)));
  }
}
TEST(Checksum, FinishedField_Holds_AndOneBitOffDoesNot) {
  std::mt19937 random(3);
  for (int i = 0; i < 200; ++i) {
    auto bytes = random_bytes(random, 20);
    bytes[10] = bytes[11] = 0;
    store(bytes.data() + 10, checksum_finish(checksum_sum(bytes.data(), bytes.size())));
    EXPECT_TRUE(checksum_holds(checksum_sum(bytes.data(), bytes.size())));
    bytes[random() % 20] ^= static_cast<uint8_t>(1u << random() % 8);
    EXPECT_FALSE(checksum_holds(checksum_sum(bytes.data(), bytes.size())));
  }
}
TEST(Checksum, Update_IsWhatStartingOverGives) {
  std::mt19937 random(4);
  for (int i = 0; i < 10'000; ++i) {
    auto bytes = random_bytes(random, 20);
    bytes[10] = bytes[11] = 0;
    uint16_t before = load<uint16_t>(bytes.data() + 8),
             checksum = checksum_finish(checksum_sum(bytes.data(), bytes.size()));
    --bytes[8];
    uint16_t updated = checksum_update(checksum, before, load<uint16_t>(bytes.data() + 8));
    store(bytes.data() + 10, updated);
    ASSERT_TRUE(checksum_holds(checksum_sum(bytes.data(), bytes.size())));
  }
}
TEST(Checksum, PseudoHeader_IsItsBytes) {
  for (uint32_t length : {8u, 1480u, 65535u, 70000u}) {
    std::vector<uint8_t> bytes{0, 0, 0, 0, 0, 0, 0, 17};
    store(bytes.data(), Be32(length));
    EXPECT_TRUE(same(checksum_fold(pseudo_header_sum(17, length)), naive_fold(bytes)));
  }
}

}  // namespace
}  // namespace bulkhead
