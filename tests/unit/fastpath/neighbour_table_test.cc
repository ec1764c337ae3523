#include "dataplane/fastpath/neighbour_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace bulkhead {
namespace {

constexpr PortId kLeft{0}, kRight{1};
IpAddress host(uint32_t n) {
  return IpAddress::v4(0x0a000000 + n);
}
/// A MAC that says whose it is.
MacAddress mac(uint32_t n, uint8_t writer = 0) {
  return {{0x02, writer, static_cast<uint8_t>(n >> 24), static_cast<uint8_t>(n >> 16),
           static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)}};
}

struct NeighbourTableTest : testing::Test {
  std::unique_ptr<NeighbourTable> table = std::make_unique<NeighbourTable>();
};

TEST_F(NeighbourTableTest, LearntIsFound_OnItsPortOnly) {
  EXPECT_FALSE(table->find(kLeft, host(1), 0));
  ASSERT_TRUE(table->learn(kLeft, host(1), mac(1), 100));
  auto found = table->find(kLeft, host(1), 100);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->mac, mac(1));
  EXPECT_EQ(found->confirmed, 100u);
  EXPECT_FALSE(table->find(kRight, host(1), 100));
}
TEST_F(NeighbourTableTest, UnconfirmedForLong_IsForgotten) {
  table->learn(kLeft, host(1), mac(1), 100);
  EXPECT_TRUE(table->find(kLeft, host(1), 100 + NeighbourTable::kForgotten - 1));
  EXPECT_FALSE(table->find(kLeft, host(1), 100 + NeighbourTable::kForgotten));
}
TEST_F(NeighbourTableTest, AnswersMoveIt_ConfiguredOnesStay) {
  table->learn(kLeft, host(1), mac(1), 100);
  table->learn(kLeft, host(1), mac(2), 200);
  EXPECT_EQ(table->find(kLeft, host(1), 200)->mac, mac(2));
  table->learn(kLeft, host(3), mac(3), 0, true);
  EXPECT_TRUE(table->learn(kLeft, host(3), mac(4), 200));
  EXPECT_EQ(table->find(kLeft, host(3), 2 * NeighbourTable::kForgotten)->mac, mac(3));
}
TEST_F(NeighbourTableTest, ManyNeighbours_AreAllFound) {
  std::vector<uint32_t> learnt;
  for (uint32_t n = 0; n < 8000; ++n)
    if (table->learn(kLeft, host(n), mac(n), 100)) learnt.push_back(n);
  EXPECT_GT(learnt.size(), 7900u);
  for (uint32_t n : learnt) {
    auto found = table->find(kLeft, host(n), 100);
    ASSERT_TRUE(found) << n;
    ASSERT_EQ(found->mac, mac(n));
  }
}
TEST_F(NeighbourTableTest, WritersAndReadersAtOnce_NeverMixTwoEntries) {
  constexpr uint32_t kHosts = 64;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> mixed{0}, seen{0};
  std::vector<std::thread> threads;
  for (uint8_t writer = 0; writer < 2; ++writer)
    threads.emplace_back([&, writer] {
      for (uint32_t round = 0; round < 20'000; ++round)
        table->learn(kLeft, host(round % kHosts), mac(round % kHosts, writer), round);
      stop = true;
    });
  for (int reader = 0; reader < 2; ++reader)
    threads.emplace_back([&] {
      for (uint32_t n = 0; !stop; n = (n + 1) % kHosts) {
        auto found = table->find(kLeft, host(n), 0);
        if (!found) continue;
        ++seen;
        MacAddress wanted = mac(n, found->mac.bytes[1]);
        if (found->mac != wanted || found->mac.bytes[1] > 1) ++mixed;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(mixed, 0u);
  for (uint32_t n = 0; n < kHosts; ++n) EXPECT_TRUE(table->find(kLeft, host(n), 20'000));
}

}  // namespace
}  // namespace bulkhead
