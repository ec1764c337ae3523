#include "dataplane/relay/byte_queue.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <string>

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

constexpr uint64_t kPlenty = uint64_t{64} << 20;

struct ByteQueueTest : testing::Test {
  MemoryBudget budget{kPlenty};
  BlockPool pool{budget};
  ByteQueue queue;
  void TearDown() override {
    queue.clear(pool);
    EXPECT_EQ(budget.used(), 0u);
  }
  /// As much of `text` as there is room for at once.
  size_t put(std::string_view text) {
    auto room = queue.room(pool);
    size_t n = std::min(room.size(), text.size());
    if (!room.empty()) std::memcpy(room.data(), text.data(), n);
    queue.filled(pool, n);
    return n;
  }
  std::string text() const {
    auto bytes = queue.bytes();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  void fill() {
    std::string piece(ByteQueue::kMostAtOnce, 'x');
    while (put(piece) != 0) {
    }
  }
};

TEST_F(ByteQueueTest, BeginsWith4KiB_AndHasNoneWhenEmpty) {
  EXPECT_EQ(queue.room(pool).size(), 4096u);
  EXPECT_EQ(budget.used(), 4096u);
  queue.filled(pool, 0);
  EXPECT_EQ(budget.used(), 0u);
  put("abc");
  queue.drop(pool, 3);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(budget.used(), 0u);
}
TEST_F(ByteQueueTest, GrowsTo256KiB_ThenThereIsNoRoom) {
  fill();
  EXPECT_EQ(queue.bytes().size(), ByteQueue::kMost);
  EXPECT_EQ(budget.used(), ByteQueue::kMost);
  queue.drop(pool, 100);
  EXPECT_EQ(put(std::string(200, 'y')), 100u);
}
TEST_F(ByteQueueTest, BeginsLargerAfterAStream_AndSmallerAfterALittle) {
  for (int i = 0; i < 8; ++i) {
    size_t room = queue.room(pool).size();
    queue.filled(pool, room);
    queue.clear(pool);
  }
  EXPECT_EQ(queue.room(pool).size(), 65536u);
  queue.filled(pool, 0);
  for (int i = 0; i < 8; ++i) {
    put("little");
    queue.clear(pool);
  }
  EXPECT_EQ(queue.room(pool).size(), 4096u);
  queue.filled(pool, 0);
}
TEST_F(ByteQueueTest, KeepsTheOrderOfWhatCameWhateverIsTaken) {
  for (uint32_t seed = 0; seed < 8; ++seed) {
    std::mt19937 random(seed);
    uint8_t next_in = 0, next_out = 0;
    for (int i = 0; i < 2000; ++i) {
      if (random() % 2 == 0) {
        auto room = queue.room(pool);
        size_t n = std::min<size_t>(room.size(), random() % 9000);
        for (size_t k = 0; k < n; ++k) room[k] = std::byte{next_in++};
        queue.filled(pool, n);
      } else if (!queue.empty()) {
        size_t n = random() % (queue.bytes().size() + 1);
        for (size_t k = 0; k < n; ++k) ASSERT_EQ(queue.bytes()[k], std::byte{next_out++}) << seed;
        queue.drop(pool, n);
      }
    }
    while (!queue.empty()) {
      ASSERT_EQ(queue.bytes()[0], std::byte{next_out++}) << seed;
      queue.drop(pool, 1);
    }
    ASSERT_EQ(next_in, next_out);
  }
}
TEST_F(ByteQueueTest, OverTheBudgetThereIsStillTheLeastBlock_ButNoMore) {
  MemoryBudget small(4096);
  BlockPool own(small);
  ByteQueue a, b;
  for (ByteQueue* q : {&a, &b}) {
    auto room = q->room(own);
    ASSERT_EQ(room.size(), 4096u);
    q->filled(own, room.size());
    EXPECT_TRUE(q->room(own).empty());
  }
  EXPECT_EQ(small.used(), 8192u);
  a.clear(own);
  b.clear(own);
  EXPECT_EQ(small.used(), 0u);
}

TEST(MemoryBudget, TakesUpToTheLimit) {
  MemoryBudget budget(10);
  EXPECT_TRUE(budget.take(10));
  EXPECT_FALSE(budget.take(1));
  budget.give(10);
  EXPECT_TRUE(budget.take(1));
}

}  // namespace
}  // namespace bulkhead
