#include "dataplane/fastpath/router_hold.h"

#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include <deque>
#include <set>

#include "dataplane/fastpath/datagram.h"

namespace bulkhead {
namespace {

IpAddress host(uint32_t n) {
  return IpAddress::v4(0x0a000000 + n);
}
NextHop hop(uint32_t n) {
  return {PortId{1}, host(n)};
}

/// Packets are names only: each test takes out what it put in.
struct HoldTableTest : testing::Test {
  HoldTable table{HashSeed{{0x686f6c64, 0x7061636b657473}}};
  std::deque<rte_mbuf> packets;

  ~HoldTableTest() override {
    for (Millis now = 1'000'000; !table.empty(); ++now)
      while (HoldTable::Hop* h = table.visit(now)) table.take(*h);
  }
  bool hold(uint32_t to, uint32_t source = 1, uint8_t port = 0, Millis now = 100) {
    HeldPacket packet;
    packet.mbuf = &packets.emplace_back();
    packet.meta.in_port = port;
    return table.hold(packet, host(0x100000 + source), hop(to), now);
  }
};

TEST_F(HoldTableTest, PacketsOfAHop_LeaveInOrder) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(hold(1));
  HoldTable::Hop* h = table.visit(200);
  ASSERT_NE(h, nullptr);
  EXPECT_EQ(h->next.hop, host(1));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(table.take(*h).mbuf, &packets[static_cast<size_t>(i)]);
  EXPECT_TRUE(table.empty());
}
TEST_F(HoldTableTest, NinthOfAHop_IsRefused) {
  for (int i = 0; i < HoldTable::kMostOfHop; ++i) ASSERT_TRUE(hold(1));
  EXPECT_FALSE(hold(1));
  EXPECT_TRUE(hold(2));
}
TEST_F(HoldTableTest, OneSource_LeavesRoomForOthers) {
  uint32_t held = 0;
  while (held < HoldTable::kMost && hold(held)) ++held;
  EXPECT_EQ(held, HoldTable::kMostOfSource);
  EXPECT_TRUE(hold(5000, 2));
  // And what has left makes room again.
  table.take(*table.visit(200));
  EXPECT_TRUE(hold(6000));
}
TEST_F(HoldTableTest, SourcesOfAnIpv6Subnet_ShareTheirRoom) {
  uint32_t held = 0;
  for (; held < HoldTable::kMost; ++held) {
    IpAddress source;
    source.bytes = {0xfd, 1};
    source.bytes[14] = static_cast<uint8_t>(held >> 8);
    source.bytes[15] = static_cast<uint8_t>(held);
    HeldPacket packet;
    packet.mbuf = &packets.emplace_back();
    if (!table.hold(packet, source, hop(held), 100)) break;
  }
  EXPECT_EQ(held, HoldTable::kMostOfSource);
}
TEST_F(HoldTableTest, OnePort_LeavesRoomForOthers) {
  uint32_t held = 0;
  for (uint32_t n = 0; n < 2000; ++n) held += hold(n, n);
  EXPECT_EQ(held, HoldTable::kMostOfPort);
  EXPECT_TRUE(hold(5000, 5000, 1));
}
TEST_F(HoldTableTest, Full_RefusesUntilOneLeaves) {
  for (uint32_t n = 0; n < HoldTable::kMost; ++n) ASSERT_TRUE(hold(n, n, static_cast<uint8_t>(n % 4)));
  EXPECT_FALSE(hold(5000, 5000, 9));
  table.take(*table.visit(200));
  EXPECT_TRUE(hold(5000, 5000, 9));
}
TEST_F(HoldTableTest, VisitsAreFew_AndReachEveryHopInTurn) {
  constexpr uint32_t kHops = 100;
  for (uint32_t n = 0; n < kHops; ++n) ASSERT_TRUE(hold(n, n, 0, n));
  EXPECT_EQ(table.oldest(), 0u);
  std::set<IpAddress> seen;
  uint32_t first = 0;
  for (Millis now = 200; now < 204; ++now)
    for (; HoldTable::Hop* h = table.visit(now);) {
      seen.insert(h->next.hop);
      first += now == 200;
    }
  EXPECT_EQ(first, HoldTable::kMostVisits);
  EXPECT_EQ(seen.size(), kHops);
}
TEST_F(HoldTableTest, AnsweredHop_IsVisitedNext_EvenInAMillisecondThatIsUsedUp) {
  for (uint32_t n = 0; n < 100; ++n) ASSERT_TRUE(hold(n, n));
  while (table.visit(200) != nullptr) {
  }
  table.answered(PortId{1}, host(77));
  HoldTable::Hop* h = table.visit(200);
  ASSERT_NE(h, nullptr);
  EXPECT_EQ(h->next.hop, host(77));
  EXPECT_EQ(table.visit(200), nullptr);
  table.answered(PortId{2}, host(78));  // another port's
  EXPECT_EQ(table.visit(200), nullptr);
}
TEST_F(HoldTableTest, Datagram_WaitsAsOne_AndTakesTheRoomOfItsFragments) {
  constexpr uint32_t kFragments = 100;
  auto hold_datagram = [&](uint32_t to, uint32_t source) {
    HeldPacket packet;
    for (uint32_t i = 0; i < kFragments; ++i) {
      rte_mbuf& fragment = packets.emplace_back();
      fragment.next = packet.mbuf;
      packet.mbuf = &fragment;
    }
    mark_datagram(packet.mbuf);
    return table.hold(packet, host(0x100000 + source), hop(to), 100);
  };
  ASSERT_TRUE(hold_datagram(1, 1));
  EXPECT_FALSE(hold_datagram(1, 1)) << "over the source's share";
  for (uint32_t source = 2; source <= HoldTable::kMostOfPort / kFragments; ++source)
    ASSERT_TRUE(hold_datagram(source, source));
  EXPECT_FALSE(hold_datagram(50, 50)) << "over the port's share";
  table.take(*table.visit(200));
  EXPECT_TRUE(hold_datagram(50, 50));
}
TEST_F(HoldTableTest, HopThatEnds_LeavesOthersInTurn) {
  for (uint32_t n = 0; n < 3; ++n) ASSERT_TRUE(hold(n, n, 0, n));
  table.take(*table.visit(200));  // hop 0, the oldest
  EXPECT_EQ(table.oldest(), 1u);
  EXPECT_EQ(table.visit(200)->next.hop, host(1));
  ASSERT_TRUE(hold(0));  // begins anew, as the youngest
  EXPECT_EQ(table.visit(201)->next.hop, host(2));
  EXPECT_EQ(table.visit(201)->next.hop, host(0));
}

}  // namespace
}  // namespace bulkhead
