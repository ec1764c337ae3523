// What a dataplane is told once, at its start: its ports, cores, limits. Written by whoever read the
// configuration, as text lines `key value` (docs in settings.cc), since the dataplane reads no YAML.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/error.h"
#include "base/types.h"

namespace bulkhead {

enum class Mode : uint8_t { kWire, kRoute };
enum class TcpMode : uint8_t { kStrict, kLiberal };

struct VlanSetting {
  bool any = false;
  std::vector<uint16_t> ids;  ///< where not `any`; empty: untagged frames only
  bool operator==(const VlanSetting&) const = default;
};

struct NeighbourSetting {
  IpAddress address;
  MacAddress mac;
  bool operator==(const NeighbourSetting&) const = default;
};

/// How the source's segment goes along with what a port sends.
enum class ImposeTags : uint8_t { kNone, kCmd, kVxlanGbp };

/// An overlay port: frames come and go as VXLAN between `local` and `peers`, which are on its link.
struct OverlaySetting {
  IpAddress local;
  uint32_t vni = 0;
  uint16_t udp_port = 4789;
  std::vector<IpAddress> peers;  ///< 1 to kMostPeers, of local's family
  bool operator==(const OverlaySetting&) const = default;
};
inline constexpr size_t kMostPeers = 64;  ///< a frame to all of them must fit a TxQueue

struct PortSetting {
  std::string name;
  std::string device;           ///< as in the configuration: "af_xdp:ga", "pci:0000:03:00.0", ...
  bool attached = false;        ///< a workload's first hop
  bool any_source = false;      ///< `sources: any`, and the default on uncontrolled ports
  std::vector<Prefix> sources;  ///< what may originate here
  VlanSetting vlans;
  MacAddress mac;  ///< all zero: the device's own
  uint16_t mtu = 1500;
  std::vector<IpAddress> host_addresses;  ///< left to the kernel
  std::vector<Prefix> addresses;          ///< route mode; host bits kept
  std::vector<NeighbourSetting> neighbours;
  bool trust_tags = false;  ///< identity tags that arrive here are believed
  bool strip_tags = false;  ///< untrusted_tags: strip; else what has one is dropped
  ImposeTags impose_tags = ImposeTags::kNone;
  std::optional<OverlaySetting> vxlan;
  bool relay =
      false;  ///< the mTLS relay's own: `device` is the interface's name in its namespace; at most one
  bool operator==(const PortSetting&) const = default;
};

inline constexpr const char* kRelayPortName = "relay";
/// The name of the relay's interface where it is made, before it moves into the relay's namespace: one that
/// several gateways on a host don't share.
inline std::string relay_interface(std::string_view file_prefix) {
  uint32_t hash = 2166136261;  // FNV-1a
  for (unsigned char c : file_prefix) hash = (hash ^ c) * 16777619;
  std::string name = "bhrelay";
  for (int shift = 28; shift >= 0; shift -= 4) name += "0123456789abcdef"[hash >> shift & 15];
  return name;
}

inline constexpr uint16_t kLeastMtu = 68;  // RFC 791 §3.2
/// Bytes of the port's MTU that what it writes before an IP packet takes: the packet may be as much shorter.
inline uint16_t link_overhead(const PortSetting& port) {
  constexpr uint16_t kCmd = 8, kVxlan4 = 20 + 8 + 8 + 14, kVxlan6 = 40 + 8 + 8 + 14;
  if (port.vxlan) return port.vxlan->local.is_v4() ? kVxlan4 : kVxlan6;
  return port.impose_tags == ImposeTags::kCmd ? kCmd : 0;
}

struct RouteSetting {
  Prefix to;
  IpAddress via;
  bool operator==(const RouteSetting&) const = default;
};

struct WireSetting {
  PortId first;
  PortId second;
  bool operator==(const WireSetting&) const = default;
};

struct TimeoutSettings {
  std::chrono::milliseconds syn{30'000}, established{7'440'000}, closing{240'000}, udp{120'000}, icmp{60'000},
      other{120'000};
  bool operator==(const TimeoutSettings&) const = default;
};

struct FragmentSettings {
  uint32_t datagrams = 4096;                  ///< held at a time; whole gateway
  uint32_t per_source = 256;                  ///< of them: an IPv4 address, or a segment in an IPv6 /64
  std::chrono::milliseconds timeout{30'000};  ///< for a datagram to be complete
  bool operator==(const FragmentSettings&) const = default;
};
inline constexpr uint32_t kMostFragmentDatagrams = 1 << 20;
inline constexpr std::chrono::milliseconds kLongestFragmentTimeout{60'000};  // RFC 8200 §4.5

struct DataplaneSettings {
  std::string name;                ///< the gateway's
  std::string file_prefix;         ///< EAL's, so that several gateways share a host
  std::vector<unsigned> cores{1};  ///< the CPU of each worker; configuration gives each its own
  uint32_t memory_mib = 1024;
  uint32_t buffers = 0;                       ///< packet buffers at least; the ports' rings may take more
  uint32_t max_flows = 1'048'576;             ///< whole gateway
  uint32_t max_flows_per_identity = 786'432;  ///< opened by one segment's members
  Mode mode = Mode::kWire;
  std::vector<PortSetting> ports;
  std::vector<WireSetting> wires;
  std::vector<RouteSetting> routes;
  TcpMode tcp = TcpMode::kStrict;
  TimeoutSettings timeouts;
  FragmentSettings fragments;
  uint32_t half_open_per_identity = 4096, half_open_total = 65536;
  bool reject_implicit_deny = false;                        ///< on_implicit_deny: reject
  bool reset_on_revoke = true;                              ///< on_revoke: reset
  uint32_t reject_per_identity = 100, reject_total = 1000;  ///< answers a second
  bool operator==(const DataplaneSettings&) const = default;
};

/// The text form; decode(encode(s)) equals s.
std::string encode(const DataplaneSettings& settings);
/// Errors: kInvalid with the line's number and what is wrong with it. Unknown keys, duplicate ports and
/// references to ports that don't exist are errors. Bounded by the input's length.
Expected<DataplaneSettings> decode_settings(std::string_view text);
/// Reads `fd` to its end and decodes that. Errors: as decode_settings; over kMaxSettingsBytes; what read(2)
/// says.
Expected<DataplaneSettings> read_settings(int fd);
inline constexpr size_t kMaxSettingsBytes = 4 << 20;
inline constexpr size_t kMaxCores = 64;

}  // namespace bulkhead
