#include "dataplane/fastpath/deny_log.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
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
  static constexpr HashSeed kSeed{{7, 11}};
  DenyLog log{kSeed};

  void SetUp() override {
    header->magic = kEventRingMagic;
    header->slots = kEventRingSlots;
    header->record_bytes = sizeof(FlowRecord);
  }
  static FlowRecord denied(uint16_t port) {
    FlowRecord record{};
    record.kind = EventKind::kDeny;
    record.reason = DropReason::k_policy_denied;
    record.destination_port = port;
    record.service = port;
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
  static uint64_t place_of(const FlowRecord& record) { return DenyLog::kind_of(record, kSeed) >> 56; }
  void flush_all(Ticks now) {
    for (int i = 0; i < 256; ++i) log.flush(now, events);
  }
};

TEST_F(DenyLogTest, First_IsWrittenAtOnce_RepetitionsAreCounted) {
  for (int i = 0; i < 100; ++i) log.note(denied(80), 5000 + i, events);
  EXPECT_EQ(written(), std::vector<uint64_t>{1});
  flush_all(5999);
  EXPECT_TRUE(written().empty());
  flush_all(6000);
  EXPECT_EQ(written(), std::vector<uint64_t>{99});
  flush_all(7000);
  EXPECT_TRUE(written().empty()) << "nothing is told twice";
}
TEST_F(DenyLogTest, NextAfterTheWindow_CarriesTheCountItself) {
  for (int i = 0; i < 10; ++i) log.note(denied(80), 5000, events);
  log.note(denied(80), 6000, events);
  EXPECT_EQ(written(), (std::vector<uint64_t>{1, 10}));
}
TEST_F(DenyLogTest, AnotherKindInThePlace_LosesNoCount) {
  uint16_t other = 81;
  while (place_of(denied(other)) != place_of(denied(80))) ++other;
  for (int i = 0; i < 10; ++i) log.note(denied(80), 5000, events);
  log.note(denied(other), 5000, events);
  EXPECT_EQ(written(), (std::vector<uint64_t>{1, 9, 1}));
}
TEST_F(DenyLogTest, KindsAreToldApartByEachOfTheirFields) {
  FlowRecord of_source = denied(80), of_destination = denied(80), of_service = denied(80),
             of_reason = denied(80);
  of_source.source.bytes[15] ^= 1;
  of_destination.destination.bytes[15] ^= 1;
  of_service.service ^= 0x01000000;
  of_reason.reason = DropReason::k_spoofed_source;
  std::set<uint64_t> kinds;
  for (const FlowRecord& record : {denied(80), of_source, of_destination, of_service, of_reason})
    kinds.insert(DenyLog::kind_of(record, kSeed));
  EXPECT_EQ(kinds.size(), 5u);
}
TEST_F(DenyLogTest, PlacesDependOnTheSecret) {
  unsigned moved = 0;
  for (uint16_t port = 0; port < 1000; ++port)
    moved += place_of(denied(port)) != DenyLog::kind_of(denied(port), HashSeed{{3, 5}}) >> 56;
  EXPECT_GT(moved, 900u);
}
TEST_F(DenyLogTest, ScanOfAllPorts_LeavesRoomInTheRing_AndEachPacketIsCounted) {
  constexpr uint64_t kPorts = 65'536;
  uint64_t counted = 0, summed = 0, events_written = 0;
  for (uint32_t port = 0; port < kPorts; ++port) log.note(denied(static_cast<uint16_t>(port)), 5000, events);
  EXPECT_LE(header->head.load(), DenyLog::kEventsPerSecond);
  for (Ticks now = 5000; now < 8000; ++now) log.flush(now, events);
  for (FlowRecord record; reader.read(record); ++events_written) {
    counted += record.packets[0];
    if (record.many_kinds != 1) continue;
    summed += record.packets[0];
    EXPECT_EQ(record.kind, EventKind::kDeny);
    EXPECT_EQ(record.reason, DropReason::k_policy_denied);
    EXPECT_EQ(record.bytes[0], 60 * record.packets[0]);
  }
  EXPECT_EQ(counted, kPorts);
  EXPECT_GE(summed, kPorts - DenyLog::kEventsPerSecond);
  EXPECT_LE(events_written, DenyLog::kEventsPerSecond + 3);
  EXPECT_EQ(header->lost.load(), 0u);
}
TEST_F(DenyLogTest, EachReasonHasASumOfItsOwn) {
  FlowRecord spoofed = denied(0);
  spoofed.reason = DropReason::k_spoofed_source;
  for (uint32_t port = 0; port < 2000; ++port) log.note(denied(static_cast<uint16_t>(port)), 5000, events);
  for (uint32_t port = 0; port < 300; ++port, ++spoofed.service) log.note(spoofed, 5000, events);
  written();
  flush_all(6000);
  std::map<DropReason, uint64_t> sums;
  for (FlowRecord record; reader.read(record);)
    if (record.many_kinds == 1) sums[record.reason] += record.packets[0];
  EXPECT_EQ(sums, (std::map<DropReason, uint64_t>{{DropReason::k_policy_denied, 1000},
                                                  {DropReason::k_spoofed_source, 300}}));
}
TEST_F(DenyLogTest, WhatFindsTheRingFull_IsCountedOnceThereIsRoom) {
  while (events.write(FlowRecord{})) {
  }
  for (int i = 0; i < 7; ++i) log.note(denied(80), 5000, events);
  flush_all(6000);
  for (FlowRecord record; reader.read(record);) EXPECT_EQ(record.kind, EventKind{});
  flush_all(7000);
  flush_all(8000);
  uint64_t counted = 0;
  for (uint64_t packets : written()) counted += packets;
  EXPECT_EQ(counted, 7u);
}

}  // namespace
}  // namespace bulkhead
