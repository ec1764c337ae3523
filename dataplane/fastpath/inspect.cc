#include "dataplane/fastpath/inspect.h"

#include "base/bytes.h"
#include "dataplane/fastpath/flow_step.h"
#include "wire/arp.h"
#include "wire/icmp.h"
#include "wire/ipv6.h"

namespace bulkhead {
namespace {

/// Whether somebody on this port, with this MAC, may speak for `address`: the port's sources and the binding
/// agree.
bool may_speak_for(PipelineState& s, const PacketRef& p, const IpAddress& address, const MacAddress& mac,
                   const Moment& m) noexcept {
  const PortView& port = s.port(p.meta->in_port);
  if (!address.is_ipv6_link_local() && !may_originate(port, address)) return false;
  return !classify_source(*m.snapshot->endpoints, Origin{address, port.id, p.meta->vlan, mac}).spoofed;
}

/// What the checks need of a neighbour discovery message.
struct NdMessage {
  uint8_t type;
  IpAddress source, destination, target;
  std::span<const uint8_t> options;
};

/// Walks the options; false where one has length 0 or passes the end. `link_layer`: that option's address, if
/// it is there.
bool read_options(std::span<const uint8_t> options, uint8_t wanted, MacAddress& link_layer,
                  bool& found) noexcept {
  while (!options.empty()) {
    size_t bytes = options.size() < 2 ? 0 : size_t{options[1]} * 8;
    if (bytes == 0 || bytes > options.size()) return false;
    if (options[0] == wanted) {
      // One, of an Ethernet address: of several, stacks choose the first or the last.
      if (found || bytes != 8) return false;
      link_layer = load<MacAddress>(options.data() + 2);
      found = true;
    }
    options = options.subspan(bytes);
  }
  return true;
}

bool is_multicast(const IpAddress& a) noexcept {
  return a.bytes[0] == 0xff;
}

/// RFC 4861 §7.1.1: what a node must check of a solicitation.
bool solicitation_holds(PipelineState& s, const PacketRef& p, const NdMessage& nd, const Moment& m) noexcept {
  MacAddress link_layer;
  bool named = false;
  if (is_multicast(nd.target) || !read_options(nd.options, kNdOptionSourceLinkLayer, link_layer, named))
    return false;
  if (nd.source == IpAddress{})  // duplicate address detection: of an address that may be the sender's
    return is_multicast(nd.destination) && !named && may_speak_for(s, p, nd.target, source_mac(p), m);
  if (named && link_layer != source_mac(p)) return false;
  return may_speak_for(s, p, nd.source, source_mac(p), m);
}

/// RFC 4861 §7.1.2, and nobody advertises what isn't his.
bool advertisement_holds(PipelineState& s, const PacketRef& p, const NdMessage& nd,
                         const Moment& m) noexcept {
  MacAddress link_layer = source_mac(p);
  bool named = false;
  if (is_multicast(nd.target) || !read_options(nd.options, kNdOptionTargetLinkLayer, link_layer, named))
    return false;
  auto* frame = frame_of(p.mbuf) + p.meta->l4;
  bool solicited = (load<NeighbourMessage>(frame).flags.host() & kNdFlagSolicited) != 0;
  if (is_multicast(nd.destination) && solicited) return false;
  return may_speak_for(s, p, nd.source, source_mac(p), m) && may_speak_for(s, p, nd.target, link_layer, m);
}

/// RFC 4861 §6.1.2: what a host must check of a router advertisement.
bool advertises_itself(PipelineState& s, const PacketRef& p, const NdMessage& nd,
                       std::span<const uint8_t> message, const Moment& m) noexcept {
  constexpr size_t kFixedBytes = 16;
  MacAddress link_layer = source_mac(p);
  bool named = false;
  if (!nd.source.is_ipv6_link_local() || message.size() < kFixedBytes) return false;
  if (!read_options(message.subspan(kFixedBytes), kNdOptionSourceLinkLayer, link_layer, named)) return false;
  return link_layer == source_mac(p) && may_speak_for(s, p, nd.source, source_mac(p), m);
}

}  // namespace

DropReason inspect_arp(PipelineState& s, const PacketRef& p, const Moment& m) noexcept {
  constexpr DropReason kBad = DropReason::k_arp_invalid;
  const uint8_t* frame = frame_of(p.mbuf);
  if (rte_pktmbuf_data_len(p.mbuf) < p.meta->l3 + sizeof(ArpHeader)) return kBad;
  auto arp = load<ArpHeader>(frame + p.meta->l3);
  bool ethernet_ipv4 = arp.hardware_type.host() == kArpHardwareEthernet &&
                       arp.protocol_type.host() == static_cast<uint16_t>(EtherType::kIpv4) &&
                       arp.hardware_length == 6 && arp.protocol_length == 4;
  if (!ethernet_ipv4 || (arp.operation.host() != kArpRequest && arp.operation.host() != kArpReply))
    return kBad;
  if (arp.sender_mac != source_mac(p) || arp.sender_mac.is_multicast() || arp.sender_mac.is_zero())
    return kBad;
  uint32_t sender = arp.sender_ip.host();
  if (sender == 0) {  // a probe (RFC 5227 §2.1.1) of an address that may be the sender's
    bool holds = arp.operation.host() == kArpRequest &&
                 may_speak_for(s, p, IpAddress::v4(arp.target_ip.host()), arp.sender_mac, m);
    return holds ? DropReason::kNone : kBad;
  }
  uint8_t first = static_cast<uint8_t>(sender >> 24);
  if (first == 0 || first == 127 || first >= 224) return kBad;
  return may_speak_for(s, p, IpAddress::v4(sender), arp.sender_mac, m) ? DropReason::kNone : kBad;
}

DropReason inspect_neighbour(PipelineState& s, const PacketRef& p, const Moment& m) noexcept {
  constexpr DropReason kBad = DropReason::k_nd_invalid;
  const uint8_t* frame = frame_of(p.mbuf);
  auto ip = load<Ipv6Header>(frame + p.meta->l3);
  size_t bytes = static_cast<size_t>(p.meta->l3 + p.meta->ip_bytes - p.meta->l4);
  const uint8_t* at = frame + p.meta->l4;
  if (ip.hop_limit != kNdHopLimit || at[1] != 0) return kBad;
  NdMessage nd{at[0], IpAddress::v6(ip.source), IpAddress::v6(ip.destination), {}, {}};
  if (nd.type == kIcmpv6RouterAdvertisement) {
    if (s.port(p.meta->in_port).attached) return DropReason::k_ra_forbidden;
    return advertises_itself(s, p, nd, {at, bytes}, m) ? DropReason::kNone : kBad;
  }
  if (nd.type == kIcmpv6RouterSolicitation) {
    MacAddress link_layer;
    bool named = false;
    if (!read_options({at + 8, bytes - 8}, kNdOptionSourceLinkLayer, link_layer, named)) return kBad;
    if (nd.source == IpAddress{}) return named ? kBad : DropReason::kNone;
    return may_speak_for(s, p, nd.source, source_mac(p), m) ? DropReason::kNone : kBad;
  }
  if (bytes < sizeof(NeighbourMessage)) return kBad;
  nd.target = IpAddress::v6(at + 8);
  nd.options = {at + sizeof(NeighbourMessage), bytes - sizeof(NeighbourMessage)};
  bool holds = nd.type == kIcmpv6NeighbourSolicitation ? solicitation_holds(s, p, nd, m)
                                                       : advertisement_holds(s, p, nd, m);
  return holds ? DropReason::kNone : kBad;
}

}  // namespace bulkhead
