#include "base/bytes.h"

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

TEST(BigEndian, StandsInNetworkOrder) {
  Be32 value(0x01020304);
  uint8_t bytes[4];
  store(bytes, value);
  EXPECT_EQ(bytes[0], 1);
  EXPECT_EQ(bytes[3], 4);
  EXPECT_EQ(load<Be32>(bytes).host(), 0x01020304u);
  EXPECT_EQ(load<Be16>(bytes + 1).host(), 0x0203);
  EXPECT_EQ(Be64(0x0102030405060708).host(), 0x0102030405060708u);
}
TEST(BigEndian, ComparesByValue) {
  EXPECT_EQ(Be16(5), Be16(5));
  EXPECT_NE(Be16(5), Be16(0x0500));
}

}  // namespace
}  // namespace bulkhead
