#include "dataplane/relay/announcements.h"

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

RelayAnnouncement flow(uint16_t client_port, uint64_t id) {
  RelayAnnouncement a = make_relay_announcement();
  a.client = IpAddress::v4(0x0a010005), a.server = IpAddress::v4(0x0a020009);
  a.client_port = client_port, a.server_port = 443;
  a.flow_id = id;
  return a;
}

FlowEnds ends(uint16_t client_port) {
  return ends_of(flow(client_port, 0));
}

constexpr BootTime kStart{1'000'000'000};

TEST(Announcements, EachServesOneConnection) {
  Announcements announcements(8);
  announcements.add(flow(1, 7), kStart);
  EXPECT_FALSE(announcements.claim(ends(2), kStart));
  FlowEnds backwards = ends(1);
  std::swap(backwards.client, backwards.server);
  EXPECT_FALSE(announcements.claim(backwards, kStart));
  auto claimed = announcements.claim(ends(1), kStart);
  ASSERT_TRUE(claimed);
  EXPECT_EQ(claimed->flow_id, 7u);
  EXPECT_FALSE(announcements.claim(ends(1), kStart));
  EXPECT_EQ(announcements.size(), 0u);
}
TEST(Announcements, OlderThan30Seconds_IsNone) {
  Announcements announcements(8);
  announcements.add(flow(1, 7), kStart);
  announcements.add(flow(2, 8), kStart);
  EXPECT_TRUE(announcements.claim(ends(1), kStart + std::chrono::seconds(30)));
  EXPECT_FALSE(announcements.claim(ends(2), kStart + std::chrono::seconds(30) + Nanoseconds(1)));
  EXPECT_EQ(announcements.expired(), 1u);
}
TEST(Announcements, TheSameEndsAgain_ReplaceAndRenew) {
  Announcements announcements(8);
  announcements.add(flow(1, 7), kStart);
  announcements.add(flow(1, 8), kStart + std::chrono::seconds(20));
  EXPECT_EQ(announcements.size(), 1u);
  auto claimed = announcements.claim(ends(1), kStart + std::chrono::seconds(45));
  ASSERT_TRUE(claimed);
  EXPECT_EQ(claimed->flow_id, 8u);
}
TEST(Announcements, OverTheBound_TheOldestGivesWay) {
  Announcements announcements(2);
  for (uint16_t port : {1, 2, 3}) announcements.add(flow(port, port), kStart);
  EXPECT_EQ(announcements.size(), 2u);
  EXPECT_EQ(announcements.expired(), 1u);
  EXPECT_FALSE(announcements.claim(ends(1), kStart));
  EXPECT_TRUE(announcements.claim(ends(2), kStart));
  EXPECT_TRUE(announcements.claim(ends(3), kStart));
}
TEST(Announcements, OfBothFamilies) {
  Announcements announcements(8);
  RelayAnnouncement a = flow(1, 9);
  a.client.bytes[0] = a.server.bytes[0] = 0xfd;
  announcements.add(a, kStart);
  EXPECT_FALSE(announcements.claim(ends(1), kStart));
  EXPECT_TRUE(announcements.claim(ends_of(a), kStart));
}

}  // namespace
}  // namespace bulkhead
