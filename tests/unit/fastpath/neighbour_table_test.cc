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

constexpr HashSeed kSeed{{0x6e65696768626f75, 0x7273}};
constexpr Millis kLate = Millis{1} << 33;  ///< beyond 32 bits of milliseconds

struct NeighbourTableTest : testing::Test {
  std::unique_ptr<NeighbourTable> table = std::make_unique<NeighbourTable>(2, kSeed);

  bool resolve(PortId port, uint32_t n, Millis now) {
    return table->ask(port, host(n), now).to != Question::To::kNobody &&
           table->answer(port, host(n), mac(n), now);
  }
  MacAddress mac_now(uint32_t n, Millis now) {
    auto found = table->find(kLeft, host(n), now);
    return found ? found->mac : MacAddress{};
  }
};

TEST_F(NeighbourTableTest, AnswerIsFound_OnItsPortOnly) {
  EXPECT_FALSE(table->find(kLeft, host(1), 0));
  ASSERT_TRUE(resolve(kLeft, 1, 100));
  auto found = table->find(kLeft, host(1), 100);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->mac, mac(1));
  EXPECT_EQ(found->confirmed, 100u);
  EXPECT_FALSE(found->question_due);
  EXPECT_FALSE(table->find(kRight, host(1), 100));
}
TEST_F(NeighbourTableTest, AnswerThatNobodyAskedFor_IsNotTaken) {
  EXPECT_FALSE(table->answer(kLeft, host(1), mac(1), 100));
  EXPECT_FALSE(table->find(kLeft, host(1), 100));
  table->ask(kLeft, host(1), 100);
  EXPECT_FALSE(table->answer(kRight, host(1), mac(1), 200));
  EXPECT_FALSE(table->answer(kLeft, host(1), mac(1), 100 + NeighbourTable::kAnswerTime));
  EXPECT_FALSE(table->find(kLeft, host(1), 100 + NeighbourTable::kAnswerTime));
}
TEST_F(NeighbourTableTest, OneQuestionASecond) {
  EXPECT_EQ(table->ask(kLeft, host(1), 0).to, Question::To::kAll);
  EXPECT_EQ(table->ask(kLeft, host(1), NeighbourTable::kAskEvery - 1).to, Question::To::kNobody);
  EXPECT_EQ(table->ask(kLeft, host(1), NeighbourTable::kAskEvery).to, Question::To::kAll);
}
TEST_F(NeighbourTableTest, UnconfirmedForLong_IsForgotten) {
  resolve(kLeft, 1, 100);
  EXPECT_TRUE(table->find(kLeft, host(1), 100 + NeighbourTable::kForgotten - 1));
  EXPECT_FALSE(table->find(kLeft, host(1), 100 + NeighbourTable::kForgotten));
}
TEST_F(NeighbourTableTest, WeeksLater_IsForgottenAndAskedAgain) {
  resolve(kLeft, 1, 100);
  table->ask(kLeft, host(2), 100);
  for (Millis now : {Millis{1} << 31, (Millis{1} << 31) + 5000, Millis{1} << 32, kLate}) {
    EXPECT_FALSE(table->find(kLeft, host(1), now)) << now;
    EXPECT_EQ(table->ask(kLeft, host(2), now).to, Question::To::kAll) << now;
  }
}
TEST_F(NeighbourTableTest, Unconfirmed_OwnerIsAskedFirst_ThenAll) {
  resolve(kLeft, 1, 100);
  Millis now = 100 + NeighbourTable::kReachable;
  EXPECT_TRUE(table->find(kLeft, host(1), now)->question_due);
  for (int i = 0; i < 3; ++i, now += NeighbourTable::kAskEvery) {
    Question q = table->ask(kLeft, host(1), now);
    EXPECT_EQ(q.to, Question::To::kOwner);
    EXPECT_EQ(q.owner, mac(1));
    EXPECT_FALSE(table->answer(kLeft, host(1), mac(2), now));  // it wasn't asked
  }
  EXPECT_EQ(mac_now(1, now), mac(1));
  EXPECT_EQ(table->ask(kLeft, host(1), now).to, Question::To::kAll);
  EXPECT_TRUE(table->answer(kLeft, host(1), mac(2), now));
  EXPECT_EQ(mac_now(1, now), mac(2));
}
TEST_F(NeighbourTableTest, ContradictedNeighbour_StaysAndIsAsked) {
  resolve(kLeft, 1, 100);
  EXPECT_FALSE(table->answer(kLeft, host(1), mac(2), 200));
  EXPECT_FALSE(table->volunteer(kLeft, host(1), mac(2), 200));
  EXPECT_EQ(mac_now(1, 200), mac(1));
  EXPECT_FALSE(table->find(kLeft, host(1), 200)->question_due);  // asked within the last second
  EXPECT_TRUE(table->find(kLeft, host(1), 1100)->question_due);
  EXPECT_EQ(table->ask(kLeft, host(1), 1100).to, Question::To::kOwner);
  EXPECT_TRUE(table->answer(kLeft, host(1), mac(1), 1200));
  EXPECT_FALSE(table->find(kLeft, host(1), 2300)->question_due);
}
TEST_F(NeighbourTableTest, FirstAnswerCounts) {
  resolve(kLeft, 1, 100);
  EXPECT_FALSE(table->answer(kLeft, host(1), mac(2), 100));
  EXPECT_EQ(mac_now(1, 100), mac(1));
}
TEST_F(NeighbourTableTest, ConfiguredOnesStay) {
  ASSERT_TRUE(table->fix(kLeft, host(3), mac(3)));
  EXPECT_EQ(table->ask(kLeft, host(3), kLate).to, Question::To::kNobody);
  EXPECT_FALSE(table->answer(kLeft, host(3), mac(4), 200));
  EXPECT_FALSE(table->volunteer(kLeft, host(3), mac(4), 200));
  auto found = table->find(kLeft, host(3), kLate);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->mac, mac(3));
  EXPECT_FALSE(found->question_due);
}
TEST_F(NeighbourTableTest, ManyNeighbours_AreAllFound) {
  std::vector<uint32_t> resolved;
  for (uint32_t n = 0; n < 8000; ++n)
    if (resolve(kLeft, n, 100)) resolved.push_back(n);
  EXPECT_GT(resolved.size(), 7900u);
  for (uint32_t n : resolved) ASSERT_EQ(mac_now(n, 100), mac(n)) << n;
}
TEST_F(NeighbourTableTest, Volunteers_TakeNoPlaceFromAnswers) {
  for (uint32_t n = 0; n < 2000; ++n) ASSERT_TRUE(resolve(kLeft, n, 100));
  for (uint32_t n = 0; n < 200'000; ++n) table->volunteer(kLeft, host(0x10000 + n), mac(1), 200);
  for (uint32_t n = 0; n < 2000; ++n) ASSERT_EQ(mac_now(n, 200), mac(n)) << n;
  // And a question finds room among them, on this port and on the other one.
  for (uint32_t n = 2000; n < 3000; ++n) ASSERT_TRUE(resolve(kLeft, n, 300)) << n;
  for (uint32_t n = 0; n < 3000; ++n) ASSERT_TRUE(resolve(kRight, n, 300)) << n;
  // They replace each other: the last one is known.
  ASSERT_TRUE(table->volunteer(kLeft, host(0x900000), mac(7), 400));
  EXPECT_EQ(mac_now(0x900000, 400), mac(7));
}
TEST_F(NeighbourTableTest, VolunteerWhileAskedFor_CountsAsAnswer) {
  table->ask(kLeft, host(1), 100);
  ASSERT_TRUE(table->volunteer(kLeft, host(1), mac(1), 200));
  EXPECT_EQ(mac_now(1, 200), mac(1));
  EXPECT_FALSE(table->answer(kLeft, host(1), mac(2), 300));
}
TEST_F(NeighbourTableTest, WritersAndReadersAtOnce_NeverMixTwoEntries) {
  constexpr uint32_t kHosts = 64;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> mixed{0}, seen{0};
  std::vector<std::thread> threads;
  for (uint8_t writer = 0; writer < 2; ++writer)
    threads.emplace_back([&, writer] {
      for (uint32_t round = 0; round < 20'000; ++round)
        table->fix(kLeft, host(round % kHosts), mac(round % kHosts, writer));
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
