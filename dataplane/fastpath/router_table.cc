#include "dataplane/fastpath/router_table.h"

#include <bit>
#include <functional>

namespace bulkhead {

AddressIndex::AddressIndex(const std::map<IpAddress, uint32_t>& entries)
    : slots_(std::bit_ceil(2 * entries.size() + 2)), mask_(slots_.size() - 1) {
  for (const auto& [address, value] : entries) {
    uint64_t words[2];
    std::memcpy(words, address.bytes.data(), 16);
    size_t i = home_of(words[0], words[1]);
    while (slots_[i].value != kNone) i = (i + 1) & mask_;
    slots_[i] = {words[0], words[1], value};
  }
}

RouteTable::RouteTable(std::vector<RouteEntry> routes) : routes_(std::move(routes)) {
  struct Kind {
    uint8_t bits;
    bool v4;
    auto operator<=>(const Kind&) const = default;
  };
  std::map<Kind, std::map<IpAddress, uint32_t>, std::greater<>> by_kind;
  for (uint32_t i = 0; i < routes_.size(); ++i) {
    const Prefix& to = routes_[i].to;
    by_kind[{to.bits, to.address.is_v4()}].try_emplace(masked(to.address, to.bits), i);
  }
  IpAddress ones;
  ones.bytes.fill(0xff);
  for (const auto& [kind, entries] : by_kind) {
    Level level{{}, kind.v4, AddressIndex(entries)};
    std::memcpy(level.mask, masked(ones, kind.bits).bytes.data(), 16);
    levels_.push_back(std::move(level));
  }
}

const RouteEntry* RouteTable::find(const IpAddress& destination) const noexcept {
  uint64_t words[2];
  std::memcpy(words, destination.bytes.data(), 16);
  bool v4 = destination.is_v4();
  for (const Level& level : levels_) {
    if (level.v4 != v4) continue;
    uint32_t found = level.index.find(words[0] & level.mask[0], words[1] & level.mask[1]);
    if (found != AddressIndex::kNone) return &routes_[found];
  }
  return nullptr;
}

}  // namespace bulkhead
