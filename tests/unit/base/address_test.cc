#include "base/address.h"

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

Prefix prefix(const char* text) {
  return parse_prefix(text).value();
}
IpAddress address(const char* text) {
  return parse_address(text).value();
}

TEST(ParseAddress, BothFamilies_RoundTrip) {
  for (const char* text :
       {"0.0.0.0", "10.1.0.5", "255.255.255.255", "::", "::1", "fd00:1::5", "2001:db8::1:0:0:1"})
    EXPECT_EQ(to_string(address(text)), text);
  EXPECT_EQ(to_string(address("FD00:0001:0:0:0:0:0:5")), "fd00:1::5") << "RFC 5952";
}
TEST(ParseAddress, WhatIsNone_IsInvalid) {
  for (const char* text : {"", "10.1.0", "10.1.0.256", "10.1.0.5 ", "010.1.0.5x", "fd00:::1", "fe80::1%eth0",
                           "::ffff:10.1.0.5", "10.1.0.5/24"}) {
    auto parsed = parse_address(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalid);
  }
  EXPECT_FALSE(parse_address(std::string_view("10.1.0.5\0x", 10)));
}
TEST(IpAddress, Ipv4StandsMapped) {
  IpAddress v4 = IpAddress::v4(0x0a010005);
  EXPECT_TRUE(v4.is_v4());
  EXPECT_EQ(v4.v4_host(), 0x0a010005u);
  EXPECT_EQ(v4, address("10.1.0.5"));
  EXPECT_FALSE(address("fd00::a01:5").is_v4());
}
TEST(IpAddress, RoutableUnicast) {
  for (const char* text : {"1.0.0.0", "126.255.255.255", "128.0.0.1", "169.253.255.255", "169.255.0.0",
                           "223.255.255.255", "::1:0:0", "2001:db8::1", "fe7f::1", "fec0::1"})
    EXPECT_TRUE(parse_address(text)->is_routable_unicast()) << text;
  for (const char* text :
       {"0.0.0.0", "0.255.255.255", "127.0.0.1", "169.254.0.0", "169.254.255.255", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "::", "::1", "::192.0.2.1", "fe80::1", "febf::1", "ff02::1"})
    EXPECT_FALSE(parse_address(text)->is_routable_unicast()) << text;
}

TEST(ParsePrefix, LengthsAndHosts) {
  EXPECT_EQ(prefix("10.1.0.0/24").bits, 120);
  EXPECT_EQ(prefix("10.1.0.0/24").length(), 24);
  EXPECT_EQ(prefix("fd00::/8").bits, 8);
  EXPECT_TRUE(prefix("10.1.0.5").is_host());
  EXPECT_EQ(to_string(prefix("10.1.0.5/32")), "10.1.0.5");
  EXPECT_EQ(to_string(prefix("0.0.0.0/0")), "0.0.0.0/0");
  EXPECT_EQ(to_string(prefix("::/0")), "::/0");
}
TEST(ParsePrefix, HostBitsSet_NamesTheRightPrefix) {
  auto parsed = parse_prefix("10.1.0.5/24");
  ASSERT_FALSE(parsed);
  EXPECT_NE(parsed.error().message.find("10.1.0.0/24"), std::string::npos);
  EXPECT_EQ(parse_interface_address("10.1.0.5/24")->address, address("10.1.0.5"));
}
TEST(ParsePrefix, WrongLengths_AreInvalid) {
  for (const char* text :
       {"10.1.0.0/33", "10.1.0.0/", "10.1.0.0/-1", "10.1.0.0/08", "10.1.0.0/8x", "fd00::/129", "/24"})
    EXPECT_FALSE(parse_prefix(text)) << text;
}
TEST(Prefix, Contains_AtBothEdges) {
  EXPECT_TRUE(prefix("10.1.0.0/23").contains(address("10.1.0.0")));
  EXPECT_TRUE(prefix("10.1.0.0/23").contains(address("10.1.1.255")));
  EXPECT_FALSE(prefix("10.1.0.0/23").contains(address("10.1.2.0")));
  EXPECT_FALSE(prefix("10.1.0.0/23").contains(address("10.0.255.255")));
  EXPECT_TRUE(prefix("fd00::/9").contains(address("fd7f::1")));
  EXPECT_FALSE(prefix("fd00::/9").contains(address("fd80::1")));
  EXPECT_FALSE(prefix("0.0.0.0/0").contains(address("fd00::1")));
}
TEST(Masked, EveryLength) {
  IpAddress ones;
  ones.bytes.fill(0xff);
  for (int bits = 0; bits <= 128; ++bits) {
    IpAddress kept = masked(ones, static_cast<uint8_t>(bits));
    for (int bit = 0; bit < 128; ++bit) EXPECT_EQ((kept.bytes[bit / 8] >> (7 - bit % 8)) & 1, bit < bits);
  }
}
TEST(ParseMac, RoundTripsAndRefuses) {
  EXPECT_EQ(to_string(*parse_mac("02:00:00:0a:BC:07")), "02:00:00:0a:bc:07");
  for (const char* text : {"", "02:00:00:00:00", "02:00:00:00:00:0g", "02-00-00-00-00-01",
                           "02:00:00:00:00:01:02", "2:0:0:0:0:1", "+2:00:00:00:00:01"})
    EXPECT_FALSE(parse_mac(text)) << text;
}
TEST(MacAddress, Multicast) {
  EXPECT_TRUE(kMacBroadcast.is_multicast());
  EXPECT_FALSE(parse_mac("02:00:00:00:00:01")->is_multicast());
}

}  // namespace
}  // namespace bulkhead
