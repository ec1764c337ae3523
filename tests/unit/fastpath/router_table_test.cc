#include "dataplane/fastpath/router_table.h"

#include <gtest/gtest.h>

#include <random>

namespace bulkhead {
namespace {

Prefix prefix(const char* text) {
  return *parse_prefix(text);
}
IpAddress address(const char* text) {
  return *parse_address(text);
}
/// The port of the route that is found; kPortNone: none is.
PortId port_of(const RouteTable& table, const IpAddress& destination) {
  const RouteEntry* route = table.find(destination);
  return route != nullptr ? route->port : kPortNone;
}

TEST(RouteTableTest, Empty_FindsNothing) {
  EXPECT_EQ(RouteTable{}.find(address("10.1.2.3")), nullptr);
}
TEST(RouteTableTest, LongestPrefixCounts_WhateverTheOrder) {
  RouteTable table({{prefix("10.0.0.0/8"), PortId{1}, {}},
                    {prefix("10.1.2.3"), PortId{2}, {}},
                    {prefix("0.0.0.0/0"), PortId{3}, {}},
                    {prefix("10.1.0.0/16"), PortId{4}, {}}});
  EXPECT_EQ(port_of(table, address("10.1.2.3")), PortId{2});
  EXPECT_EQ(port_of(table, address("10.1.2.4")), PortId{4});
  EXPECT_EQ(port_of(table, address("10.2.2.4")), PortId{1});
  EXPECT_EQ(port_of(table, address("192.0.2.1")), PortId{3});
}
TEST(RouteTableTest, SamePrefixTwice_FirstCounts) {
  RouteTable table({{prefix("10.0.0.0/8"), PortId{1}, {}}, {prefix("10.0.0.0/8"), PortId{2}, {}}});
  EXPECT_EQ(port_of(table, address("10.1.2.3")), PortId{1});
}
TEST(RouteTableTest, FamiliesStayApart) {
  RouteTable table({{prefix("::/0"), PortId{1}, {}}});
  EXPECT_EQ(port_of(table, address("10.1.2.3")), kPortNone);
  EXPECT_EQ(port_of(table, address("2001:db8::1")), PortId{1});
  RouteTable v4({{prefix("0.0.0.0/0"), PortId{2}, {}}});
  EXPECT_EQ(port_of(v4, address("2001:db8::1")), kPortNone);
  EXPECT_EQ(port_of(v4, address("10.1.2.3")), PortId{2});
}
TEST(RouteTableTest, RandomRoutes_AsALinearSearchFindsThem) {
  std::mt19937 random(19);
  std::vector<RouteEntry> routes;
  for (int i = 0; i < 1000; ++i) {
    uint8_t bits = static_cast<uint8_t>(96 + random() % 33);
    // Few first bytes, so that prefixes nest.
    IpAddress to = IpAddress::v4(0x0a000000 | (random() & 0x0303ffff));
    routes.push_back({{masked(to, bits), bits}, PortId{static_cast<uint8_t>(i % 32)}, to});
  }
  RouteTable table(routes);
  for (int i = 0; i < 20'000; ++i) {
    IpAddress destination = IpAddress::v4(0x0a000000 | (random() & 0x0303ffff));
    const RouteEntry* wanted = nullptr;
    for (const RouteEntry& route : routes)
      if (route.to.contains(destination) && (wanted == nullptr || route.to.bits > wanted->to.bits))
        wanted = &route;
    const RouteEntry* found = table.find(destination);
    ASSERT_EQ(found != nullptr, wanted != nullptr) << to_string(destination);
    if (found == nullptr) continue;
    ASSERT_EQ(found->via, wanted->via) << to_string(destination);
  }
}

}  // namespace
}  // namespace bulkhead
