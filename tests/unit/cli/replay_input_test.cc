#include "cli/replay_input.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "cli/direction.h"
#include "wire/arp.h"
#include "wire/ethernet.h"
#include "wire/ipv4.h"

namespace bulkhead {
namespace {

constexpr MacAddress kMacA{{2, 0, 0, 0, 0, 0xa}}, kMacB{{2, 0, 0, 0, 0, 0xb}};
constexpr PortId kLeft{0}, kRight{1};
constexpr PortId kBoth[] = {kLeft, kRight};

IpAddress ip(const char* text) {
  return *parse_address(text);
}

/// left: 10.1.0.0/24; right: 10.0.0.0/8.
DataplaneSettings two_ports() {
  DataplaneSettings settings;
  PortSetting left, right;
  left.name = "left";
  left.sources = {*parse_prefix("10.1.0.0/24")};
  right.name = "right";
  right.sources = {*parse_prefix("10.0.0.0/8")};
  settings.ports = {left, right};
  return settings;
}

std::vector<std::byte> ipv4_frame(MacAddress from_mac, const char* from, const char* to) {
  std::vector<std::byte> frame(sizeof(EthernetHeader) + sizeof(Ipv4Header));
  store(frame.data(), EthernetHeader{kMacBroadcast, from_mac, Be16(static_cast<uint16_t>(EtherType::kIpv4))});
  Ipv4Header header{};
  header.version_ihl = 0x45;
  header.source = Be32(ip(from).v4_host());
  header.destination = Be32(ip(to).v4_host());
  store(frame.data() + sizeof(EthernetHeader), header);
  return frame;
}

std::vector<std::byte> arp_frame(MacAddress from_mac, const char* from, const char* to) {
  std::vector<std::byte> frame(sizeof(EthernetHeader) + sizeof(ArpHeader));
  store(frame.data(), EthernetHeader{kMacBroadcast, from_mac, Be16(static_cast<uint16_t>(EtherType::kArp))});
  ArpHeader header{};
  header.sender_ip = Be32(ip(from).v4_host());
  header.target_ip = Be32(ip(to).v4_host());
  store(frame.data() + sizeof(EthernetHeader), header);
  return frame;
}

TEST(Direction, Source_BelongsToThePortWithTheLongestPrefix) {
  DataplaneSettings settings = two_ports();
  DirectionFinder finder(settings, nullptr);
  EXPECT_EQ(finder.find(ipv4_frame(kMacA, "10.1.0.5", "10.2.0.9"), kBoth).port, kLeft);
  EXPECT_EQ(finder.find(ipv4_frame(kMacB, "10.2.0.9", "10.1.0.5"), kBoth).port, kRight);
}

TEST(Direction, Binding_StandsOverSources) {
  DataplaneSettings settings = two_ports();
  EndpointTable endpoints;
  Endpoint bound{};
  bound.address = ip("10.1.0.7");
  bound.bits = 128;
  bound.port = kRight.value;
  ASSERT_TRUE(endpoints.put(bound));
  DirectionFinder finder(settings, &endpoints);
  EXPECT_EQ(finder.find(ipv4_frame(kMacA, "10.1.0.7", "10.2.0.9"), kBoth).port, kRight);
}

TEST(Direction, Arp_IsToldByItsSender) {
  DataplaneSettings settings = two_ports();
  DirectionFinder finder(settings, nullptr);
  EXPECT_EQ(finder.find(arp_frame(kMacB, "10.2.0.9", "10.1.0.5"), kBoth).port, kRight);
}

TEST(Direction, SourceThatNobodyHolds_IsToldByItsMacSeenBefore) {
  DataplaneSettings settings = two_ports();
  DirectionFinder finder(settings, nullptr);
  finder.find(ipv4_frame(kMacB, "10.2.0.9", "10.1.0.5"), kBoth);
  DirectionFinder::Found found = finder.find(arp_frame(kMacB, "0.0.0.0", "0.0.0.0"), kBoth);
  EXPECT_EQ(found.port, kRight);
  EXPECT_FALSE(found.guessed);
}

TEST(Direction, SourceThatNobodyHolds_IsToldByItsDestination) {
  DataplaneSettings settings = two_ports();
  DirectionFinder finder(settings, nullptr);
  EXPECT_EQ(finder.find(ipv4_frame(kMacB, "192.0.2.1", "10.1.0.5"), kBoth).port, kRight);
}

TEST(Direction, PortThatTakesAnySource_GetsWhatNothingTells) {
  DataplaneSettings settings = two_ports();
  settings.ports[1].any_source = true;
  DirectionFinder finder(settings, nullptr);
  EXPECT_EQ(finder.find(ipv4_frame(kMacB, "192.0.2.1", "198.51.100.1"), kBoth).port, kRight);
}

TEST(Direction, NothingTells_IsAGuess) {
  DataplaneSettings settings = two_ports();
  DirectionFinder finder(settings, nullptr);
  EXPECT_TRUE(finder.find({}, kBoth).guessed);
}

TEST(CaptureArgument, OnePort_IsRead) {
  auto argument = parse_capture_argument("right=a=b.pcap", two_ports());
  ASSERT_TRUE(argument) << argument.error().message;
  EXPECT_EQ(argument->ports, std::vector{kRight});
  EXPECT_EQ(argument->path, "a=b.pcap");
}
TEST(CaptureArgument, BothPorts_AreRead) {
  auto argument = parse_capture_argument("left+right=a.pcap", two_ports());
  ASSERT_TRUE(argument) << argument.error().message;
  EXPECT_EQ(argument->ports, (std::vector{kLeft, kRight}));
}
TEST(CaptureArgument, UnknownPort_IsAnErrorNamingTheKnownOnes) {
  auto argument = parse_capture_argument("middle=a.pcap", two_ports());
  ASSERT_FALSE(argument);
  EXPECT_EQ(argument.error().message, "no port 'middle' in the configuration; it has left, right");
}
TEST(CaptureArgument, NoFile_IsAnError) {
  EXPECT_FALSE(parse_capture_argument("left=", two_ports()));
}
TEST(CaptureArgument, SamePortTwice_IsAnError) {
  EXPECT_FALSE(parse_capture_argument("left+left=a.pcap", two_ports()));
}

/// A capture of frames that say which they are by their first byte.
struct Capture {
  std::string path;
  Capture(const std::string& name, std::initializer_list<std::pair<int64_t, int>> frames)
      : path(testing::TempDir() + "bulkhead-" + name + std::to_string(getpid()) + ".pcap") {
    auto writer = PcapWriter::create(path);
    for (auto [time, mark] : frames)
      writer->write(WallTime{time}, std::vector<std::byte>{static_cast<std::byte>(mark)});
    EXPECT_TRUE(writer->close());
  }
  ~Capture() { std::filesystem::remove(path); }
};

std::vector<int> marks(const ReplayInput& input) {
  std::vector<int> result;
  for (const InputPacket& packet : input.packets) result.push_back(static_cast<int>(packet.frame[0]));
  return result;
}

TEST(ReadCaptures, PacketsAreMergedByTime_TiesInTheOrderOfTheArguments) {
  Capture a("a", {{100, 1}, {300, 2}}), b("b", {{100, 3}, {200, 4}});
  auto settings = two_ports();
  auto input = read_captures({{{kRight}, b.path}, {{kLeft}, a.path}}, settings, nullptr);
  ASSERT_TRUE(input) << input.error().message;
  EXPECT_EQ(marks(*input), (std::vector{3, 1, 4, 2}));
  EXPECT_EQ(input->packets[0].port, kRight);
  EXPECT_EQ(input->packets[1].port, kLeft);
  EXPECT_TRUE(input->warnings.empty());
}

TEST(ReadCaptures, PacketsOutOfOrder_AreSortedWithAWarning) {
  Capture a("a", {{300, 1}, {100, 2}});
  auto settings = two_ports();
  auto input = read_captures({{{kLeft}, a.path}}, settings, nullptr);
  ASSERT_TRUE(input);
  EXPECT_EQ(marks(*input), (std::vector{2, 1}));
  ASSERT_EQ(input->warnings.size(), 1u);
  EXPECT_NE(input->warnings[0].find("1 packet earlier"), std::string::npos);
}

}  // namespace
}  // namespace bulkhead
