#include "dataplane/fastpath/device.h"

#include <net/if.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>

#include "base/check.h"

namespace bulkhead {
namespace {

struct KindName {
  std::string_view name;
  DeviceKind kind;
};
constexpr std::array<KindName, 6> kKinds{{{"pci", DeviceKind::kPci},
                                          {"af_xdp", DeviceKind::kAfXdp},
                                          {"af_packet", DeviceKind::kAfPacket},
                                          {"tap", DeviceKind::kTap},
                                          {"pcap", DeviceKind::kPcap},
                                          {"dpdk", DeviceKind::kDpdk}}};

bool is_interface_name(std::string_view name) {
  return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
         std::ranges::none_of(
             name, [](unsigned char c) { return c == '/' || c == ',' || c == ':' || std::isspace(c); });
}

/// DOMAIN:BUS:DEVICE.FUNCTION or BUS:DEVICE.FUNCTION, in hexadecimal.
bool is_pci_address(std::string_view text) {
  auto matches = [text](std::string_view pattern) {
    return text.size() == pattern.size() && std::ranges::equal(text, pattern, [](unsigned char c, char p) {
             return p == 'x' ? std::isxdigit(c) != 0 : c == p;
           });
  };
  return matches("xxxx:xx:xx.x") || matches("xx:xx.x");
}

/// As DPDK names devices: with the domain, in lower case.
std::string full_pci_address(std::string text) {
  if (!is_pci_address(text)) return text;
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text.size() == 7 ? "0000:" + text : text;
}

std::string_view name_in(std::string_view devargs) {
  return devargs.substr(0, devargs.find(','));
}

Expected<> check_argument(const Device& device) {
  const std::string& argument = device.argument;
  switch (device.kind) {
    case DeviceKind::kPci:
      if (!is_pci_address(argument))
        return fail(ErrorCode::kInvalid,
                    "'" + argument + "' is not a PCI address like 0000:03:00.0 (`lspci -D` lists them)");
      return {};
    case DeviceKind::kAfXdp:
    case DeviceKind::kAfPacket:
    case DeviceKind::kTap:
      if (!is_interface_name(argument))
        return fail(ErrorCode::kInvalid, "'" + argument + "' can't be the name of an interface");
      return {};
    case DeviceKind::kPcap:
      if (argument.empty() || argument.find(',') != std::string::npos)
        return fail(ErrorCode::kInvalid,
                    "'" + argument + "': a capture's path can't be empty or have a comma");
      return {};
    case DeviceKind::kDpdk:
      if (name_in(argument).empty())
        return fail(ErrorCode::kInvalid,
                    "'dpdk:' is followed by DPDK's devargs, e.g. dpdk:net_memif0,role=client");
      return {};
    case DeviceKind::kNull:
      return {};
  }
  return {};
}

/// The ring of an af_packet device: a power of two a frame, so that a block holds a whole number of them.
std::string af_packet_ring(uint16_t mtu) {
  constexpr unsigned kKernelHeader =
      128;  // struct tpacket2_hdr, sockaddr_ll and alignment, with room (packet_mmap.txt)
  constexpr unsigned kLinkHeader = 22;  // Ethernet and two VLAN tags
  unsigned frame = std::max(2048u, std::bit_ceil(mtu + kKernelHeader + kLinkHeader));
  return ",framesz=" + std::to_string(frame) + ",blocksz=" + std::to_string(std::max(4096u, frame)) +
         ",framecnt=1024";
}

}  // namespace

Expected<Device> parse_device(std::string_view text) {
  if (text == "null") return Device{DeviceKind::kNull, ""};
  size_t colon = text.find(':');
  auto known = std::ranges::find(kKinds, text.substr(0, colon), &KindName::name);
  if (colon == std::string_view::npos || known == kKinds.end())
    return fail(
        ErrorCode::kInvalid,
        "'" + std::string(text) +
            "' is not a device; write pci:ADDRESS, af_xdp:IFNAME, af_packet:IFNAME, tap:IFNAME, pcap:FILE, "
            "null or dpdk:DEVARGS");
  Device device{known->kind, std::string(text.substr(colon + 1))};
  if (device.kind == DeviceKind::kPci) device.argument = full_pci_address(device.argument);
  if (auto checked = check_argument(device); !checked) return std::unexpected(checked.error());
  return device;
}

std::optional<std::string> pci_allow(const Device& device) {
  bool on_pci = device.kind == DeviceKind::kPci ||
                (device.kind == DeviceKind::kDpdk && is_pci_address(name_in(device.argument)));
  return on_pci ? std::optional(device.argument) : std::nullopt;
}

/// What two ports can't share: the interface whatever drives it, or the device. Two captures and two `null`s
/// are nobody's.
static std::optional<std::string> exclusive_name(const Device& device) {
  switch (device.kind) {
    case DeviceKind::kAfXdp:
    case DeviceKind::kAfPacket:
    case DeviceKind::kTap:
      return "interface " + device.argument;
    case DeviceKind::kPci:
    case DeviceKind::kDpdk:
      return "device " + full_pci_address(std::string(name_in(device.argument)));
    case DeviceKind::kPcap:
    case DeviceKind::kNull:
      return std::nullopt;
  }
  return std::nullopt;
}

Expected<> check_devices(const std::vector<PortSetting>& ports) {
  std::vector<std::optional<std::string>> names;
  for (const PortSetting& port : ports) {
    auto device = parse_device(port.device);
    if (!device) return with_context(device.error(), "port '" + port.name + "'");
    auto name = exclusive_name(*device);
    auto taken = name ? std::ranges::find(names, name) : names.end();
    if (taken != names.end())
      return fail(ErrorCode::kExists, "port '" + port.name + "': " + *name + " is already port '" +
                                          ports[taken - names.begin()].name +
                                          "'; a device can be one port only");
    names.push_back(name);
  }
  return {};
}

DevArgs dev_args(const Device& device, const OpenOptions& options) {
  std::string number = std::to_string(options.port.value), queues = std::to_string(options.queues);
  auto args = [](std::string name, std::string rest) { return DevArgs{name, name + rest}; };
  switch (device.kind) {
    case DeviceKind::kAfXdp:
      return args("net_af_xdp_p" + number,
                  ",iface=" + device.argument + ",start_queue=0,queue_count=" + queues +
                      (options.busy_poll ? "" : ",busy_budget=0") +
                      (options.xdp_object.empty() ? "" : ",xdp_prog=" + options.xdp_object));
    case DeviceKind::kAfPacket:
      return args("net_af_packet_p" + number, ",iface=" + device.argument + ",qpairs=" + queues +
                                                  af_packet_ring(options.mtu) + ",qdisc_bypass=1");
    case DeviceKind::kTap:
      return args("net_tap_p" + number, ",iface=" + device.argument +
                                            (options.mac.is_zero() ? "" : ",mac=" + to_string(options.mac)));
    case DeviceKind::kPcap:
      return args("net_pcap_p" + number, ",rx_pcap=" + device.argument);  // what is sent to it goes nowhere
    case DeviceKind::kNull:
      return args("net_null_p" + number, ",no-rx=1");
    case DeviceKind::kPci:
    case DeviceKind::kDpdk:
      return {full_pci_address(std::string(name_in(device.argument))), device.argument};
  }
  BULKHEAD_CHECK(false);
}

}  // namespace bulkhead
