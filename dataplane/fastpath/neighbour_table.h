// Who has which address next door (RFC 826, RFC 4861 §5.1): shared by the workers, since an answer reaches
// whichever worker polls that queue. Places are read and written under a sequence count each; no reader ever
// waits.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>

#include "base/address.h"
#include "base/types.h"
#include "dataplane/fastpath/flow.h"

namespace bulkhead {

/// What is known of a neighbour.
struct Neighbour {
  MacAddress mac;
  Ticks confirmed;  ///< when it last answered
  bool fixed;       ///< from the configuration: never asked, never forgotten
};

class NeighbourTable {
 public:
  static constexpr Ticks kReachable = 30'000;  ///< ms; RFC 4861 §10 REACHABLE_TIME
  static constexpr Ticks kForgotten = 90'000;  ///< ms without an answer after which it isn't used any more

  /// Any thread. Nothing where nobody answered yet, or not for kForgotten.
  std::optional<Neighbour> find(PortId port, const IpAddress& address, Ticks now) const noexcept;
  /// Takes an answer. Any worker. False: no place is free.
  bool learn(PortId port, const IpAddress& address, const MacAddress& mac, Ticks now,
             bool fixed = false) noexcept;

 private:
  struct Place {
    std::atomic<uint32_t> sequence{0};  ///< odd: being written
    std::atomic<Ticks> confirmed{0};
    std::atomic<uint64_t> address[2]{};
    std::atomic<uint64_t> mac_port{0};  ///< MAC << 16 | port << 8 | fixed << 1 | in use
  };
  static constexpr size_t kPlaces = 16384;
  static constexpr size_t kProbes = 16;
  static size_t home_of(PortId port, const IpAddress& address) noexcept;
  static void words_of(const IpAddress& address, uint64_t (&words)[2]) noexcept {
    std::memcpy(words, address.bytes.data(), 16);
  }

  std::array<Place, kPlaces> places_;
};

}  // namespace bulkhead
