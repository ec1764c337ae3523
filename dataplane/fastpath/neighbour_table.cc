#include "dataplane/fastpath/neighbour_table.h"

namespace bulkhead {
namespace {

constexpr uint64_t kInUse = 1, kFixed = 2;

uint64_t pack(PortId port, const MacAddress& mac, bool fixed) noexcept {
  uint64_t bits = 0;
  for (uint8_t byte : mac.bytes) bits = bits << 8 | byte;
  return bits << 16 | uint64_t{port.value} << 8 | (fixed ? kFixed : 0) | kInUse;
}

Neighbour unpack(uint64_t bits, Ticks confirmed) noexcept {
  Neighbour n{{}, confirmed, (bits & kFixed) != 0};
  for (int i = 0; i < 6; ++i) n.mac.bytes[i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
  return n;
}

uint8_t port_of(uint64_t bits) noexcept {
  return static_cast<uint8_t>(bits >> 8);
}

}  // namespace

size_t NeighbourTable::home_of(PortId port, const IpAddress& address) noexcept {
  uint64_t words[2];
  words_of(address, words);
  uint64_t x = (words[0] * 0x9e3779b97f4a7c15 ^ words[1]) * 0xd6e8feb86659fd93 + port.value;
  return (x ^ x >> 32) * 0x9e3779b97f4a7c15 >> 50;
}

std::optional<Neighbour> NeighbourTable::find(PortId port, const IpAddress& address,
                                              Ticks now) const noexcept {
  uint64_t words[2];
  words_of(address, words);
  size_t home = home_of(port, address);
  for (size_t i = 0; i < kProbes; ++i) {
    const Place& place = places_[(home + i) % kPlaces];
    uint32_t before = place.sequence.load(std::memory_order_acquire);
    if (before == 0) return std::nullopt;  // never written: nor is anything behind it
    uint64_t first = place.address[0].load(std::memory_order_acquire),
             second = place.address[1].load(std::memory_order_acquire);
    uint64_t bits = place.mac_port.load(std::memory_order_acquire);
    Ticks confirmed = place.confirmed.load(std::memory_order_acquire);
    // Acquire loads keep the second look at the sequence behind them.
    bool torn = (before & 1) != 0 || place.sequence.load(std::memory_order_relaxed) != before;
    if (torn || first != words[0] || second != words[1] || port_of(bits) != port.value)
      continue;  // a torn read is a miss: the packet waits
    Neighbour n = unpack(bits, confirmed);
    if (!n.fixed && is_due(confirmed + kForgotten, now)) return std::nullopt;
    return n;
  }
  return std::nullopt;
}

bool NeighbourTable::learn(PortId port, const IpAddress& address, const MacAddress& mac, Ticks now,
                           bool fixed) noexcept {
  uint64_t words[2];
  words_of(address, words);
  size_t home = home_of(port, address);
  Place* chosen = nullptr;
  for (size_t i = 0; i < kProbes; ++i) {
    Place& place = places_[(home + i) % kPlaces];
    uint64_t bits = place.mac_port.load(std::memory_order_relaxed);
    bool same = place.address[0].load(std::memory_order_relaxed) == words[0] &&
                place.address[1].load(std::memory_order_relaxed) == words[1] && port_of(bits) == port.value &&
                (bits & kInUse) != 0;
    bool stale =
        (bits & kInUse) == 0 ||
        ((bits & kFixed) == 0 && is_due(place.confirmed.load(std::memory_order_relaxed) + kForgotten, now));
    if (same) {
      if ((bits & kFixed) != 0 && !fixed) return true;  // what the configuration says stands
      chosen = &place;
      break;
    }
    if (stale && chosen == nullptr) chosen = &place;
    if (place.sequence.load(std::memory_order_relaxed) == 0) break;
  }
  if (chosen == nullptr) return false;
  uint32_t before = chosen->sequence.load(std::memory_order_relaxed);
  if ((before & 1) != 0 ||
      !chosen->sequence.compare_exchange_strong(before, before + 1, std::memory_order_acquire))
    return false;  // another worker writes it at this moment: its answer serves as well, or the next one will
  // Release stores keep the odd sequence before them.
  chosen->address[0].store(words[0], std::memory_order_release);
  chosen->address[1].store(words[1], std::memory_order_release);
  chosen->mac_port.store(pack(port, mac, fixed), std::memory_order_release);
  chosen->confirmed.store(now, std::memory_order_release);
  chosen->sequence.store(before + 2, std::memory_order_release);
  return true;
}

}  // namespace bulkhead
