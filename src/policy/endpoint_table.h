// Which identity an address has: longest prefix over exact hash tables, one probe for each prefix length in
// use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/address.h"
#include "base/types.h"
#include "policy/large_pages.h"

namespace bulkhead {

enum EndpointFlag : uint8_t {
  kEndpointContained = 1,  ///< in quarantine
  kEndpointHasMac = 2,     ///< `mac` is part of the binding
  kEndpointHasVlan = 4,    ///< `vlan` is part of the binding
};

/// An address or prefix and whose it is. Also the format in which batches of them travel.
struct Endpoint {
  IpAddress address;  ///< bits after `bits` are 0
  uint32_t identity;  ///< IdentityId
  uint32_t workload;  ///< the control plane's number for it; 0: none
  uint16_t vlan;      ///< 1-4094 where kEndpointHasVlan; 0 there: untagged
  uint8_t bits;       ///< prefix length in the 128-bit form: 1-128
  uint8_t port;       ///< PortId that it is bound to; kPortNone: any
  uint8_t flags;      ///< EndpointFlag
  MacAddress mac;
  uint8_t reserved[5];
};
static_assert(sizeof(Endpoint) == 40);

/// The address under which the table keeps whose a MAC is, beside the addresses themselves: link-local IPv6
/// sources, which are no endpoint's own, are identified by their MAC. A multicast address (ff00:0:0:0:0:MAC),
/// which no endpoint has.
constexpr IpAddress mac_key(const MacAddress& mac) {
  IpAddress key;
  key.bytes[0] = 0xff;
  for (size_t i = 0; i < mac.bytes.size(); ++i) key.bytes[10 + i] = mac.bytes[i];
  return key;
}

/// An open-addressing table of endpoints, both families. One writer; readers only while nobody writes. An
/// IPv6 prefix never holds an IPv4 address, however short it is. Host addresses cost one probe, prefixes one
/// more for each distinct length that is present.
class EndpointTable {
 public:
  explicit EndpointTable(size_t expected_count = 0);

  /// The endpoint with the longest prefix that holds `address`, or nullptr. Never allocates.
  const Endpoint* find(const IpAddress& address) const noexcept;
  /// The endpoint of exactly this prefix, or nullptr.
  const Endpoint* find_exact(const IpAddress& address, uint8_t bits) const noexcept;
  /// Adds it, or replaces the one with the same prefix. Grows as needed. False, and nothing changed, when
  /// memory ran out or `bits` is not 1-128.
  bool put(const Endpoint& endpoint);
  /// Takes it out. False when it isn't there.
  bool remove(const IpAddress& address, uint8_t bits);

  size_t size() const { return size_; }
  size_t memory_bytes() const;
  /// Calls visit(const Endpoint&) for each, in no order.
  template <class Visit>
  void for_each(Visit visit) const {
    for (const Endpoint& slot : slots_)
      if (slot.bits != 0) visit(slot);
  }
  /// Starts the memory access that find(address) will need first.
  void prefetch(const IpAddress& address) const noexcept;

 private:
  /// The prefix lengths of one family that are in use, so that a look-up probes no other.
  struct Lengths {
    uint32_t count_of[129] = {};  ///< endpoints of each length
    uint8_t in_use[128] = {};     ///< those under 128 that have any, longest first
    uint8_t in_use_count = 0;
    void add(uint8_t bits);
    void take(uint8_t bits);
  };
  struct Key;  // an address and a prefix length, as words

  size_t home_of(const Key& key) const noexcept;
  size_t slot_of(const Key& key) const noexcept;
  bool resize(size_t slots);
  Lengths& lengths_of(const IpAddress& address) { return lengths_[address.is_v4() ? 0 : 1]; }

  std::vector<Endpoint, LargePageAllocator<Endpoint>> slots_;  ///< none, or a power of two; bits 0: empty
  uint64_t mask_ = 0;
  size_t size_ = 0;
  uint64_t seed_ = 0;
  Lengths lengths_[2];  ///< of IPv4 (96-128 bits), of IPv6
};

}  // namespace bulkhead
