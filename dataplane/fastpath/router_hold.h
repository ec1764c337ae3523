// Packets that wait for a next hop's answer: one record for each hop that is asked for, found by a secret
// hash.
#pragma once

#include <vector>

#include "dataplane/fastpath/flow.h"
#include "dataplane/fastpath/neighbour_table.h"
#include "dataplane/fastpath/packet.h"

struct rte_mbuf;

namespace bulkhead {

struct NextHop {
  PortId port;
  IpAddress hop;  ///< the destination itself where its subnet is connected
};

/// A packet that waits. One that passes through has what it is judged by once more when it leaves.
struct HeldPacket {
  rte_mbuf* mbuf = nullptr;
  PacketMeta meta{};
  PacketKey key{};
  bool own = false;  ///< the gateway made it: no key
  FlowBirth flow{};  ///< of the flow that it was allowed by; {}: it had none
};

/// One worker's. A fragmented datagram waits as one, and takes as much of the room as its fragments. Nothing
/// allocates after it is made; everything but the destructor costs a constant.
class HoldTable {
 public:
  static constexpr uint16_t kMost = 1024;         ///< packets, and so hops
  static constexpr uint16_t kMostOfHop = 8;       ///< packets or datagrams that wait for one hop
  static constexpr uint16_t kMostOfPort = 512;    ///< that came in on one port
  static constexpr uint16_t kMostOfSource = 128;  ///< from one IPv4 address or IPv6 /64
  static constexpr Millis kGiveUp = 3'000;        ///< three questions (RFC 4861 §10 MAX_MULTICAST_SOLICIT)
  static constexpr uint16_t kMostVisits = 32;     ///< of hops, in a millisecond

  /// A hop that packets wait for.
  struct Hop {
    NextHop next;
    Millis since = 0;
    uint16_t first = 0, last = 0;   ///< packets in order
    uint16_t count = 0;             ///< 0: the record is free
    uint16_t older = 0, newer = 0;  ///< in the order of `since`; newer: in the free list too
    uint16_t chained = 0;           ///< the next of its bucket
  };

  explicit HoldTable(const HashSeed& seed);
  ~HoldTable();  ///< frees packets that still wait
  HoldTable(const HoldTable&) = delete;
  HoldTable& operator=(const HoldTable&) = delete;

  /// Takes the packet. False: some share of the room is used up, and the packet stays the caller's.
  bool hold(const HeldPacket& packet, const IpAddress& source, const NextHop& next, Millis now) noexcept;

  /// The next hop to look at, oldest first and then in turn; nullptr: enough for this millisecond.
  Hop* visit(Millis now) noexcept;
  /// Has visit() give this hop next: it has answered.
  void answered(PortId port, const IpAddress& hop) noexcept;
  /// Takes out the hop's first packet; with its last one the hop goes too.
  HeldPacket take(Hop& hop) noexcept;

  bool empty() const noexcept { return oldest_ == kNone; }
  Millis oldest() const noexcept { return hops_[oldest_].since; }  ///< unless empty()

 private:
  static constexpr uint16_t kNone = 0xffff;
  static constexpr size_t kBuckets = 2048;
  static constexpr size_t kSources = 1024;  ///< by hash; those that share one share its room

  struct Slot {
    HeldPacket packet;
    uint16_t next = kNone;  ///< of its hop, or free
    uint16_t source = 0;
    uint16_t packets = 0;  ///< a datagram is several
    uint8_t port = 0;
  };
  static uint8_t port_account(const HeldPacket& packet) noexcept {
    return packet.own ? static_cast<uint8_t>(kMaxPorts) : packet.meta.in_port;
  }
  uint16_t source_account(const IpAddress& source) const noexcept;
  uint16_t& bucket_of(PortId port, const IpAddress& hop) noexcept;
  uint16_t find(PortId port, const IpAddress& hop) noexcept;
  uint16_t begin_hop(const NextHop& next, Millis now) noexcept;
  void end_hop(uint16_t index) noexcept;

  HashSeed seed_;
  std::vector<Slot> slots_;
  std::vector<Hop> hops_;
  std::vector<uint16_t> buckets_;
  std::vector<uint16_t> of_source_, of_port_;  ///< packets that wait, by account
  uint16_t free_slot_ = 0, free_hop_ = 0;
  uint16_t oldest_ = kNone, newest_ = kNone;
  uint16_t turn_ = kNone;  ///< the hop that visit() gives next; kNone: the oldest
  uint16_t visits_left_ = 0, hop_count_ = 0;
  uint16_t packets_ = 0;  ///< that wait
  Millis visited_ = 0;    ///< the millisecond that visits_left_ is for
};

}  // namespace bulkhead
