#include "dataplane/fastpath/router.h"

#include <algorithm>

#include "base/bytes.h"
#include "dataplane/fastpath/answer.h"
#include "dataplane/fastpath/fragments.h"
#include "dataplane/fastpath/overlay.h"
#include "dataplane/fastpath/router_parts.h"
#include "dataplane/fastpath/solicit.h"
#include "wire/checksum.h"
#include "wire/icmp.h"

namespace bulkhead {
namespace {

uint8_t& ttl_of(uint8_t* ip, bool v4) noexcept {
  return ip[v4 ? 8 : 7];
}

/// Takes one from the TTL and mends the IPv4 checksum (RFC 1624).
void decrement_ttl(uint8_t* ip, bool v4) noexcept {
  if (!v4) {
    --ip[7];
    return;
  }
  uint16_t before = load<uint16_t>(ip + 8);  // TTL and protocol are one word
  --ip[8];
  store(ip + 10, checksum_update(load<uint16_t>(ip + 10), before, load<uint16_t>(ip + 8)));
}

/// Multicast, and the limited broadcast (RFC 919 §7).
bool is_group(const IpAddress& a) noexcept {
  return a.is_v4() ? a.bytes[12] >> 4 == 0xe || a.v4_host() == 0xffffffff : a.bytes[0] == 0xff;
}

}  // namespace

Router::Router(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Router::~Router() = default;

/// What the gateway's addresses and their subnets are to it.
static std::map<IpAddress, uint32_t> special_addresses(std::span<const PortView> ports) {
  std::map<IpAddress, uint32_t> special;
  for (const PortView& port : ports) {
    special[link_local_of(port.mac)] |= kOwnAddress;
    for (const Prefix& address : port.addresses) {
      special[address.address] |= kOwnAddress;
      if (!address.address.is_v4() || address.bits >= 127) continue;
      uint32_t hosts = (1u << (128 - address.bits)) - 1, net = address.address.v4_host() & ~hosts;
      special[IpAddress::v4(net)] |= kBroadcastAddress;
      special[IpAddress::v4(net | hosts)] |= kBroadcastAddress;
    }
  }
  return special;
}

/// Connected subnets, then what the configuration names.
static std::vector<RouteEntry> all_routes(const PipelineParts& pipeline) {
  std::vector<RouteEntry> routes;
  for (const PortView& port : pipeline.ports)
    for (const Prefix& own : port.addresses)
      routes.push_back({Prefix{masked(own.address, own.bits), own.bits}, port.id, std::nullopt});
  for (const RouteSetting& route : pipeline.settings->routes)
    for (const PortView& port : pipeline.ports)
      for (const Prefix& own : port.addresses)
        if (own.contains(route.via)) routes.push_back({route.to, port.id, route.via});
  return routes;
}

std::unique_ptr<Router> Router::create(const PipelineParts& pipeline) {
  auto parts = std::make_unique<Parts>(pipeline);
  parts->routes = RouteTable(all_routes(pipeline));
  parts->special = AddressIndex(special_addresses(pipeline.ports));
  for (const PortView& port : pipeline.ports)
    for (const NeighbourSetting& n : port.neighbours) parts->neighbours->fix(port.id, n.address, n.mac);
  return std::unique_ptr<Router>(new Router(std::move(parts)));
}

std::optional<NextHop> Router::next_hop(const IpAddress& destination) const noexcept {
  const RouteEntry* route = parts_->routes.find(destination);
  if (route == nullptr) return std::nullopt;
  return NextHop{route->port, route->via.value_or(destination)};
}

bool Router::is_own(const IpAddress& address) const noexcept {
  return parts_->is_special(address, kOwnAddress);
}

bool Router::is_for_other_station(const PacketRef& p, const MacAddress& own) noexcept {
  const uint8_t* frame = frame_of(p.mbuf);
  auto to = load<MacAddress>(frame);
  if (!to.is_multicast()) return to != own;
  if (p.meta->kind == PacketKind::kArp || p.meta->kind == PacketKind::kNeighbour) return false;
  return !is_group(destination_of(p));
}

bool Router::never_routes(const PacketRef& p) const noexcept {
  return parts_->is_special(source_of(p), kOwnAddress | kBroadcastAddress) ||
         parts_->is_special(destination_of(p), kBroadcastAddress);
}

bool Router::is_expired_behind_first(const PacketRef& p) noexcept {
  for (rte_mbuf* f = p.mbuf->next; f != nullptr; f = f->next)
    if (ttl_of(frame_of(f) + p.meta->l3, p.meta->family == 4) <= 1) return true;
  return false;
}

void Router::follow_first(rte_mbuf* datagram) noexcept {
  const uint8_t* first = frame_of(datagram);
  for (rte_mbuf* f = datagram->next; f != nullptr; f = f->next) {
    uint8_t* frame = frame_of(f);
    std::memcpy(frame, first, offsetof(EthernetHeader, ether_type));
    uint8_t* ip = frame + sizeof(EthernetHeader);  // a router's frames have no tag
    if (!is_originated(datagram)) decrement_ttl(ip, ip[0] >> 4 == 4);
  }
}

/// Writes the link header of a packet whose next hop is known.
static void address_frame(uint8_t* frame, const PortView& port, const MacAddress& to) noexcept {
  std::memcpy(frame, to.bytes.data(), 6);
  std::memcpy(frame + 6, port.mac.bytes.data(), 6);
}

/// Asks for a neighbour where that is due.
static void ask(PipelineState& s, NeighbourTable& neighbours, const NextHop& next, Millis now) noexcept {
  Question question = neighbours.ask(next.port, next.hop, now);
  if (question.to == Question::To::kNobody) return;
  const MacAddress* owner = question.to == Question::To::kOwner ? &question.owner : nullptr;
  const PortView& port = s.port(next.port.value);
  const IpAddress* own = own_address_for(port, next.hop);
  rte_mbuf* mbuf = own != nullptr ? make_solicitation(s, port.mac, *own, next.hop, owner) : nullptr;
  if (mbuf == nullptr) return;
  add(s.counters().originated, 1);
  put_own(s, mbuf, next.port);
}

/// Tells a packet's sender why it goes no farther, from the address that it knows the gateway by; at a
/// limited rate.
static void answer_error(PipelineState& s, const PacketRef& p, IcmpError error, const Moment& m) noexcept {
  const PortView& port = s.port(p.meta->in_port);
  IpAddress source = source_of(p);
  const IpAddress* own = own_address_for(port, source);
  if (own == nullptr) return;
  // At its own cost: what one workload provokes must not use up what others are told.
  End sender = classify_source(*m.snapshot->endpoints, Origin{source, port.id, p.meta->vlan, source_mac(p),
                                                              known_tag(s, p.meta->tag)});
  if (s.rejects.take(sender.identity, m.ticks)) originate(s, make_icmp_error(s, p, *own, error), port.id);
}

std::optional<NextHop> Router::admit(PipelineState& s, const PacketRef& p, const Moment& m) noexcept {
  uint8_t* ip = frame_of(p.mbuf) + p.meta->l3;
  bool v4 = p.meta->family == 4;
  auto refuse = [&](DropReason reason) {
    drop(s, p, reason);
    return std::nullopt;
  };
  IpAddress destination = destination_of(ip, v4);
  if (is_group(destination)) return refuse(DropReason::k_multicast_unsupported);
  IpAddress source = source_of(ip, v4);
  if (is_link_local(destination) || is_link_local(source))
    return refuse(DropReason::k_ip_address_invalid);  // link-local scope (RFC 3927 §2.7, RFC 4291 §2.5.6)
  if (source == IpAddress{} || source == IpAddress::v4(0))
    return refuse(DropReason::k_ip_address_invalid);  // RFC 1812 §5.3.7, RFC 4291 §2.5.2
  if (ttl_of(ip, v4) <= 1) {
    answer_error(s, p, {v4 ? kIcmpTimeExceeded : kIcmpv6TimeExceeded, 0}, m);
    return refuse(DropReason::k_ip_ttl_expired);
  }
  auto next = next_hop(destination);
  if (!next) {
    answer_error(s, p, {v4 ? kIcmpUnreachable : kIcmpv6Unreachable, 0}, m);
    return refuse(DropReason::k_no_route);
  }
  uint16_t mtu = s.port(next->port.value).mtu;
  if (p.meta->ip_bytes > mtu) {
    IcmpError too_big{kIcmpv6PacketTooBig, 0, mtu};
    if (v4) too_big = {kIcmpUnreachable, kIcmpFragmentationNeeded, mtu};
    answer_error(s, p, too_big, m);
    return refuse(DropReason::k_packet_too_big);
  }
  return next;
}

void Router::forward(PipelineState& s, const PacketRef& p, const Moment& m) noexcept {
  if (auto next = admit(s, p, m)) deliver(s, p, *next, m);
}

void Router::deliver(PipelineState& s, const PacketRef& p, const NextHop& next, const Moment& m) noexcept {
  learn_station(s, p.mbuf);
  decrement_ttl(frame_of(p.mbuf) + p.meta->l3, p.meta->family == 4);
  pass(s, p, false, next, parts_->millis(m.now));
}

/// Sends a packet to its next hop where that has answered; else it waits, and the hop is asked for. Takes the
/// packet. `own`: the gateway made it.
void Router::pass(PipelineState& s, const PacketRef& p, bool own, const NextHop& next, Millis now) noexcept {
  auto neighbour = parts_->neighbours->find(next.port, next.hop, now);
  if (neighbour) {
    if (neighbour->question_due) ask(s, *parts_->neighbours, next, now);
    address_frame(frame_of(p.mbuf), s.port(next.port.value), neighbour->mac);
    return send(s, p, next.port);
  }
  uint32_t packets = packets_in(p.mbuf);
  HeldPacket packet{p.mbuf, *p.meta, own ? PacketKey{} : *p.key, own,
                    own ? FlowBirth{} : birth_of_flow(s, p)};
  if (!parts_->held.hold(packet, source_of(p), next, now)) return drop(s, p, DropReason::k_hold_limit);
  ask(s, *parts_->neighbours, next, now);
  add(s.counters().held, packets);
  if (p.verdict != nullptr) p.verdict->fate = Fate::kHold;
}

void Router::send_own(PipelineState& s, rte_mbuf* mbuf, uint16_t l3, PortId toward, BootTime now) noexcept {
  PacketMeta meta{};
  meta.l3 = l3;
  meta.family = frame_of(mbuf)[l3] >> 4;
  for (const rte_mbuf* f = mbuf; f != nullptr; f = f->next)
    meta.ip_bytes = std::max(meta.ip_bytes, static_cast<uint16_t>(f->data_len - l3));
  PacketVerdict verdict = kNotJudged;
  PacketRef p{mbuf, &meta, nullptr, &verdict};
  IpAddress destination = destination_of(p);
  auto next = is_link_local(destination) ? NextHop{toward, destination} : next_hop(destination);
  if (!next) return drop(s, p, DropReason::k_no_route);
  pass(s, p, true, *next, parts_->millis(now));
  if (verdict.fate == Fate::kForward && is_datagram(mbuf)) part_datagram(s, verdict);
}

/// Lets a held packet go. `to`: its neighbour's MAC; nullptr: there was no answer.
static void release(PipelineState& s, HeldPacket& held, const NextHop& next, const MacAddress* to,
                    const Moment& m) noexcept {
  add(s.counters().held, -uint64_t{packets_in(held.mbuf)});
  PacketVerdict verdict = kNotJudged;
  PacketRef p{held.mbuf, &held.meta, &held.key, &verdict};
  DropReason reason = DropReason::kNone;
  if (to == nullptr)
    reason = DropReason::k_neighbour_unresolved;
  else if (!held.own)
    reason = judge_held(s, p, held.flow, m);
  FragmentNames names(s, p.mbuf);
  if (reason == DropReason::kNone) {
    address_frame(frame_of(p.mbuf), s.port(next.port.value), *to);
    send(s, p, next.port);
  } else {
    drop(s, p, reason);
  }
  if (verdict.fate == Fate::kForward && is_datagram(p.mbuf)) verdict = part_datagram(s, verdict);
  if (verdict.fate == Fate::kHold) return;  // it waits for room, and is told of when it has left
  for (const rte_mbuf* name : names) note_late(s, name, verdict.fate, verdict.reason, verdict.out);
}

/// A hop that packets wait for: they leave as far as the port's TxQueue has room, or it is asked for again,
/// or given up.
void Router::settle(PipelineState& s, HoldTable::Hop& hop, const Moment& m) noexcept {
  Millis now = parts_->millis(m.now);
  NextHop next = hop.next;
  auto neighbour = parts_->neighbours->find(next.port, next.hop, now);
  bool over = age_of(hop.since, now) >= HoldTable::kGiveUp;
  if (!neighbour && !over) return ask(s, *parts_->neighbours, next, now);
  for (uint16_t left = hop.count; left != 0; --left) {
    if (neighbour) {
      uint16_t copies = places_for(s, next.port, neighbour->mac);
      if (s.tx[next.port.value].count + std::max<uint16_t>(copies, 1) > most_in_use(copies)) return;
    }
    HeldPacket held = parts_->held.take(hop);
    release(s, held, next, neighbour ? &neighbour->mac : nullptr, m);
  }
}

void Router::maintain(PipelineState& s, const Moment& m) noexcept {
  Millis now = parts_->millis(m.now);
  while (HoldTable::Hop* hop = parts_->held.visit(now)) settle(s, *hop, m);
}

BootTime Router::next_timer() const noexcept {
  if (parts_->held.empty()) return kNever;
  Millis end = parts_->held.oldest() + HoldTable::kGiveUp;
  return BootTime{parts_->epoch.ns + static_cast<int64_t>(end) * 1'000'000};
}

}  // namespace bulkhead
