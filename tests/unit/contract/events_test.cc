#include "contract/events.h"

#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "contract/memfd.h"

namespace bulkhead {
namespace {

struct RingTest : testing::Test {
  SharedMemory ring = *make_shared_memory("ring", kEventRingBytes);
  SharedMemory tail_page = *make_shared_memory("tail", sizeof(EventRingTail));
  EventRingHeader* header = ring.mapping.as<EventRingHeader>();
  EventRingTail* tail = tail_page.mapping.as<EventRingTail>();
  EventWriter writer{header, tail};
  EventReader reader{header, tail};

  static FlowRecord record(uint64_t id) {
    FlowRecord r{};
    r.flow_id = id;
    r.bytes[1] = ~id;
    return r;
  }
  void fill(uint64_t count) {
    for (uint64_t id = 0; id < count; ++id) ASSERT_TRUE(writer.write(record(id)));
  }
};

TEST_F(RingTest, RecordsComeOutInOrder) {
  fill(3);
  FlowRecord r;
  for (uint64_t id = 0; id < 3; ++id) {
    ASSERT_TRUE(reader.read(r));
    EXPECT_EQ(r.flow_id, id);
    EXPECT_EQ(r.bytes[1], ~id);
  }
  EXPECT_FALSE(reader.read(r));
}

TEST_F(RingTest, FullRingLosesAndCountsWhatComesAndKeepsWhatItHas) {
  fill(kEventRingSlots);
  EXPECT_FALSE(writer.write(record(77)));
  EXPECT_FALSE(writer.write(record(78)));
  EXPECT_EQ(reader.lost(), 2u);
  FlowRecord r;
  ASSERT_TRUE(reader.read(r));
  EXPECT_EQ(r.flow_id, 0u);
  EXPECT_TRUE(writer.write(record(79)));
  EXPECT_FALSE(writer.write(record(80)));
}

/// Whatever a reader writes into its page, the worker stays inside the ring, and no event overwrites another
/// unseen.
TEST_F(RingTest, TailThatMakesNoSenseCostsEventsOnly) {
  fill(10);
  for (uint64_t hostile : {uint64_t{11}, uint64_t{kEventRingSlots}, UINT64_MAX, UINT64_MAX - kEventRingSlots,
                           uint64_t{1} << 63}) {
    tail->tail.store(hostile);
    uint64_t lost = reader.lost();
    bool sensible = header->head.load() - hostile < kEventRingSlots;
    EXPECT_EQ(writer.write(record(1)), sensible) << hostile;
    EXPECT_EQ(reader.lost() - lost, sensible ? 0u : 1u) << hostile;
  }
}

TEST_F(RingTest, NextReaderMakesATailGoodThatItsPredecessorSpoilt) {
  fill(10);
  tail->tail.store(5'000'000);
  ASSERT_FALSE(writer.write(record(1)));
  EventReader next(header, tail);
  FlowRecord r;
  EXPECT_FALSE(next.read(r));
  ASSERT_TRUE(writer.write(record(99)));
  ASSERT_TRUE(next.read(r));
  EXPECT_EQ(r.flow_id, 99u);
}

TEST_F(RingTest, NextReaderGoesOnWhereTheOneBeforeStopped) {
  fill(2);
  FlowRecord r;
  ASSERT_TRUE(reader.read(r));
  EventReader next(header, tail);
  ASSERT_TRUE(next.read(r));
  EXPECT_EQ(r.flow_id, 1u);
}

TEST_F(RingTest, WriterAndReaderInTwoThreadsLoseNothingUncounted) {
  constexpr uint64_t kRecords = 200'000;
  uint64_t refused = 0;
  std::jthread worker([&] {
    for (uint64_t id = 1; id <= kRecords; ++id)
      if (!writer.write(record(id))) ++refused;
    while (!writer.write(record(kRecords + 1))) std::this_thread::yield();
  });
  uint64_t read = 0, last = 0;
  for (FlowRecord r; last != kRecords + 1;) {
    if (!reader.read(r)) continue;
    ASSERT_GT(r.flow_id, last);
    ASSERT_EQ(r.bytes[1], ~r.flow_id);
    last = r.flow_id;
    ++read;
  }
  worker.join();
  EXPECT_EQ(read + refused, kRecords + 1);
}

TEST(Ring, WriterWithoutARingWritesNothing) {
  EXPECT_FALSE(EventWriter().write(FlowRecord{}));
}

}  // namespace
}  // namespace bulkhead
