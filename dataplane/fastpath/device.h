// Devices as the configuration names them, and what DPDK is told to open them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/types.h"
#include "contract/settings.h"

namespace bulkhead {

enum class DeviceKind : uint8_t {
  kPci,       ///< a NIC that is bound to vfio-pci or to a driver that shares it with the kernel
  kAfXdp,     ///< an interface of the kernel's, by AF_XDP
  kAfPacket,  ///< an interface of the kernel's, by packet sockets; to try things with
  kTap,       ///< a new interface, to be given to somebody
  kPcap,      ///< the packets of a capture, once; what is sent to it goes nowhere
  kNull,      ///< never receives; what is sent to it goes nowhere
  kDpdk,      ///< anything else that DPDK drives
};

/// One `device:` of the configuration.
struct Device {
  DeviceKind kind;
  std::string argument;  ///< the PCI address, interface, file or devargs; empty for `null`

  /// Whether the kernel has an interface of that name before we open it, and keeps it afterwards.
  bool is_kernel_interface() const { return kind == DeviceKind::kAfXdp || kind == DeviceKind::kAfPacket; }
  bool operator==(const Device&) const = default;
};

/// Parses "pci:ADDRESS", "af_xdp:IFNAME", "af_packet:IFNAME", "tap:IFNAME", "pcap:FILE", "null" or
/// "dpdk:DEVARGS". Errors: kInvalid, saying what a device looks like. Commas, which would end DPDK's own
/// arguments, are errors but in DEVARGS.
Expected<Device> parse_device(std::string_view text);

/// The `-a` for EAL where the device is on the PCI bus ("0000:03:00.0", or with driver arguments after
/// `dpdk:`); nothing elsewhere.
std::optional<std::string> pci_allow(const Device& device);

/// Two ports on one device, by index in `ports`.
/// Errors: kExists, naming both ports; kInvalid from parse_device, naming the port.
Expected<> check_devices(const std::vector<PortSetting>& ports);

/// What a virtual device is opened with beside its own argument.
struct OpenOptions {
  PortId port;
  unsigned queues = 1;
  uint16_t mtu = 1500;     ///< of the IP packet
  MacAddress mac;          ///< all zero: the driver's choice
  std::string xdp_object;  ///< af_xdp: the guard's program
  bool busy_poll = false;  ///< af_xdp: let the driver poll the NIC from the worker
};

/// A device's name in DPDK and all of its devargs, name first.
struct DevArgs {
  std::string name;
  std::string text;
};
DevArgs dev_args(const Device& device, const OpenOptions& options);

}  // namespace bulkhead
