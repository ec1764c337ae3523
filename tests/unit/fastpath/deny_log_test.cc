#include "dataplane/fastpath/deny_log.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace bulkhead {
namespace {

struct DenyLogTest : testing::Test {
  struct alignas(4096) Ring {
    std::byte bytes[kEventRingBytes];
  };
  std::unique_ptr<Ring> memory = std::make_unique<Ring>();
  EventRingHeader* header = new (memory->bytes) EventRingHeader{};
  EventRingTail tail{};
  EventWriter events{header, &tail};
  EventReader reader{header, &tail};
  DenyLog log;

  void SetUp() override {
    header->magic = kEventRingMagic;
    header->slots = kEventRingSlots;
    header->record_bytes = sizeof(FlowRecord);
  }
  static FlowRecord denied(uint16_t port) {
    FlowRecord record{};
    record.kind = EventKind::kDeny;
    record.destination_port = port;
    record.packets[0] = 1;
    record.bytes[0] = 60;
    return record;
  }
  /// Packets of each event written since the last call.
  std::vector<uint64_t> written() {
    std::vector<uint64_t> packets;
    for (FlowRecord record; reader.read(record);) packets.push_back(record.packets[0]);
    return packets;
  }
  void flush_all(Ticks now) {
    for (int i = 0; i < 256; ++i) log.flush(now, events);
  }
};

constexpr uint64_t kKind = uint64_t{7} << 56 | 0x1234, kSamePlace = uint64_t{7} << 56 | 0x9876,
                   kOtherPlace = uint64_t{8} << 56;

TEST_F(DenyLogTest, First_IsWrittenAtOnce_RepetitionsAreCounted) {
  for (int i = 0; i < 100; ++i) log.note(kKind, denied(80), 5000 + i, events);
  EXPECT_EQ(written(), std::vector<uint64_t>{1});
  flush_all(5999);
  EXPECT_TRUE(written().empty());
  flush_all(6000);
  EXPECT_EQ(written(), std::vector<uint64_t>{99});
  flush_all(7000);
  EXPECT_TRUE(written().empty()) << "nothing is told twice";
}
TEST_F(DenyLogTest, NextAfterTheWindow_CarriesTheCountItself) {
  for (int i = 0; i < 10; ++i) log.note(kKind, denied(80), 5000, events);
  log.note(kKind, denied(80), 6000, events);
  EXPECT_EQ(written(), (std::vector<uint64_t>{1, 10}));
}
TEST_F(DenyLogTest, AnotherKindInThePlace_LosesNoCount) {
  for (int i = 0; i < 10; ++i) log.note(kKind, denied(80), 5000, events);
  log.note(kSamePlace, denied(81), 5000, events);
  EXPECT_EQ(written(), (std::vector<uint64_t>{1, 9, 1}));
}
TEST_F(DenyLogTest, KindsAreToldApart) {
  log.note(kKind, denied(80), 5000, events);
  log.note(kOtherPlace, denied(81), 5000, events);
  EXPECT_EQ(written(), (std::vector<uint64_t>{1, 1}));
}

}  // namespace
}  // namespace bulkhead
