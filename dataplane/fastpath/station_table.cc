#include "dataplane/fastpath/station_table.h"

#include "dataplane/fastpath/neighbour_table.h"
#include "policy/endpoint_table.h"

namespace bulkhead {

StationTable::StationTable(const HashSeed& seed)
    : seed_(seed), places_(std::make_unique<std::atomic<uint64_t>[]>(kPlaces)) {}

std::atomic<uint64_t>& StationTable::place_of(PortId port, const MacAddress& station) const noexcept {
  return places_[neighbour_hash(port, mac_key(station), seed_) % kPlaces];
}

static uint64_t word_of(PortId port, const MacAddress& station, uint8_t peer) noexcept {
  uint64_t word = 0;
  for (uint8_t byte : station.bytes) word = word << 8 | byte;
  return word << 16 | uint64_t{peer} << 8 | (port.value + 1u);
}

void StationTable::learn(PortId port, const MacAddress& station, uint8_t peer) noexcept {
  std::atomic<uint64_t>& place = place_of(port, station);
  uint64_t word = word_of(port, station, peer);
  if (place.load(std::memory_order_relaxed) != word) place.store(word, std::memory_order_relaxed);
}

uint8_t StationTable::find(PortId port, const MacAddress& station) const noexcept {
  uint64_t word = place_of(port, station).load(std::memory_order_relaxed);
  auto peer = static_cast<uint8_t>(word >> 8);
  return word == word_of(port, station, peer) ? peer : kUnknown;
}

}  // namespace bulkhead
