// Fragments that wait for the rest of their datagram (RFC 791 §3.2, RFC 8200 §4.5). What overlaps ends its
// datagram in both families (RFC 5722). One worker's; nothing allocates after it is made, and everything
// costs a constant: chains are hashed with a secret, and a datagram has few fragments.
#pragma once

#include <cstdint>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/drop_reason.h"
#include "base/types.h"
#include "dataplane/fastpath/flow_hash.h"
#include "dataplane/fastpath/hash_chains.h"
#include "dataplane/fastpath/index_list.h"
#include "dataplane/fastpath/ranking.h"

struct rte_mbuf;

namespace bulkhead {

/// What the fragments of a datagram have in common, the way that they came in by included. 48 bytes.
struct FragmentKey {
  IpAddress source, destination;
  uint32_t id = 0;
  uint16_t vlan = 0;
  MacAddress mac;  ///< the sender's
  uint8_t port = 0;
  IpProto proto{};  ///< of IPv4; of IPv6 the ID alone tells datagrams apart (RFC 8200 §4.5)
  SegmentTag tag;   ///< as PacketMeta's
  bool operator==(const FragmentKey& other) const { return std::memcmp(this, &other, sizeof *this) == 0; }
};
static_assert(sizeof(FragmentKey) == 48);

/// The worker that all fragments from an IPv4 address or IPv6 /64 belong to, so that its limits are exact.
unsigned fragment_owner(const IpAddress& source, const HashSeed& seed, unsigned workers) noexcept;

struct Fragment {
  rte_mbuf* mbuf;          ///< only a name to the table
  const uint8_t* payload;  ///< in the mbuf
  uint16_t offset, bytes;  ///< of the payload within the datagram's
  bool more;
};

class FragmentTable {
 public:
  static constexpr uint16_t kMostOfDatagram = 128;  ///< fragments: 64 KiB in pieces of 512 bytes
  static constexpr uint32_t kNone = kNoIndex;

  struct Limits {
    uint32_t datagrams;   ///< held or refused at a time
    uint32_t per_source;  ///< of them
    uint32_t fragments;   ///< held at a time
    Nanoseconds timeout;  ///< from a datagram's first fragment on
  };

  FragmentTable(const Limits& limits, const HashSeed& seed);

  /// The datagram of that key, or kNone.
  uint32_t find(const FragmentKey& key) const noexcept;
  /// Whether its timeout has passed.
  bool is_over(uint32_t datagram, BootTime now) const noexcept;
  /// Why its fragments are all dropped; kNone: they aren't.
  DropReason refused(uint32_t datagram) const noexcept { return datagrams_[datagram].refused; }

  bool is_full() const noexcept { return free_datagram_ == kNone; }
  /// Whether the source has its share of datagrams already. An IPv4 address is one; of an IPv6 /64, where a
  /// sender has any address that it likes, what is one segment's, since several may share a link.
  bool is_share_used(const IpAddress& source, SegmentTag segment) const noexcept;
  /// Begins a datagram; only where !is_full().
  uint32_t begin(const FragmentKey& key, SegmentTag segment, BootTime now) noexcept;

  /// How a fragment goes with those that are there.
  enum class Fit : uint8_t {
    kFits,
    kDuplicate,  ///< the very same one
    kOverlaps,   ///< or contradicts where the datagram ends
    kTooMany,
  };
  Fit fit(uint32_t datagram, const Fragment& fragment) const noexcept;
  /// Takes a fragment that fits; only where fragments() is below the limit.
  void add(uint32_t datagram, const Fragment& fragment) noexcept;
  bool is_complete(uint32_t datagram) const noexcept;

  /// Takes out the datagram's first fragment in order of offset; nullptr: there is none left.
  rte_mbuf* take(uint32_t datagram) noexcept;
  /// Remembers a datagram without fragments as refused, until its timeout or until the room is needed.
  void refuse(uint32_t datagram, DropReason reason) noexcept;
  /// Forgets a datagram without fragments.
  void end(uint32_t datagram) noexcept;

  /// Of the segment that holds the most datagrams, the one to give up: a refused one, else the oldest.
  uint32_t datagram_to_evict() const noexcept;
  /// Of the segment that holds the most fragments, the oldest datagram that has any; kNone: nobody has.
  uint32_t holder_to_evict() const noexcept;

  /// The datagram whose timeout is next; kNone: there is none.
  uint32_t oldest() const noexcept { return by_age_.first; }
  BootTime timeout_of(uint32_t datagram) const noexcept;
  uint32_t datagrams() const noexcept { return datagram_count_; }
  uint32_t fragments() const noexcept { return fragment_count_; }

 private:
  struct Datagram {
    FragmentKey key;
    uint64_t hash = 0;
    BootTime since;
    uint32_t source = 0;                   ///< of sources_
    uint32_t first = kNone, last = kNone;  ///< slots, in order of offset
    uint32_t received = 0, total = 0;      ///< bytes; total 0: the last fragment hasn't come
    uint16_t count = 0;
    uint16_t segment = 0;
    DropReason refused = DropReason::kNone;
    IndexLinks age, peers;  ///< age.after: in the free list too
  };
  struct Slot {
    Fragment fragment;
    uint32_t next = kNone;  ///< of its datagram, or free
  };
  struct Source {
    IpAddress account;
    uint32_t datagrams = 0;
    uint32_t next_free = kNone;
  };
  /// The datagrams of a segment, in order of age: those that hold fragments, and the refused.
  using Peers = IndexList<Datagram, &Datagram::peers>;
  struct Segment {
    Peers holding, refused;
  };
  struct Place {
    uint32_t before, after;
  };

  Place place_of(const Datagram& datagram, uint16_t offset) const noexcept;
  Peers& peers_of(const Datagram& datagram) noexcept;
  uint32_t find_source(const IpAddress& account) const noexcept;
  uint32_t enter_source(const IpAddress& account) noexcept;
  void leave_source(uint32_t source) noexcept;

  Limits limits_;
  HashSeed seed_;
  std::vector<Datagram> datagrams_;
  std::vector<Slot> slots_;
  std::vector<Source> sources_;
  std::vector<Segment> segments_;  ///< by tag
  HashChains by_key_, by_account_;
  Ranking most_datagrams_, most_fragments_;  ///< of segments
  IndexList<Datagram, &Datagram::age> by_age_;
  uint32_t free_datagram_ = 0, free_slot_ = 0, free_source_ = 0;
  uint32_t datagram_count_ = 0, fragment_count_ = 0;
};

}  // namespace bulkhead
