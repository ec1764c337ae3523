// Where addresses lead: made once at start, read for every packet. One hash for each prefix length in use: a
// look-up costs a few of them, however many routes there are. (DPDK's FIBs cost one read, and 32 MiB for each
// family: too much for a replay's memory.)
#pragma once

#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/address.h"
#include "base/types.h"

namespace bulkhead {

/// Numbers by exact address; at most half full.
class AddressIndex {
 public:
  static constexpr uint32_t kNone = 0xffffffff;

  AddressIndex() : AddressIndex(std::map<IpAddress, uint32_t>{}) {}
  explicit AddressIndex(const std::map<IpAddress, uint32_t>& entries);

  uint32_t find(const IpAddress& address) const noexcept {
    uint64_t words[2];
    std::memcpy(words, address.bytes.data(), 16);
    return find(words[0], words[1]);
  }
  /// The same for the address's bytes as two words.
  uint32_t find(uint64_t first, uint64_t second) const noexcept {
    for (size_t i = home_of(first, second);; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.value == kNone || (slot.first == first && slot.second == second)) return slot.value;
    }
  }

 private:
  struct Slot {
    uint64_t first = 0, second = 0;
    uint32_t value = kNone;
  };
  size_t home_of(uint64_t first, uint64_t second) const noexcept {
    uint64_t x = (first * 0x9e3779b97f4a7c15 ^ second) * 0xd6e8feb86659fd93;
    return (x ^ x >> 32) * 0x9e3779b97f4a7c15 >> 32 & mask_;
  }

  std::vector<Slot> slots_;
  size_t mask_ = 0;
};

struct RouteEntry {
  Prefix to;
  PortId port;
  std::optional<IpAddress> via;  ///< none: connected
};

/// Longest prefix match. IPv6's ::/0 leads no IPv4 address anywhere.
class RouteTable {
 public:
  RouteTable() = default;
  /// Of routes with the same prefix the first counts.
  explicit RouteTable(std::vector<RouteEntry> routes);

  /// The longest route; nullptr where there is none.
  const RouteEntry* find(const IpAddress& destination) const noexcept;

 private:
  /// The routes of one family and prefix length.
  struct Level {
    uint64_t mask[2];
    bool v4;
    AddressIndex index;  ///< of routes_
  };
  std::vector<Level> levels_;  ///< longest first
  std::vector<RouteEntry> routes_;
};

}  // namespace bulkhead
