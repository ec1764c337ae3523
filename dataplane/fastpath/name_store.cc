#include "dataplane/fastpath/name_store.h"

#include <cstring>

namespace bulkhead {

NameStore::NameStore(uint32_t names, const HashSeed& seed) : seed_(seed), names_(names), chains_(names) {
  for (uint32_t i = 0; i < names; ++i) names_[i].next = i + 1 < names ? i + 1 : kNoIndex;
  if (names != 0) free_ = 0;
}

uint64_t NameStore::hash_of(std::string_view name) const noexcept {
  __m128i seed = hash_detail::seed_of(seed_);
  __m128i x = _mm_xor_si128(seed, _mm_cvtsi64_si128(static_cast<int64_t>(name.size())));
  for (; !name.empty(); name.remove_prefix(std::min<size_t>(name.size(), 16))) {
    char block[16] = {};
    std::memcpy(block, name.data(), std::min(name.size(), sizeof block));
    x = hash_detail::mix(_mm_xor_si128(x, _mm_loadu_si128(reinterpret_cast<const __m128i*>(block))), seed);
  }
  return static_cast<uint64_t>(_mm_cvtsi128_si64(x));
}

uint32_t NameStore::keep(std::string_view name) noexcept {
  if (name.empty()) return kNoIndex;
  uint64_t hash = hash_of(name);
  for (uint32_t place = chains_.first(hash); place != HashChains::kEnd; place = chains_.next(place)) {
    if (text(place) != name) continue;
    ++names_[place].uses;
    return place;
  }
  uint32_t place = free_;
  if (place == kNoIndex) return kNoIndex;
  Name& fresh = names_[place];
  free_ = fresh.next;
  fresh.uses = 1;
  fresh.hash = hash;
  fresh.bytes = static_cast<uint8_t>(name.size());
  std::memcpy(fresh.text, name.data(), name.size());
  chains_.insert(hash, place);
  ++size_;
  return place;
}

void NameStore::release(uint32_t place) noexcept {
  if (place == kNoIndex || --names_[place].uses != 0) return;
  chains_.erase(names_[place].hash, place);
  names_[place].next = free_;
  free_ = place;
  --size_;
}

}  // namespace bulkhead
