#include "cli/direction.h"

#include <algorithm>

#include "wire/arp.h"
#include "wire/ethernet.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"

namespace bulkhead {
namespace {

/// The header at the front of `bytes`, where all of it is there.
template <class Header>
std::optional<Header> read_front(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(Header)) return std::nullopt;
  return load<Header>(bytes.data());
}

/// An address that can tell something: not :: or 0.0.0.0 (duplicate address detection, ARP probes, DHCP).
std::optional<IpAddress> specified(const IpAddress& address) {
  if (address == IpAddress{} || address == IpAddress::v4(0)) return std::nullopt;
  return address;
}

}  // namespace

FrameEnds frame_ends(std::span<const std::byte> frame) {
  FrameEnds ends;
  auto ethernet = read_front<EthernetHeader>(frame);
  if (!ethernet) return ends;
  ends.source_mac = ethernet->source;
  auto type = static_cast<EtherType>(ethernet->ether_type.host());
  std::span<const std::byte> rest = frame.subspan(sizeof(EthernetHeader));
  while (type == EtherType::kVlan || type == EtherType::kQinq) {
    auto vlan = read_front<VlanHeader>(rest);
    if (!vlan) return ends;
    type = static_cast<EtherType>(vlan->ether_type.host());
    rest = rest.subspan(sizeof(VlanHeader));
  }
  if (auto ip = read_front<Ipv4Header>(rest); ip && type == EtherType::kIpv4) {
    ends.source = specified(IpAddress::v4(ip->source.host()));
    ends.destination = specified(IpAddress::v4(ip->destination.host()));
  } else if (auto ip6 = read_front<Ipv6Header>(rest); ip6 && type == EtherType::kIpv6) {
    ends.source = specified(IpAddress::v6(ip6->source));
    ends.destination = specified(IpAddress::v6(ip6->destination));
  } else if (auto arp = read_front<ArpHeader>(rest); arp && type == EtherType::kArp) {
    ends.source = specified(IpAddress::v4(arp->sender_ip.host()));
    ends.destination = specified(IpAddress::v4(arp->target_ip.host()));
  }
  return ends;
}

/// The one of `ports` that the address belongs to: by its binding, else by the longest of their `sources`.
std::optional<PortId> DirectionFinder::port_of(const IpAddress& address,
                                               std::span<const PortId> ports) const {
  const Endpoint* endpoint = endpoints_ != nullptr ? endpoints_->find(address) : nullptr;
  if (endpoint != nullptr && std::ranges::find(ports, PortId{endpoint->port}) != ports.end())
    return PortId{endpoint->port};
  std::optional<PortId> best;
  int longest = -1;
  for (PortId port : ports)
    for (const Prefix& prefix : settings_.ports[port.value].sources)
      if (prefix.contains(address) && prefix.bits > longest) {
        longest = prefix.bits;
        best = port;
      }
  return best;
}

DirectionFinder::Found DirectionFinder::find(std::span<const std::byte> frame,
                                             std::span<const PortId> ports) {
  FrameEnds ends = frame_ends(frame);
  auto learn = [&](PortId port) {
    if (!ends.source_mac.is_multicast()) seen_[ends.source_mac] = port;
    return Found{port};
  };
  if (ends.source)
    if (auto port = port_of(*ends.source, ports)) return learn(*port);
  auto seen = seen_.find(ends.source_mac);
  if (seen != seen_.end() && std::ranges::find(ports, seen->second) != ports.end()) return {seen->second};
  if (ends.destination && ports.size() == 2)
    if (auto port = port_of(*ends.destination, ports)) return learn(*port == ports[0] ? ports[1] : ports[0]);
  auto takes_any = [&](PortId port) { return settings_.ports[port.value].any_source; };
  if (std::ranges::count_if(ports, takes_any) == 1) return {*std::ranges::find_if(ports, takes_any)};
  return {ports[0], true};
}

}  // namespace bulkhead
