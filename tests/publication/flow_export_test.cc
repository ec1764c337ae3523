// Lists of flows, collected from workers that go on working.
#include "dataplane/fastpath/flow_export.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include <gtest/gtest.h>

namespace bulkhead::test {
namespace {

/// A flow table as a worker would list it: a flow at every second position.
struct Flows {
  uint32_t positions;
  uint64_t first_id;

  size_t list_flows(uint32_t& cursor, uint32_t budget, std::span<FlowRecord> records, const Snapshot*) const {
    size_t count = 0;
    for (; budget > 0 && cursor < positions && count < records.size(); --budget, ++cursor) {
      if (cursor % 2 != 0) continue;
      records[count] = FlowRecord{};
      records[count++].flow_id = first_id + cursor / 2;
    }
    if (cursor == positions) cursor = UINT32_MAX;
    return count;
  }
  uint32_t flow_count() const { return positions / 2; }
};

TEST(FlowExportTest, NothingIsServedThatNobodyAskedFor) {
  FlowExport flows(1);
  EXPECT_FALSE(flows.serve(0, Flows{10, 0}, nullptr));
}

TEST(FlowExportTest, EachCallIsBoundedAndTheListIsWhole) {
  FlowExport flows(1);
  Flows table{10 * FlowExport::kBudget, 1};
  ASSERT_TRUE(flows.begin(60'000));
  int calls = 1;
  while (flows.serve(0, table, nullptr)) {
    EXPECT_FALSE(flows.collect(false));
    ++calls;
  }
  EXPECT_EQ(calls, 10);
  auto list = flows.collect(false);
  ASSERT_TRUE(list);
  ASSERT_EQ(list->flows.size(), 5 * FlowExport::kBudget);
  EXPECT_EQ(list->flows.back().flow_id, 5 * FlowExport::kBudget);
  EXPECT_EQ(list->total, 5 * FlowExport::kBudget);
}

TEST(FlowExportTest, LimitHoldsOverAllWorkersAndTheTotalCountsAll) {
  FlowExport flows(2);
  ASSERT_TRUE(flows.begin(7));
  EXPECT_FALSE(flows.serve(0, Flows{10, 0}, nullptr));
  EXPECT_FALSE(flows.serve(1, Flows{10, 100}, nullptr));
  auto list = flows.collect(false);
  ASSERT_TRUE(list);
  EXPECT_EQ(list->flows.size(), 7u);
  EXPECT_EQ(list->total, 10u);
}

TEST(FlowExportTest, WorkerThatDoesNotAnswerIsLeftOutAndItsMemoryLeftAlone) {
  FlowExport flows(2);
  ASSERT_TRUE(flows.begin(100));
  flows.serve(0, Flows{10, 0}, nullptr);
  EXPECT_FALSE(flows.collect(false));
  auto list = flows.collect(true);
  ASSERT_TRUE(list);
  EXPECT_EQ(list->flows.size(), 5u);
  EXPECT_FALSE(flows.begin(100)) << "worker 1 may still write";
  flows.serve(1, Flows{10, 0}, nullptr);
  EXPECT_TRUE(flows.begin(100));
}

TEST(FlowExportTest, WorkersServeWhileTheControlThreadCollects) {
  constexpr unsigned kWorkers = 3;
  FlowExport flows(kWorkers);
  std::atomic<bool> stop{false};
  std::vector<std::jthread> workers;
  for (unsigned worker = 0; worker < kWorkers; ++worker)
    workers.emplace_back([&, worker] {
      while (!stop) {
        flows.serve(worker, Flows{3 * FlowExport::kBudget, worker * 1'000'000}, nullptr);
        std::this_thread::yield();
      }
    });
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(flows.begin(60'000));
    std::optional<FlowListing> list;
    while (!(list = flows.collect(false))) std::this_thread::yield();
    ASSERT_EQ(list->flows.size(), kWorkers * 3 * FlowExport::kBudget / 2);
    ASSERT_TRUE(std::ranges::is_sorted(list->flows, {}, &FlowRecord::flow_id));
  }
  stop = true;
}

}  // namespace
}  // namespace bulkhead::test
