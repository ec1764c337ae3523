// What the pipeline needs to know of a port, made from its setting once at start.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/address.h"
#include "base/types.h"
#include "contract/settings.h"

namespace bulkhead {

/// A port, as the pipeline sees it. Read-only while workers run.
struct PortView {
  PortId id;
  bool attached = false;
  bool any_source = true;
  std::vector<Prefix> sources;
  std::bitset<4096> vlans;  ///< those that may arrive; [0]: untagged, always set
  uint16_t mtu = 1500;      ///< of the IP packet, less what the port puts before it
  MacAddress mac;
  PortId peer = kPortNone;        ///< wire mode: the wire's other end
  uint8_t wire = 0;               ///< wire mode: the wire's number
  std::vector<Prefix> addresses;  ///< route mode
  std::vector<NeighbourSetting> neighbours;
  bool trust_tags = false, strip_tags = false;
  ImposeTags impose_tags = ImposeTags::kNone;
  std::optional<OverlaySetting> vxlan;
  bool relay = false;  ///< the mTLS relay's

  /// Whether something before a frame's own headers is taken off when it comes in.
  bool reads_link() const { return trust_tags || strip_tags || vxlan; }
  /// The longest IP packet that a frame may carry there with `l3` bytes before it: an overlay carries a VLAN
  /// tag inside, at the packet's cost.
  uint16_t most_ip_bytes(uint16_t l3) const {
    constexpr uint16_t kEthernet = 14, kVlan = 4;
    return vxlan && l3 > kEthernet ? static_cast<uint16_t>(mtu - kVlan) : mtu;
  }
  /// Whether it matters behind which peer a station is.
  bool has_several_peers() const { return vxlan && vxlan->peers.size() > 1; }
  /// Whether something is put before them when it leaves.
  bool writes_link() const { return impose_tags != ImposeTags::kNone || vxlan || relay; }
};

/// Views of all ports, by PortId. `macs`: the devices' own, for ports whose setting has none.
std::vector<PortView> make_port_views(const DataplaneSettings& settings, const std::vector<MacAddress>& macs);

}  // namespace bulkhead
