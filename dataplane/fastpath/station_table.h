// Where an overlay's stations are.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/address.h"
#include "base/types.h"
#include "dataplane/fastpath/flow_hash.h"

namespace bulkhead {

/// Behind which peer of an overlay port a station was last heard. Shared by the workers, one relaxed word an
/// entry; stations that share one take it from each other, and are then sent to through all peers.
class StationTable {
 public:
  explicit StationTable(const HashSeed& seed);
  static constexpr uint8_t kUnknown = 0xff;
  void learn(PortId port, const MacAddress& station, uint8_t peer) noexcept;
  /// The peer's place in the configuration, or kUnknown.
  uint8_t find(PortId port, const MacAddress& station) const noexcept;

 private:
  static constexpr size_t kPlaces = 65'536;
  std::atomic<uint64_t>& place_of(PortId port, const MacAddress& station) const noexcept;
  HashSeed seed_;
  std::unique_ptr<std::atomic<uint64_t>[]> places_;  ///< MAC << 16 | peer << 8 | port + 1
};

}  // namespace bulkhead
