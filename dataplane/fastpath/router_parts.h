// What the files of the router share. Inside of them only.
#pragma once

#include "dataplane/fastpath/router.h"
#include "dataplane/fastpath/router_hold.h"
#include "dataplane/fastpath/router_table.h"

namespace bulkhead {

/// What an address is to a router, beside a destination.
inline constexpr uint32_t kOwnAddress = 1;        ///< link-local ones included
inline constexpr uint32_t kBroadcastAddress = 2;  ///< of a connected IPv4 subnet, or its network address

struct Router::Parts {
  explicit Parts(const PipelineParts& pipeline)
      : ports(pipeline.ports),
        neighbours(pipeline.neighbours),
        held(HashSeed{{pipeline.hash_seed[0], pipeline.hash_seed[1]}}),
        epoch(pipeline.epoch) {}

  std::span<const PortView> ports;
  NeighbourTable* neighbours;
  HoldTable held;
  BootTime epoch;
  RouteTable routes;
  AddressIndex special;  ///< kOwnAddress, kBroadcastAddress

  bool is_special(const IpAddress& address, uint32_t kind) const noexcept {
    uint32_t kinds = special.find(address);
    return kinds != AddressIndex::kNone && (kinds & kind) != 0;
  }

  Millis millis(BootTime t) const { return static_cast<Millis>((t.ns - epoch.ns) / 1'000'000); }
};

/// Link-local of either family (RFC 3927, RFC 4291 §2.5.6).
inline bool is_link_local(const IpAddress& a) noexcept {
  return a.is_v4() ? a.bytes[12] == 169 && a.bytes[13] == 254 : a.is_ipv6_link_local();
}

/// Of the flow that a packet belongs to, which may be held; {}: it has none.
FlowBirth birth_of_flow(PipelineState& s, const PacketRef& p) noexcept;

/// What policy and the packet's flow say of a held packet when it may leave: kNone, or why it may not.
/// `flow`: as birth_of_flow() had it then. One that has lost its permission is left to its next packet, or to
/// the sweep.
DropReason judge_held(PipelineState& s, const PacketRef& p, FlowBirth flow, const Moment& m) noexcept;

}  // namespace bulkhead
