#include "controlplane/compiler/workload_names.h"

#include <cstring>
#include <functional>
#include <new>

namespace bulkhead {

static uint32_t number_from(std::string_view name) {
  uint64_t hash = std::hash<std::string_view>{}(name);
  return static_cast<uint32_t>(hash ^ hash >> 32);
}

WorkloadDescription describe_workload(std::string_view text) {
  size_t blank = text.find(' ');
  if (blank != std::string_view::npos) return {text.substr(0, blank), text.substr(blank + 1)};
  if (text.starts_with("spiffe://")) return {{}, text};
  return {text, {}};
}

uint32_t WorkloadNames::add(std::string_view name) {
  if (name.empty()) return 0;
  name = name.substr(0, UINT16_MAX);
  if (2 * (count_ + 1) > slots_.size()) grow();
  for (uint32_t number = number_from(name);; ++number) {
    if (number == 0) continue;
    Slot& slot = slots_[place_of(number)];
    if (slot.number == number && text_at(slot.start) == name) return number;
    if (slot.number == number) continue;  // another name's, with the same hash
    if (texts_.size() > UINT32_MAX) throw std::bad_alloc();
    slot = {number, static_cast<uint32_t>(texts_.size())};
    auto length = static_cast<uint16_t>(name.size());
    texts_.append(reinterpret_cast<const char*>(&length), sizeof length).append(name);
    ++count_;
    return number;
  }
}

std::string_view WorkloadNames::name(uint32_t number) const {
  if (number == 0 || slots_.empty()) return {};
  const Slot& slot = slots_[place_of(number)];
  return slot.number == number ? text_at(slot.start) : std::string_view{};
}

size_t WorkloadNames::memory_bytes() const {
  return sizeof *this + slots_.capacity() * sizeof(Slot) + texts_.capacity();
}

/// Where the number stands, or the empty slot where it would.
size_t WorkloadNames::place_of(uint32_t number) const {
  size_t at = number & (slots_.size() - 1);
  while (slots_[at].number != number && slots_[at].number != 0) at = (at + 1) & (slots_.size() - 1);
  return at;
}

std::string_view WorkloadNames::text_at(uint32_t start) const {
  uint16_t length;
  std::memcpy(&length, texts_.data() + start, sizeof length);
  return std::string_view(texts_).substr(start + sizeof length, length);
}

void WorkloadNames::grow() {
  std::vector<Slot> old(slots_.empty() ? 64 : 2 * slots_.size());
  old.swap(slots_);
  for (const Slot& slot : old)
    if (slot.number != 0) slots_[place_of(slot.number)] = slot;
}

}  // namespace bulkhead
