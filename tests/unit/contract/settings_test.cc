#include "contract/settings.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "contract/memfd.h"

namespace bulkhead {
namespace {

using std::chrono::milliseconds;

Prefix prefix(const char* text) {
  return *parse_prefix(text);
}
IpAddress address(const char* text) {
  return *parse_address(text);
}

/// Every field differs from its default.
DataplaneSettings everything() {
  PortSetting left{
      .name = "left",
      .device = "pcap:/var/a b%41\n\x7f/ü.pcap",
      .attached = true,
      .any_source = true,
      .sources = {prefix("10.1.0.0/24"), prefix("fd00:1::/64"), prefix("0.0.0.0/0"), prefix("10.9.9.9")},
      .vlans = {.any = false, .ids = {10, 20, 4094}},
      .mac = *parse_mac("02:00:00:00:00:01"),
      .mtu = 9000,
      .host_addresses = {address("192.0.2.1"), address("fe80::1")},
      .addresses = {*parse_interface_address("10.1.0.254/24"), *parse_interface_address("fd00:1::fe/64")},
      .neighbours = {{address("10.1.0.9"), *parse_mac("02:00:00:00:00:09")}},
      .trust_tags = true,
      .impose_tags = ImposeTags::kCmd};
  PortSetting right{.name = "right", .device = "null", .vlans = {.any = true, .ids = {}}, .strip_tags = true};
  PortSetting third{
      .name = "third",
      .device = "",
      .impose_tags = ImposeTags::kVxlanGbp,
      .vxlan = OverlaySetting{address("fd00::1"), 0xffffff, 8472, {address("fd00::2"), address("fd00::3")}}};
  return {.name = "edge-1",
          .file_prefix = "edge",
          .cores = {3, 1, 70},
          .memory_mib = 64,
          .buffers = 5000,
          .max_flows = 4096,
          .max_flows_per_identity = 4000,
          .mode = Mode::kRoute,
          .ports = {left, right, third},
          .wires = {{PortId{1}, PortId{0}}},
          .routes = {{prefix("0.0.0.0/0"), address("10.9.0.1")}, {prefix("::/0"), address("fd00::1")}},
          .tcp = TcpMode::kLiberal,
          .timeouts = {milliseconds(1), milliseconds(2), milliseconds(3), milliseconds(4), milliseconds(5),
                       milliseconds(6)},
          .fragments = {11, 12, milliseconds(13)},
          .half_open_per_identity = 7,
          .half_open_total = 8,
          .reject_implicit_deny = true,
          .reset_on_revoke = false,
          .reject_per_identity = 9,
          .reject_total = 10};
}

/// The smallest text that decodes.
const std::string kSmall = "bulkhead-settings 1\nport a\nport b\ncore 1\nwire 0 1\n";

std::string error_of(const std::string& text) {
  auto decoded = decode_settings(text);
  return decoded ? "none" : decoded.error().message;
}

TEST(Settings, EveryFieldSurvivesTheRoundTrip) {
  auto decoded = decode_settings(encode(everything()));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, everything());
}

TEST(Settings, DefaultsSurviveTheRoundTrip) {
  DataplaneSettings settings;
  auto decoded = decode_settings(encode(settings));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, settings);
}

TEST(Settings, MissingKeysKeepTheirDefaults) {
  auto decoded = decode_settings(kSmall);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(decoded->max_flows, DataplaneSettings{}.max_flows);
  EXPECT_EQ(decoded->ports[1].mtu, 1500);
}

TEST(Settings, TextIsOneLineWhateverItHolds) {
  std::string text = encode(everything());
  EXPECT_NE(text.find("port.device pcap:/var/a b%2541%0a%7f/ü.pcap\n"), std::string::npos) << text;
}

TEST(Settings, ReadFromADescriptor) {
  std::string text = encode(everything());
  auto fd = make_sealed("settings", std::as_bytes(std::span(text)));
  ASSERT_TRUE(fd);
  lseek(fd->get(), 0, SEEK_SET);
  auto read = read_settings(fd->get());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, everything());
}

struct BadLine {
  const char* what;
  const char* line;  ///< appended to kSmall, as its line 6
  const char* error;
};
class SettingsRefused : public testing::TestWithParam<BadLine> {};

TEST_P(SettingsRefused, WithTheLineAndTheReason) {
  ASSERT_EQ(error_of(kSmall), "none");
  EXPECT_EQ(error_of(kSmall + GetParam().line + "\n"), std::string("settings, line 6: ") + GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Lines, SettingsRefused,
    testing::Values(
        BadLine{"UnknownKey", "colour red", "colour: is not a setting"},
        BadLine{"UnknownPortKey", "port.colour red", "port.colour: is not a setting"},
        BadLine{"DuplicatePort", "port a", "port a: is there twice"},
        BadLine{"NoValue", "tcp", "a line without a value"},
        BadLine{"EmptyLine", "", "a line without a value"},
        BadLine{"EmptyNumber", "max_flows ", "max_flows: should be a number up to 4294967295"},
        BadLine{"NumberTooLarge", "max_flows 4294967296", "max_flows: should be a number up to 4294967295"},
        BadLine{"NumberWithTail", "max_flows 1k", "max_flows: should be a number up to 4294967295"},
        BadLine{"Negative", "port.mtu -1", "port.mtu: should be a number up to 65535"},
        BadLine{"UnknownWord", "tcp loose", "tcp: should be strict or liberal"},
        BadLine{"VlanZero", "port.vlans 10,0", "port.vlans: should be none, any, or VLANs from 1 to 4094"},
        BadLine{"VlanTooLarge", "port.vlans 4095",
                "port.vlans: should be none, any, or VLANs from 1 to 4094"},
        BadLine{"UnknownTags", "port.impose_tags sgt", "port.impose_tags: should be none, cmd or vxlan_gbp"},
        BadLine{"OneEndedWire", "wire 0", "wire: should be two values"},
        BadLine{"BadEscape", "name a%4", "name: should be text with each % written as %25"},
        BadLine{"ControlCharacterInKey", "\x01 x", "%01: is not a setting"}),
    [](const auto& line) { return line.param.what; });

TEST(SettingsRefusedWhole, TagsTrustedAndStripped) {
  EXPECT_EQ(error_of(kSmall + "port.trust_tags yes\n"), "none");
  EXPECT_EQ(error_of(kSmall + "port.trust_tags yes\nport.strip_tags yes\n"),
            "settings: port b trusts tags and strips them");
}
TEST(SettingsRefusedWhole, Overlays) {
  EXPECT_EQ(error_of(kSmall + "port.vxlan 192.0.2.1 42 4789 192.0.2.2\n"), "none");
  EXPECT_EQ(error_of(kSmall + "port.vxlan 192.0.2.1 42 4789 192.0.2.2\nport.impose_tags vxlan_gbp\n"),
            "none");
  struct Wrong {
    const char* lines;
    const char* error;
  };
  for (auto [lines, error] : {
           Wrong{"port.impose_tags vxlan_gbp\n", "imposes vxlan_gbp without an overlay"},
           Wrong{"port.vxlan 192.0.2.1 42 4789 192.0.2.2\nport.impose_tags cmd\n",
                 "imposes cmd in an overlay"},
           Wrong{"port.vxlan 192.0.2.1 16777216 4789 192.0.2.2\n",
                 "has an overlay with an impossible VNI or UDP port"},
           Wrong{"port.vxlan 192.0.2.1 42 0 192.0.2.2\n",
                 "has an overlay with an impossible VNI or UDP port"},
           Wrong{"port.vxlan 192.0.2.1 42 4789\n", "has an overlay without peers, or with more than 64"},
           Wrong{"port.vxlan 224.0.0.1 42 4789 192.0.2.2\n",
                 "has an overlay with a local address that hosts can't have"},
           Wrong{"port.vxlan 192.0.2.1 42 4789 169.254.0.1\n",
                 "has an overlay with the peer 169.254.0.1, which can't be one"},
           Wrong{"port.vxlan fe80::1 42 4789 fd00::2\n",
                 "has an overlay with a local address that hosts can't have"},
           Wrong{"port.vxlan 192.0.2.1 42 4789 fd00::2\n",
                 "has an overlay with the peer fd00::2, which can't be one"},
           Wrong{"port.vxlan 192.0.2.1 42 4789 192.0.2.1\n",
                 "has an overlay with the peer 192.0.2.1, which can't be one"},
           Wrong{"port.vxlan 192.0.2.1 42 4789 192.0.2.2,192.0.2.2\n",
                 "has an overlay with the peer 192.0.2.2, which can't be one"},
       })
    EXPECT_EQ(error_of(kSmall + lines), std::string("settings: port b ") + error) << lines;
  EXPECT_EQ(error_of(kSmall + "port.vxlan 192.0.2.1 x 4789 192.0.2.2\n"),
            "settings, line 6: port.vxlan: should be a number up to 4294967295");
}
TEST(SettingsRefusedWhole, MtuThatATagUsesUp) {
  EXPECT_EQ(error_of(kSmall + "port.impose_tags cmd\nport.mtu 76\n"), "none");
  EXPECT_EQ(error_of(kSmall + "port.impose_tags cmd\nport.mtu 75\n"),
            "settings: port b has an MTU too small for what it imposes");
}
TEST(SettingsRefusedWhole, KeyTwice) {
  EXPECT_EQ(error_of(kSmall + "tcp strict\ntcp strict\n"),
            "settings, line 7: tcp: is there for the second time");
}
TEST(SettingsRefusedWhole, PortKeyTwiceInOnePort) {
  EXPECT_EQ(error_of(kSmall + "port.mtu 1\nport.mtu 1\n"),
            "settings, line 7: port.mtu: is there for the second time");
  EXPECT_EQ(error_of(kSmall + "port.mtu 1\nport c\nport.mtu 1\nport d\nwire 2 3\n"), "none");
}
TEST(SettingsRefusedWhole, PortKeyBeforeAnyPort) {
  EXPECT_EQ(error_of("bulkhead-settings 1\nport.mtu 1\n"),
            "settings, line 2: port.mtu: stands before the first port");
}
TEST(SettingsRefusedWhole, AnotherFormat) {
  EXPECT_EQ(error_of("bulkhead-settings 2\ncore 1\n"), "settings, line 1: should be `bulkhead-settings 1`");
}
TEST(SettingsRefusedWhole, Empty) {
  EXPECT_EQ(error_of(""), "settings: 1 to 64 cores are needed");
}
TEST(SettingsRefusedWhole, WireToAPortThatDoesNotExist) {
  EXPECT_EQ(error_of(kSmall + "port c\nwire 2 3\n"), "settings: a wire to port 3, which doesn't exist");
}
TEST(SettingsRefusedWhole, PortOnTwoWires) {
  EXPECT_EQ(error_of(kSmall + "port c\nwire 2 1\n"), "settings: port 1 is on two wires");
}
TEST(SettingsRefusedWhole, PortOnNoWire) {
  EXPECT_EQ(error_of(kSmall + "port c\n"),
            "settings: port 2 is on no wire, and what comes in there would have nowhere to go");
  EXPECT_EQ(error_of("bulkhead-settings 1\nport a\ncore 1\n"),
            "settings: port 0 is on no wire, and what comes in there would have nowhere to go");
  EXPECT_TRUE(decode_settings("bulkhead-settings 1\nmode route\nport a\ncore 1\n"));
}
TEST(SettingsRefusedWhole, WireToItself) {
  EXPECT_EQ(error_of(kSmall + "port c\nwire 2 2\n"), "settings: port 2 is on two wires");
}
TEST(SettingsRefusedWhole, MoreCoresThanWorkersMayBe) {
  std::string text = kSmall;
  for (int core = 2; core <= 65; ++core) text += "core " + std::to_string(core) + "\n";
  EXPECT_EQ(error_of(text), "settings: 1 to 64 cores are needed");
}
TEST(SettingsRefusedWhole, SourceWithHostBits) {
  EXPECT_EQ(error_of(kSmall + "port.source 10.0.0.1/24\n"),
            "settings: port b has a source with host bits set");
}
TEST(SettingsRefusedWhole, MorePortsThanThereCanBe) {
  std::string text = "bulkhead-settings 1\nmode route\ncore 1\n";
  for (size_t i = 0; i < kMaxPorts; ++i) text += "port p" + std::to_string(i) + "\n";
  EXPECT_EQ(error_of(text), "none");
  EXPECT_EQ(error_of(text + "port one-more\n"), "settings, line 36: more than 32 ports");
}

}  // namespace
}  // namespace bulkhead
