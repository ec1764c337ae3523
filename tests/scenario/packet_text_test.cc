// The packet builder against bytes worked out by hand, so that what scenarios send is what they say.
#include "packet_text.h"

#include <gtest/gtest.h>

#include "packet_words.h"
#include "statements.h"

namespace bulkhead::test {
namespace {

Bytes built(std::string_view text) {
  return build_frame(text).bytes;
}

TEST(InternetChecksum, Rfc1071Example) {
  // RFC 1071 §3: the sum of these is ddf2.
  Bytes bytes = hex_of("0001f203f4f5f6f7");
  EXPECT_EQ(internet_checksum(bytes), 0xffff - 0xddf2);
}
TEST(InternetChecksum, OddByteCountsAsHighHalf) {
  EXPECT_EQ(internet_checksum(hex_of("01")), 0xffff - 0x0100);
}
TEST(Crc32c, Rfc3720Examples) {
  EXPECT_EQ(crc32c(Bytes(32, 0)), 0x8a9136aau);
  EXPECT_EQ(crc32c(Bytes(32, 0xff)), 0x62a8ab43u);
}

TEST(PacketText, UdpOverIpv4_EveryByte) {
  EXPECT_EQ(built("eth from 02:00:00:00:00:05 to 02:00:00:00:00:09 / ip 10.1.0.5 > 10.2.0.9 ttl 64 / udp "
                  "1000 > 53 / text \"hi\""),
            hex_of("020000000009"
                   "020000000005"
                   "0800"
                   "4500001e00000000401166bf"
                   "0a010005"
                   "0a020009"
                   "03e80035000a7f43"
                   "6869"));
}
TEST(PacketText, MacsComeFromAddresses) {
  Bytes frame = built("ip 10.1.0.5 > 10.2.0.9 / udp 1 > 2");
  EXPECT_EQ(Bytes(frame.begin(), frame.begin() + 14), hex_of("02000a020009"
                                                             "02000a010005"
                                                             "0800"));
  frame = built("ip fd00::5 > fd00::9 / udp 1 > 2");
  EXPECT_EQ(Bytes(frame.begin(), frame.begin() + 14), hex_of("020600000009"
                                                             "020600000005"
                                                             "86dd"));
}
TEST(PacketText, GroupsGetTheirGroupMac) {
  EXPECT_EQ(mac_for(address_of("224.1.2.3")), mac_of("01:00:5e:01:02:03"));
  EXPECT_EQ(mac_for(address_of("ff02::1:ff00:9")), mac_of("33:33:ff:00:00:09"));
  EXPECT_EQ(mac_for(address_of("255.255.255.255")), kMacBroadcast);
}
TEST(PacketText, ChecksumsAddUp) {
  for (const char* text : {"ip 10.1.0.5 > 10.2.0.9 / tcp 1000 > 80 S seq 100 mss 1460 wscale 7",
                           "ip 10.1.0.5 > 10.2.0.9 / udp 1 > 2 / text \"odd\""}) {
    Bytes frame = built(text);
    EXPECT_EQ(internet_checksum(std::span(frame).subspan(14, 20)), 0) << text;
    Bytes covered(frame.begin() + 26, frame.begin() + 34);
    put16(covered, frame[23]);
    put16(covered, frame.size() - 34);
    covered.insert(covered.end(), frame.begin() + 34, frame.end());
    EXPECT_EQ(internet_checksum(covered), 0) << text;
  }
}
TEST(PacketText, BadChecksumIsWrongAndElseTheSame) {
  Bytes good = built("ip 10.1.0.5 > 10.2.0.9 / udp 1 > 2 / text \"x\""),
        bad = built("ip 10.1.0.5 > 10.2.0.9 / udp 1 > 2 checksum bad / text \"x\"");
  ASSERT_EQ(good.size(), bad.size());
  for (size_t i = 0; i < good.size(); ++i) EXPECT_EQ(good[i] == bad[i], i != 40 && i != 41) << i;
}
TEST(PacketText, OverridesChangeOneField) {
  Bytes good = built("ip 10.1.0.5 > 10.2.0.9 checksum 0 / udp 1 > 2"),
        wrong = built("ip 10.1.0.5 > 10.2.0.9 checksum 0 ihl 4 / udp 1 > 2");
  good[14] = 0x44;
  EXPECT_EQ(good, wrong);
}
TEST(PacketText, TcpOptionsAndFlags) {
  Bytes frame = built("ip 10.1.0.5 > 10.2.0.9 / tcp 1 > 2 SA mss 1460 wscale 7");
  EXPECT_EQ(frame[46], 7 << 4);
  EXPECT_EQ(frame[47], 0x12);
  EXPECT_EQ(Bytes(frame.begin() + 54, frame.end()), hex_of("020405b4"
                                                           "01030307"));
}
TEST(PacketText, Ipv6ExtensionHeadersChain) {
  Bytes frame = built("ip fd00::5 > fd00::9 / hop / dst size 16 / frag id 7 / udp 1 > 2");
  EXPECT_EQ(frame[20], 0);
  EXPECT_EQ(Bytes(frame.begin() + 54, frame.begin() + 62), hex_of("3c000104"
                                                                  "00000000"));
  EXPECT_EQ(Bytes(frame.begin() + 62, frame.begin() + 66), hex_of("2c01010c"));
  EXPECT_EQ(Bytes(frame.begin() + 78, frame.begin() + 86), hex_of("11000000"
                                                                  "00000007"));
  EXPECT_EQ(get16(frame, 18), 8 + 16 + 8 + 8);
}
TEST(PacketText, IcmpErrorQuotesAPacket) {
  Bytes whole = built("ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53 / text \"question\"");
  Bytes error = built(
      "ip 10.9.0.1 > 10.1.0.5 / icmp 3 1 / take 28 / ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53 / text "
      "\"question\"");
  ASSERT_EQ(error.size(), 14u + 20 + 8 + 28);
  EXPECT_EQ(Bytes(error.begin() + 42, error.end()), Bytes(whole.begin() + 14, whole.begin() + 42));
  EXPECT_EQ(internet_checksum(std::span(error).subspan(34)), 0);
}
TEST(PacketText, ArpRequest_EveryByte) {
  EXPECT_EQ(built("arp request 10.1.0.5 > 10.1.0.9"), hex_of("ffffffffffff"
                                                             "02000a010005"
                                                             "0806"
                                                             "0001080006040001"
                                                             "02000a010005"
                                                             "0a010005"
                                                             "000000000000"
                                                             "0a010009"));
}
TEST(PacketText, NeighbourSolicitation) {
  Bytes frame = built("ip fe80::5 > ff02::1:ff00:9 / ns fd00::9 sll 02:06:00:00:00:05");
  EXPECT_EQ(frame[21], 255);
  EXPECT_EQ(frame[54], 135);
  EXPECT_EQ(Bytes(frame.end() - 8, frame.end()), hex_of("0101"
                                                        "020600000005"));
}
TEST(PacketText, VlanTagsStack) {
  Bytes frame = built("ip 10.1.0.5 > 10.2.0.9 / udp 1 > 2"),
        tagged = built(
            "eth from 02:00:0a:01:00:05 to 02:00:0a:02:00:09 / vlan 20 / ip 10.1.0.5 > 10.2.0.9 / udp 1 > 2");
  EXPECT_EQ(Bytes(tagged.begin() + 12, tagged.begin() + 18), hex_of("810000140800"));
  EXPECT_TRUE(std::equal(frame.begin() + 14, frame.end(), tagged.begin() + 18));
}
TEST(PacketText, CutAndPad) {
  BuiltFrame frame = build_frame("ip 10.1.0.5 > 10.2.0.9 / udp 1 > 2 / zeros 10 | cut 4 | pad 20");
  EXPECT_EQ(frame.unpadded, 14u + 20 + 8 + 6);
  EXPECT_EQ(frame.bytes.size(), frame.unpadded + 20);
}
TEST(PacketText, UnknownWords_AreErrors) {
  for (const char* text :
       {"ip 10.1.0.5 > 10.2.0.9 tll 3 / udp 1 > 2", "ip 10.1.0.5 > 10.2.0.9 / upd 1 > 2",
        "ip 10.1.0.5 > 10.2.0.9 / udp 1 2", "ip 10.1.0.5 > 10.2.0.9 / tcp 1 > 2 X",
        "ip 10.1.0.5 > fd00::1 / udp 1 > 2", "ip 10.1.0.5 > 10.2.0.9 / udp 1 > 2 | trim 4"})
    EXPECT_THROW(built(text), std::invalid_argument) << text;
}
TEST(Statements, NumbersAreCountedUp) {
  EXPECT_EQ(numbered("udp {1000+i} > {5+i}", 7), "udp 1007 > 12");
  EXPECT_EQ(numbered("fragment {16+8i} 8", 3), "fragment 40 8");
}

}  // namespace
}  // namespace bulkhead::test
