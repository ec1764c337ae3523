#include "policy/endpoint_table.h"

#include <sys/random.h>

#include <bit>
#include <new>
#include <stdexcept>

#include "base/bytes.h"
#include "base/check.h"

namespace bulkhead {

/// A prefix as two words in memory order, for masking, comparing and hashing without touching single bytes.
struct EndpointTable::Key {
  uint64_t high;
  uint64_t low;
  uint8_t bits;

  Key(const IpAddress& address, uint8_t length)
      : high(load<uint64_t>(address.bytes.data())),
        low(load<uint64_t>(address.bytes.data() + 8)),
        bits(length) {}

  /// The prefix of `length` bits (1-127) that holds this address.
  Key shortened(uint8_t length) const {
    Key shorter = *this;
    shorter.bits = length;
    shorter.high &= length >= 64 ? ~uint64_t{0} : leading_ones(length);
    shorter.low &= length <= 64 ? 0 : leading_ones(static_cast<uint8_t>(length - 64));
    return shorter;
  }
  bool is(const Endpoint& endpoint) const {
    const uint8_t* bytes = endpoint.address.bytes.data();
    return bits == endpoint.bits && low == load<uint64_t>(bytes + 8) && high == load<uint64_t>(bytes);
  }

 private:
  /// The first 1 to 64 bits in network order, as a word in memory order.
  static uint64_t leading_ones(uint8_t count) { return __builtin_bswap64(~uint64_t{0} << (64 - count)); }
};
static_assert(std::endian::native == std::endian::little);

namespace {

constexpr size_t kFewestSlots = 16;

/// Two thirds full at most: probes stay short, and 1,000,000 endpoints take 84 bytes each.
constexpr bool too_full(size_t endpoints, size_t slots) {
  return endpoints * 3 > slots * 2;
}

size_t slots_for(size_t endpoints) {
  size_t slots = kFewestSlots;
  while (too_full(endpoints, slots)) slots *= 2;
  return slots;
}

/// Both halves of a 128-bit product, folded.
inline uint64_t multiply_fold(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

EndpointTable::EndpointTable(size_t expected_count) {
  BULKHEAD_CHECK(getrandom(&seed_, sizeof seed_, 0) == sizeof seed_);
  if (expected_count != 0) resize(slots_for(expected_count));
}

/// Keyed with a secret, and not linear in it as a CRC would be: an attacker chooses the addresses that are
/// looked up.
size_t EndpointTable::home_of(const Key& key) const noexcept {
  uint64_t mixed = multiply_fold(key.high ^ seed_, key.low ^ 0x9e3779b97f4a7c15);
  return multiply_fold(mixed ^ key.bits, seed_ ^ 0xd6e8feb86659fd93) & mask_;
}

/// Where the prefix stands, or the empty slot where it would. The table has slots, one of them empty.
size_t EndpointTable::slot_of(const Key& key) const noexcept {
  size_t slot = home_of(key);
  while (slots_[slot].bits != 0 && !key.is(slots_[slot])) slot = (slot + 1) & mask_;
  return slot;
}

const Endpoint* EndpointTable::find(const IpAddress& address) const noexcept {
  if (size_ == 0) return nullptr;
  const Lengths& lengths = lengths_[address.is_v4() ? 0 : 1];
  const Key host(address, 128);
  if (lengths.count_of[128] != 0) {
    const Endpoint& slot = slots_[slot_of(host)];
    if (slot.bits != 0) return &slot;
  }
  for (size_t i = 0; i < lengths.in_use_count; ++i) {
    const Endpoint& slot = slots_[slot_of(host.shortened(lengths.in_use[i]))];
    if (slot.bits != 0) return &slot;
  }
  return nullptr;
}

const Endpoint* EndpointTable::find_exact(const IpAddress& address, uint8_t bits) const noexcept {
  if (size_ == 0 || bits == 0) return nullptr;
  const Endpoint& slot = slots_[slot_of(Key(address, bits))];
  return slot.bits != 0 ? &slot : nullptr;
}

void EndpointTable::prefetch(const IpAddress& address) const noexcept {
  if (size_ == 0) return;
  const Lengths& lengths = lengths_[address.is_v4() ? 0 : 1];
  Key first(address, 128);
  if (lengths.count_of[128] == 0 && lengths.in_use_count != 0) first = first.shortened(lengths.in_use[0]);
  const auto* slot = reinterpret_cast<const char*>(&slots_[home_of(first)]);
  __builtin_prefetch(slot);
  __builtin_prefetch(slot + sizeof(Endpoint) - 1);  // a slot may lie on two lines
}

bool EndpointTable::put(const Endpoint& endpoint) {
  if (endpoint.bits == 0 || endpoint.bits > 128) return false;
  if (slots_.empty() && !resize(kFewestSlots)) return false;
  size_t slot = slot_of(Key(endpoint.address, endpoint.bits));
  if (slots_[slot].bits != 0) {
    slots_[slot] = endpoint;
    return true;
  }
  if (too_full(size_ + 1, slots_.size())) {
    if (!resize(slots_.size() * 2)) return false;
    slot = slot_of(Key(endpoint.address, endpoint.bits));
  }
  slots_[slot] = endpoint;
  ++size_;
  lengths_of(endpoint.address).add(endpoint.bits);
  return true;
}

/// Closes the gap by moving back what could no longer be found across it, so that no tombstones pile up.
bool EndpointTable::remove(const IpAddress& address, uint8_t bits) {
  if (size_ == 0 || bits == 0) return false;
  size_t gap = slot_of(Key(address, bits));
  if (slots_[gap].bits == 0) return false;
  for (size_t next = (gap + 1) & mask_; slots_[next].bits != 0; next = (next + 1) & mask_) {
    size_t home = home_of(Key(slots_[next].address, slots_[next].bits));
    bool reachable_without_gap = ((next - home) & mask_) < ((next - gap) & mask_);
    if (reachable_without_gap) continue;
    slots_[gap] = slots_[next];
    gap = next;
  }
  slots_[gap] = Endpoint{};
  --size_;
  lengths_of(address).take(bits);
  return true;
}

size_t EndpointTable::memory_bytes() const {
  return sizeof *this + slots_.capacity() * sizeof(Endpoint);
}

bool EndpointTable::resize(size_t slots) {
  decltype(slots_) old;
  try {
    old.resize(slots);
  } catch (const std::bad_alloc&) {
    return false;
  } catch (const std::length_error&) {
    return false;
  }
  old.swap(slots_);
  mask_ = slots - 1;
  for (const Endpoint& endpoint : old)
    if (endpoint.bits != 0) slots_[slot_of(Key(endpoint.address, endpoint.bits))] = endpoint;
  return true;
}

void EndpointTable::Lengths::add(uint8_t bits) {
  if (count_of[bits]++ != 0 || bits == 128) return;
  size_t at = in_use_count++;
  for (; at > 0 && in_use[at - 1] < bits; --at) in_use[at] = in_use[at - 1];
  in_use[at] = bits;
}

void EndpointTable::Lengths::take(uint8_t bits) {
  if (--count_of[bits] != 0 || bits == 128) return;
  size_t at = 0;
  while (in_use[at] != bits) ++at;
  for (--in_use_count; at < in_use_count; ++at) in_use[at] = in_use[at + 1];
}

}  // namespace bulkhead
