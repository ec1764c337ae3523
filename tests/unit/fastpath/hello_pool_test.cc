#include "dataplane/fastpath/hello_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace bulkhead {
namespace {

constexpr SegmentTag kWeb{100}, kApp{200};

std::vector<uint8_t> numbers(size_t count) {
  std::vector<uint8_t> bytes(count);
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  return bytes;
}

TEST(HelloPool, KeptBytes_AreFoundAtAnyOffset) {
  HelloPool pool;
  pool.create(2, 0);
  uint32_t check = pool.begin({1, false}, kWeb);
  auto bytes = numbers(3 * HelloPool::kChunkBytes + 7);
  for (size_t at = 0; at < bytes.size(); at += 100)
    pool.keep(check, 0, std::span(bytes).subspan(at, std::min<size_t>(100, bytes.size() - at)));
  const auto& side = pool.at(check).sides[0];
  ASSERT_EQ(side.bytes, bytes.size());
  for (uint32_t at = 0; at < bytes.size(); at += 13)
    for (size_t count : {size_t{1}, size_t{509}, bytes.size() - at}) {
      auto part = std::span(bytes).subspan(at, std::min(count, bytes.size() - at));
      EXPECT_TRUE(pool.same(side, at, part)) << at << " " << count;
      std::vector<uint8_t> other(part.begin(), part.end());
      other.back() ^= 1;
      EXPECT_FALSE(pool.same(side, at, other)) << at << " " << count;
    }
}

/// Half of the smallest pool holds the longest hellos of both sides of one connection.
TEST(HelloPool, Room_IsForTheLongestHellosAndComesBack) {
  HelloPool pool;
  pool.create(8, 0);
  auto most = numbers(kMostHelloBytes);
  for (int round = 0; round < 3; ++round) {
    uint32_t check = pool.begin({0, false}, kWeb), other = pool.begin({1, true}, kApp);
    for (uint32_t c : {check, other})
      for (unsigned direction : {0u, 1u}) {
        ASSERT_EQ(pool.before_keep(c, direction, most.size()), kNoIndex);
        pool.keep(c, direction, most);
      }
    EXPECT_TRUE(pool.at(other).flow.v6);
    uint32_t third = pool.begin({2, false}, kWeb);
    EXPECT_EQ(pool.before_keep(third, 0, 1), check) << "its own segment's, which has its share";
    pool.end(check);
    EXPECT_EQ(pool.before_keep(third, 0, most.size()), kNoIndex);
    pool.end(third);
    pool.end(other);
  }
  EXPECT_EQ(pool.size(), 0u);
}

TEST(HelloPool, WithoutRoom_TheOldestOfAllGivesWayButNeverTheOneThatAsks) {
  HelloPool pool;
  pool.create(8, 0);
  auto third = numbers(HelloPool::kChunkBytes * 22);  // of a share
  uint32_t first = pool.begin({0, false}, SegmentTag{1});
  for (uint16_t tag = 1; tag <= 6; ++tag) {
    uint32_t check = tag == 1 ? first : pool.begin({tag, false}, SegmentTag{tag});
    ASSERT_EQ(pool.before_keep(check, 0, third.size()), kNoIndex);
    pool.keep(check, 0, third);
  }
  uint32_t last = pool.begin({7, false}, SegmentTag{7});
  EXPECT_EQ(pool.before_keep(last, 0, 1), first);
  uint32_t second = pool.at(first).in_all.after;
  EXPECT_EQ(pool.before_keep(first, 1, 1), second);
}

TEST(HelloPool, Records_AreHalvedAmongSegmentsToo) {
  HelloPool pool;
  pool.create(4, 0);
  uint32_t first = pool.begin({0, false}, kWeb);
  EXPECT_EQ(pool.before_begin(kWeb), kNoIndex);
  uint32_t second = pool.begin({1, false}, kWeb);
  EXPECT_EQ(pool.before_begin(kWeb), first) << "half of them";
  EXPECT_EQ(pool.before_begin(kApp), kNoIndex);
  pool.end(first);
  EXPECT_EQ(pool.before_begin(kWeb), kNoIndex);
  pool.begin({2, false}, kWeb);
  EXPECT_EQ(pool.before_begin(kWeb), second);
  pool.begin({3, false}, kApp);
  pool.begin({4, false}, SegmentTag{300});
  EXPECT_EQ(pool.before_begin(SegmentTag{400}), second) << "none is left: the oldest of all";
}

}  // namespace
}  // namespace bulkhead
