#include "dataplane/fastpath/device.h"

#include <gtest/gtest.h>

#include "dataplane/fastpath/interface.h"

namespace bulkhead {
namespace {

PortSetting port(const std::string& name, const std::string& device) {
  PortSetting setting;
  setting.name = name;
  setting.device = device;
  return setting;
}

Device device(const std::string& text) {
  return parse_device(text).value();
}

TEST(ParseDevice, EachKind_IsRecognised) {
  EXPECT_EQ(device("pci:0000:03:00.0"), (Device{DeviceKind::kPci, "0000:03:00.0"}));
  EXPECT_EQ(device("af_xdp:ga"), (Device{DeviceKind::kAfXdp, "ga"}));
  EXPECT_EQ(device("af_packet:eth1"), (Device{DeviceKind::kAfPacket, "eth1"}));
  EXPECT_EQ(device("tap:bulk0"), (Device{DeviceKind::kTap, "bulk0"}));
  EXPECT_EQ(device("pcap:/tmp/in.pcap"), (Device{DeviceKind::kPcap, "/tmp/in.pcap"}));
  EXPECT_EQ(device("null"), (Device{DeviceKind::kNull, ""}));
  EXPECT_EQ(device("dpdk:net_memif0,role=client"), (Device{DeviceKind::kDpdk, "net_memif0,role=client"}));
}

TEST(ParseDevice, PciAddress_IsWrittenOut) {
  EXPECT_EQ(device("pci:03:00.0").argument, "0000:03:00.0");
  EXPECT_EQ(device("pci:0000:0A:00.1").argument, "0000:0a:00.1");
}

TEST(ParseDevice, UnknownKind_IsInvalidAndNamesAllKinds) {
  auto parsed = parse_device("afxdp:ga");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, ErrorCode::kInvalid);
  EXPECT_NE(parsed.error().message.find("'afxdp:ga'"), std::string::npos);
  EXPECT_NE(parsed.error().message.find("af_xdp:IFNAME"), std::string::npos);
}

TEST(ParseDevice, WhatDpdkWouldMisread_IsInvalid) {
  for (const char* text :
       {"af_xdp:", "af_xdp:ga,force_copy=1", "tap:a b", "af_packet:abcdefghijklmnop", "af_xdp:../x",
        "pci:eth0", "pci:0000:03:00", "pcap:a,b.pcap", "pcap:", "dpdk:", "dpdk:,x=1", "null:", "", "ga"}) {
    auto parsed = parse_device(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalid) << text;
  }
}

TEST(CheckDevices, OneInterfaceUnderTwoDrivers_IsExists) {
  auto checked = check_devices({port("left", "af_xdp:ga"), port("right", "af_packet:ga")});
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, ErrorCode::kExists);
  EXPECT_NE(checked.error().message.find("port 'right': interface ga is already port 'left'"),
            std::string::npos)
      << checked.error().message;
}

TEST(CheckDevices, OnePciDeviceInTwoSpellings_IsExists) {
  auto checked = check_devices({port("left", "pci:03:00.0"), port("right", "dpdk:0000:03:00.0,arg=1")});
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, ErrorCode::kExists);
}

TEST(CheckDevices, DistinctOrUnsharedDevices_AreFine) {
  EXPECT_TRUE(check_devices({port("a", "af_xdp:ga"), port("b", "af_xdp:gb"), port("c", "null"),
                             port("d", "null"), port("e", "pcap:x.pcap"), port("f", "pcap:x.pcap")}));
}

TEST(DevArgs, AfXdp_TakesTheGuardsProgramAndAllQueues) {
  DevArgs args =
      dev_args(device("af_xdp:ga"), {.port = PortId{1}, .queues = 2, .xdp_object = "/proc/self/fd/9"});
  EXPECT_EQ(args.name, "net_af_xdp_p1");
  EXPECT_EQ(args.text,
            "net_af_xdp_p1,iface=ga,start_queue=0,queue_count=2,busy_budget=0,xdp_prog=/proc/self/fd/9");
}

TEST(DevArgs, AfPacketFrame_HoldsTheMtu) {
  EXPECT_EQ(dev_args(device("af_packet:ga"), {.port = PortId{0}}).text,
            "net_af_packet_p0,iface=ga,qpairs=1,framesz=2048,blocksz=4096,framecnt=1024,qdisc_bypass=1");
  EXPECT_EQ(dev_args(device("af_packet:ga"), {.port = PortId{0}, .mtu = 9000}).text,
            "net_af_packet_p0,iface=ga,qpairs=1,framesz=16384,blocksz=16384,framecnt=1024,qdisc_bypass=1");
}

TEST(DevArgs, OthersSayWhatTheyAre) {
  EXPECT_EQ(dev_args(device("null"), {.port = PortId{3}}).text, "net_null_p3,no-rx=1");
  EXPECT_EQ(dev_args(device("pcap:/x.pcap"), {.port = PortId{3}}).text, "net_pcap_p3,rx_pcap=/x.pcap");
  EXPECT_EQ(
      dev_args(device("tap:t0"), {.port = PortId{3}, .mac = parse_mac("02:00:00:00:00:01").value()}).text,
      "net_tap_p3,iface=t0,mac=02:00:00:00:00:01");
  DevArgs raw = dev_args(device("dpdk:net_memif0,role=client"), {.port = PortId{3}});
  EXPECT_EQ(raw.name, "net_memif0");
  EXPECT_EQ(raw.text, "net_memif0,role=client");
}

TEST(PciAllow, OnlyWhatIsOnThePciBus) {
  EXPECT_EQ(pci_allow(device("pci:0000:03:00.0")), "0000:03:00.0");
  EXPECT_EQ(pci_allow(device("dpdk:0000:03:00.0,x=1")), "0000:03:00.0,x=1");
  EXPECT_EQ(pci_allow(device("dpdk:net_memif0")), std::nullopt);
  EXPECT_EQ(pci_allow(device("af_xdp:ga")), std::nullopt);
}

/// With index 0 the kernel looks for one that has the new name already.
TEST(Device, MovingAnInterfaceThatIsNotThere_MovesNoOther) {
  auto moved = move_interface("bh-none", "/proc/self/ns/net", "lo");
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(
      moved.error().message,
      "moving interface bh-none into the namespace /proc/self/ns/net: there is no such interface here; is "
      "its device made?");
}

}  // namespace
}  // namespace bulkhead
