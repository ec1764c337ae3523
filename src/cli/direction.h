// On which of two ports a packet of a capture of both directions came in.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/address.h"
#include "contract/settings.h"
#include "policy/endpoint_table.h"

namespace bulkhead {

/// Who a frame says it is from and for.
struct FrameEnds {
  MacAddress source_mac;
  std::optional<IpAddress> source, destination;  ///< of IP, or of ARP
};
/// Reads as much as is there; never an error.
FrameEnds frame_ends(std::span<const std::byte> frame);

/// Finds each packet's port. What tells, in this order: the source's binding to a port, the port whose
/// `sources` hold it with the longest prefix, the port where its MAC was seen before, the port that its
/// destination belongs to (it came in on the other), the only port that takes any source, the first.
class DirectionFinder {
 public:
  DirectionFinder(const DataplaneSettings& settings, const EndpointTable* endpoints)
      : settings_(settings), endpoints_(endpoints) {}

  struct Found {
    PortId port;
    bool guessed = false;  ///< nothing told: the first of the two
  };
  Found find(std::span<const std::byte> frame, std::span<const PortId> ports);

 private:
  std::optional<PortId> port_of(const IpAddress& address, std::span<const PortId> ports) const;

  const DataplaneSettings& settings_;
  const EndpointTable* endpoints_;
  std::map<MacAddress, PortId> seen_;
};

}  // namespace bulkhead
