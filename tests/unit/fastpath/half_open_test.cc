#include "dataplane/fastpath/half_open.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <random>

namespace bulkhead {
namespace {

constexpr SegmentTag kWeb{100}, kApp{101};

TEST(HalfOpenFlows, OwnShareFull_OwnOldestGivesWay) {
  HalfOpenFlows flows;
  flows.create(10, 2);
  HalfOpenFlows::Flow oldest{};
  flows.add(kApp, {1, false});
  flows.add(kWeb, {2, false});
  EXPECT_FALSE(flows.must_evict(kWeb, oldest));
  flows.add(kWeb, {3, true});
  ASSERT_TRUE(flows.must_evict(kWeb, oldest));
  EXPECT_EQ(oldest.slot, 2u);
  EXPECT_FALSE(flows.must_evict(kApp, oldest));
}

TEST(HalfOpenFlows, NoRoom_OldestOfAllGivesWay) {
  HalfOpenFlows flows;
  flows.create(2, 2);
  HalfOpenFlows::Flow oldest{};
  uint32_t first = flows.add(kApp, {1, true});
  flows.add(kApp, {2, false});
  ASSERT_TRUE(flows.must_evict(kWeb, oldest));
  EXPECT_EQ(oldest.slot, 1u);
  EXPECT_TRUE(oldest.v6);
  flows.remove(first);
  EXPECT_FALSE(flows.must_evict(kWeb, oldest));
}

TEST(HalfOpenFlows, AnyOrder_AgreesWithPlainLists) {
  constexpr uint32_t kTotal = 40, kShare = 15;
  struct Naive {
    SegmentTag source;
    uint32_t slot, place;
  };
  HalfOpenFlows flows;
  flows.create(kTotal, kShare);
  std::list<Naive> naive;
  std::mt19937 random(1);
  for (uint32_t slot = 0; slot < 50'000; ++slot) {
    SegmentTag source{static_cast<uint16_t>(100 + random() % 5)};
    auto own = [&](const Naive& n) { return n.source == source; };
    bool share_full = std::ranges::count_if(naive, own) >= kShare;
    HalfOpenFlows::Flow oldest{};
    ASSERT_EQ(flows.must_evict(source, oldest), share_full || naive.size() == kTotal);
    if (share_full || naive.size() == kTotal) {
      auto victim = share_full ? std::ranges::find_if(naive, own) : naive.begin();
      ASSERT_EQ(oldest.slot, victim->slot);
      flows.remove(victim->place);
      naive.erase(victim);
    }
    naive.push_back({source, slot, flows.add(source, {slot, false})});
    while (!naive.empty() && random() % 3 == 0) {
      auto any = std::next(naive.begin(), static_cast<long>(random() % naive.size()));
      flows.remove(any->place);
      naive.erase(any);
    }
    ASSERT_EQ(flows.size(), naive.size());
  }
}

}  // namespace
}  // namespace bulkhead
