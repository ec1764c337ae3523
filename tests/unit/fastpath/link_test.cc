// Cisco metadata in frames. Exact reasons for single faults through the whole pipeline: the scenarios.
#include "dataplane/fastpath/link.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "packet_text.h"

namespace bulkhead {
namespace {

using test::build_frame;
using test::Bytes;

/// Reads a copy in a heap block of exactly that size, so that a sanitizer sees a byte too far.
DropReason read_exactly(std::span<const uint8_t> frame, CmdTag& cmd) {
  std::unique_ptr<uint8_t[]> block(new uint8_t[frame.size()]);
  std::copy(frame.begin(), frame.end(), block.get());
  return read_cmd({block.get(), frame.size()}, cmd);
}

const char* const kTagged[] = {
    "eth / cmd sgt 4660 / ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53",
    "eth / vlan 20 / cmd sgt 4660 / ip fd00:1::5 > fd00:2::9 / udp 1000 > 53",
};

TEST(ReadCmd, TagAndItsPlace) {
  CmdTag cmd;
  ASSERT_EQ(read_exactly(build_frame(kTagged[0]).bytes, cmd), DropReason::kNone);
  EXPECT_EQ(cmd.at, 12u);
  EXPECT_EQ(cmd.tag, SegmentTag{0x1234});
  ASSERT_EQ(read_exactly(build_frame(kTagged[1]).bytes, cmd), DropReason::kNone);
  EXPECT_EQ(cmd.at, 16u);
  EXPECT_EQ(cmd.tag, SegmentTag{0x1234});
}

TEST(ReadCmd, NoTag_IsNone) {
  CmdTag cmd;
  for (const char* text : {"ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53", "arp request 10.1.0.5 > 10.1.0.9",
                           "eth / vlan 20 / ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53", "raw / zeros 0"}) {
    EXPECT_EQ(read_exactly(build_frame(text).bytes, cmd), DropReason::kNone) << text;
    EXPECT_EQ(cmd.at, 0u) << text;
  }
}

TEST(ReadCmd, EveryBeginning_IsTruncatedOrWithoutATag) {
  for (const char* text : kTagged) {
    Bytes frame = build_frame(text).bytes;
    CmdTag whole;
    ASSERT_EQ(read_exactly(frame, whole), DropReason::kNone);
    size_t end = whole.at + 10;
    for (size_t bytes = 0; bytes < frame.size(); ++bytes) {
      CmdTag cmd;
      DropReason reason = read_exactly(std::span(frame).first(bytes), cmd);
      bool seen = bytes >= whole.at + 2;
      EXPECT_EQ(reason, seen && bytes < end ? DropReason::k_frame_truncated : DropReason::kNone) << bytes;
      EXPECT_EQ(cmd.at != 0, seen) << bytes;
    }
  }
}

PortView overlay_port() {
  PortView port;
  port.id = PortId{0};
  port.vlans.set();
  port.mac = MacAddress{{0x02, 0xff, 0, 0, 0, 2}};
  port.trust_tags = true;
  port.vxlan = OverlaySetting{
      IpAddress::v4(0xc0000201), 42, 4789, {IpAddress::v4(0xc0000202), IpAddress::v4(0xc0000203)}};
  return port;
}

DropReason read_link_exactly(std::span<const uint8_t> frame, Link& link) {
  std::unique_ptr<uint8_t[]> block(new uint8_t[frame.size()]);
  std::copy(frame.begin(), frame.end(), block.get());
  static const PortView port = overlay_port();
  PacketMeta meta;
  return read_link({block.get(), frame.size()}, port, 0, meta, link);
}

const char* const kOuter =
    "eth to 02:ff:00:00:00:02 / ip 192.0.2.3 > 192.0.2.1 / udp 50000 > 4789 / vxlan group 4660 dont-learn";
const std::string kInner = " / eth / ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53 / zeros 3";

TEST(ReadLink, InnerFrameGroupAndPeer) {
  Bytes frame = build_frame(kOuter + kInner + " | pad 7").bytes;
  Link link;
  ASSERT_EQ(read_link_exactly(frame, link), DropReason::kNone);
  EXPECT_EQ(link.at, 50);
  EXPECT_EQ(link.bytes, frame.size() - 50 - 7);
  EXPECT_EQ(link.tag, SegmentTag{0x1234});
  EXPECT_EQ(link.peer, 1);
  EXPECT_FALSE(link.learns);
  EXPECT_FALSE(link.resolves);
}

TEST(ReadLink, EveryBeginning_IsRefused) {
  Bytes frame = build_frame(kOuter + kInner).bytes;
  Link link;
  for (size_t bytes = 0; bytes < frame.size(); ++bytes)
    EXPECT_NE(read_link_exactly(std::span(frame).first(bytes), link), DropReason::kNone) << bytes;
}

TEST(ReadLink, Arp_IsThePortsOwn) {
  Link link;
  ASSERT_EQ(read_link_exactly(build_frame("arp request 192.0.2.2 > 192.0.2.1").bytes, link),
            DropReason::kNone);
  EXPECT_TRUE(link.resolves);
}

}  // namespace
}  // namespace bulkhead
