// Route mode: where a packet goes next, and what a router owes to packets and neighbours (RFC 1812, RFC 826,
// RFC 4861).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "dataplane/fastpath/pipeline_state.h"
#include "dataplane/fastpath/router_hold.h"

namespace bulkhead {

/// One worker's router. Thread: that worker. Nothing in the packet path allocates.
class Router {
 public:
  static std::unique_ptr<Router> create(const PipelineParts& parts);
  ~Router();

  /// The longest connected or static route. Nothing where there is none.
  std::optional<NextHop> next_hop(const IpAddress& destination) const noexcept;
  /// Whether the address is one of the gateway's own.
  bool is_own(const IpAddress& address) const noexcept;

  /// Whether the frame isn't a router's to read: to another station's MAC, or to a group's while the packet
  /// inside isn't (RFC 1812 §5.3.4). `own`: of the port that it came in on.
  static bool is_for_other_station(const PacketRef& p, const MacAddress& own) noexcept;

  /// Whether the packet is one that no router passes, whatever policy says: to a directed broadcast (RFC
  /// 2644), or from one of our own addresses.
  bool never_routes(const PacketRef& p) const noexcept;

  /// Whether a datagram's TTL runs out in a fragment behind the first one, which admit() looks at.
  static bool is_expired_behind_first(const PacketRef& p) noexcept;
  /// Rewrites a datagram's other fragments as its first one was: link addresses, and one taken from the TTL.
  static void follow_first(rte_mbuf* datagram) noexcept;

  /// Where an allowed packet goes next; or nothing, and it was dropped and its sender told why: scope, TTL
  /// (RFC 1812 §5.3.1), route, MTU (packet-too-big, RFC 1191 and 8201).
  std::optional<NextHop> admit(PipelineState& s, const PacketRef& p, const Moment& m) noexcept;
  /// Sends an admitted packet to its next hop: TTL and MACs; held while the hop is resolved. Takes the
  /// packet.
  void deliver(PipelineState& s, const PacketRef& p, const NextHop& next, const Moment& m) noexcept;
  /// Both. Takes the packet.
  void forward(PipelineState& s, const PacketRef& p, const Moment& m) noexcept;
  /// A packet for one of the gateway's own addresses: an echo request is judged (segment `gateway`) and
  /// answered; all else is judged and consumed or dropped. Takes the packet.
  void receive(PipelineState& s, const PacketRef& p, const Moment& m) noexcept;
  /// ARP and neighbour discovery, already checked by inspect: answers for own addresses, learns what it asked
  /// for. Takes the packet.
  void resolve(PipelineState& s, const PacketRef& p, const Moment& m) noexcept;
  /// Sends an IP packet that the gateway made: link header rewritten for its destination. Takes it; counts
  /// nothing as originated (the caller did). `toward`: the port that a link-local destination is on.
  void send_own(PipelineState& s, rte_mbuf* mbuf, uint16_t l3, PortId toward, BootTime now) noexcept;

  /// Held packets whose neighbour answered are judged once more and leave; those that waited too long end as
  /// neighbour_unresolved. Bounded: a few hops a millisecond, and what fits the TxQueues.
  void maintain(PipelineState& s, const Moment& m) noexcept;
  /// When maintain() has something to do next; kNever: nothing is held.
  BootTime next_timer() const noexcept;

 private:
  struct Parts;
  explicit Router(std::unique_ptr<Parts> parts);
  /// What a neighbour says: of itself as it asks us, or as an answer, to whose question ever.
  enum class Said : uint8_t { kOfItself, kToAnybody };
  void learn(PortId port, const IpAddress& address, const MacAddress& mac, Said said, Millis now) noexcept;
  void pass(PipelineState& s, const PacketRef& p, bool own, const NextHop& next, Millis now) noexcept;
  void settle(PipelineState& s, HoldTable::Hop& hop, const Moment& m) noexcept;
  std::unique_ptr<Parts> parts_;
};

}  // namespace bulkhead
