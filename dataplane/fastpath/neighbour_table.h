// Who has which address next door (RFC 826, RFC 4861 §5.1): shared by the workers, since an answer reaches
// whichever worker polls that queue. Places are read and written under a sequence count each; no reader ever
// waits.
//
// Neighbours aren't trusted (RFC 6583, RFC 3756). Each port has places of its own, found by a secret hash.
// What a neighbour says unasked fills free places only, and never takes one from an answer; nothing that is
// said unasked changes a MAC that is in use.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/address.h"
#include "base/types.h"
#include "dataplane/fastpath/flow_hash.h"

namespace bulkhead {

/// Milliseconds since the pipeline's epoch, in 64 bits: an entry that nobody has looked at for weeks is old.
using Millis = uint64_t;
/// How long ago that was; 0 where another worker's clock is ahead of ours.
constexpr Millis age_of(Millis then, Millis now) {
  return now > then ? now - then : 0;
}

/// What is known of a neighbour.
struct Neighbour {
  MacAddress mac;
  Millis confirmed;   ///< when it last answered
  bool fixed;         ///< from the configuration: never asked, never forgotten
  bool question_due;  ///< it should be asked whether it is still there
};

/// Whom to ask for a neighbour.
struct Question {
  enum class To : uint8_t { kNobody, kOwner, kAll } to = To::kNobody;
  MacAddress owner;  ///< kOwner: the MAC that is known
};

class NeighbourTable {
 public:
  static constexpr Millis kReachable = 30'000;  ///< RFC 4861 §10 REACHABLE_TIME
  static constexpr Millis kForgotten = 90'000;  ///< without an answer after which it isn't used any more
  static constexpr Millis kAskEvery = 1'000;    ///< RFC 1122 §2.3.2.1: one request a second for a destination
  static constexpr Millis kAnswerTime = 3'000;  ///< an answer that comes later than this wasn't asked for

  NeighbourTable(size_t ports, const HashSeed& seed);

  /// Any thread. Nothing where nobody answered yet, or not for kForgotten.
  std::optional<Neighbour> find(PortId port, const IpAddress& address, Millis now) const noexcept;

  /// Whom to ask at this moment, and remembers that it was asked: from here on an answer is taken. A known
  /// neighbour is asked alone at first, and nobody else may answer then (RFC 4861 §7.3.3). Any worker.
  Question ask(PortId port, const IpAddress& address, Millis now) noexcept;
  /// Takes an answer. False: nobody asked, or asked somebody else. One that contradicts a known neighbour
  /// makes its question due.
  bool answer(PortId port, const IpAddress& address, const MacAddress& mac, Millis now) noexcept;
  /// Takes what a neighbour says of itself in a question of its own. False: no room, or contradicts what is
  /// known, whose question is due then.
  bool volunteer(PortId port, const IpAddress& address, const MacAddress& mac, Millis now) noexcept;
  /// What the configuration says. False: no room.
  bool fix(PortId port, const IpAddress& address, const MacAddress& mac) noexcept;

 private:
  /// An entry, read whole.
  struct Entry {
    uint64_t address[2];
    uint64_t bits;  ///< MAC << 16 | questions without an answer << 8 | flags
    Millis confirmed, asked;
  };
  struct Place {
    std::atomic<uint32_t> sequence{0};  ///< odd: being written
    std::atomic<uint64_t> address[2]{};
    std::atomic<uint64_t> bits{0};
    std::atomic<Millis> confirmed{0}, asked{0};
  };
  /// A place for an address, and what it held at `sequence`.
  struct Found {
    Place* place = nullptr;  ///< nullptr: no room
    uint32_t sequence = 0;
    bool same = false;  ///< it holds that address
    Entry entry{};
  };
  /// What may give its place away to whom: each to those above it.
  enum class Rank : uint8_t { kFree, kVolunteered, kWaiting, kAged, kAnswered, kFixed };

  static constexpr size_t kPlaces = 16384;  ///< a port
  static constexpr size_t kProbes = 16;
  Place& place_at(PortId port, size_t index) const noexcept {
    return places_[port.value * kPlaces + index % kPlaces];
  }
  size_t home_of(PortId port, const IpAddress& address) const noexcept;
  static bool read(const Place& place, Entry& entry, uint32_t& sequence) noexcept;
  static bool write(const Found& found, const Entry& entry) noexcept;
  static Rank rank_of(const Entry& entry, Millis now) noexcept;
  /// The address's place, else the least worthy one of rank `most` or below.
  Found look(PortId port, const IpAddress& address, Rank most, Millis now) noexcept;

  HashSeed seed_;
  std::unique_ptr<Place[]> places_;  ///< [port][place]
};

/// Secret hash of a neighbour.
inline uint64_t neighbour_hash(PortId port, const IpAddress& address, const HashSeed& seed) noexcept {
  __m128i s = hash_detail::seed_of(seed);
  __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(address.bytes.data()));
  x = hash_detail::mix(_mm_xor_si128(x, s), s);
  return static_cast<uint64_t>(
      _mm_cvtsi128_si64(hash_detail::mix(_mm_xor_si128(x, _mm_cvtsi64_si128(port.value + 1)), s)));
}

}  // namespace bulkhead
