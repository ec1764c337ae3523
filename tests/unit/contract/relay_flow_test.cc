#include "contract/relay_flow.h"

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

template <class Datagram>
std::span<const std::byte> bytes_of(const Datagram& datagram) {
  return std::as_bytes(std::span(&datagram, 1));
}

/// An announcement that is read, of which each test changes one thing.
struct RelayFlow : testing::Test {
  RelayAnnouncement a = make_relay_announcement();
  RelayHeartbeat h = make_relay_heartbeat();
  void SetUp() override {
    a.client = IpAddress::v4(0x0a010005), a.server = IpAddress::v4(0x0a020009);
    a.client_port = 40000, a.server_port = 5432;
    a.role = RelayRole::kOriginate;
    a.flow_id = 7;
    h.state = RelayState::kReady;
    ASSERT_TRUE(read_relay_announcement(bytes_of(a)));
    ASSERT_TRUE(read_relay_heartbeat(bytes_of(h)));
  }
  bool announces() const { return read_relay_announcement(bytes_of(a)).has_value(); }
  bool beats() const { return read_relay_heartbeat(bytes_of(h)).has_value(); }
};

TEST_F(RelayFlow, ComesOutAsItWentIn) {
  auto read = read_relay_announcement(bytes_of(a));
  EXPECT_EQ(read->flow_id, 7u);
  EXPECT_EQ(read->client, a.client);
  EXPECT_EQ(read->server_port, 5432);
}
TEST_F(RelayFlow, AnotherVersion) {
  a.version = h.version = 2;
  EXPECT_FALSE(announces());
  EXPECT_FALSE(beats());
}
TEST_F(RelayFlow, AnotherLength) {
  EXPECT_FALSE(read_relay_announcement(bytes_of(a).first(sizeof a - 1)));
  EXPECT_FALSE(read_relay_heartbeat(bytes_of(h).first(0)));
  a.bytes -= 1, h.bytes += 1;
  EXPECT_FALSE(announces());
  EXPECT_FALSE(beats());
}
TEST_F(RelayFlow, ReservedBytes) {
  a.reserved[6] = 1, h.reserved[0] = 1;
  EXPECT_FALSE(announces());
  EXPECT_FALSE(beats());
}
TEST_F(RelayFlow, RolesThatDoNotExist) {
  for (uint8_t role : {0, 3, 255}) {
    a.role = static_cast<RelayRole>(role);
    EXPECT_FALSE(announces()) << int{role};
  }
  a.role = RelayRole::kTerminate;
  EXPECT_TRUE(announces());
}
TEST_F(RelayFlow, StatesThatDoNotExist) {
  for (uint8_t state : {0, 4, 255}) {
    h.state = static_cast<RelayState>(state);
    EXPECT_FALSE(beats()) << int{state};
  }
}
TEST_F(RelayFlow, EndsOfTwoFamilies) {
  a.server.bytes[0] = 0xfd;
  EXPECT_FALSE(announces());
}
TEST_F(RelayFlow, PortZero) {
  a.client_port = 0;
  EXPECT_FALSE(announces());
  a.client_port = 1, a.server_port = 0;
  EXPECT_FALSE(announces());
}

}  // namespace
}  // namespace bulkhead
