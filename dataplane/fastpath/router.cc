#include "dataplane/fastpath/router.h"

#include <algorithm>

#include "base/bytes.h"
#include "dataplane/fastpath/answer.h"
#include "dataplane/fastpath/flow_open.h"
#include "dataplane/fastpath/solicit.h"
#include "wire/arp.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/icmp.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"

namespace bulkhead {
namespace {

constexpr size_t kMostHeld = 1024;   ///< packets that wait for neighbours, a worker
constexpr size_t kMostHeldEach = 8;  ///< of them for one neighbour
constexpr Millis kGiveUp = 3000;     ///< three requests (RFC 4861 §10 MAX_MULTICAST_SOLICIT)

struct RouteEntry {
  Prefix to;
  PortId port;
  std::optional<IpAddress> via;  ///< none: connected
};

struct HeldPacket {
  rte_mbuf* mbuf = nullptr;  ///< nullptr: free
  NextHop next;
  Millis since = 0;
  uint16_t ip_bytes = 0;
};

IpAddress destination_of(const uint8_t* ip, bool v4) noexcept {
  return v4 ? IpAddress::v4(load<Be32>(ip + 16).host()) : IpAddress::v6(ip + 24);
}
IpAddress source_of(const uint8_t* ip, bool v4) noexcept {
  return v4 ? IpAddress::v4(load<Be32>(ip + 12).host()) : IpAddress::v6(ip + 8);
}

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

bool is_multicast(const IpAddress& a) noexcept {
  return a.is_v4() ? a.bytes[12] >> 4 == 0xe : a.bytes[0] == 0xff;
}
bool is_link_local(const IpAddress& a) noexcept {
  return a.is_v4() ? a.bytes[12] == 169 && a.bytes[13] == 254 : a.is_ipv6_link_local();
}

}  // namespace

struct Router::Parts {
  std::span<const PortView> ports;
  NeighbourTable* neighbours;
  std::vector<RouteEntry> routes;     ///< longest first
  std::vector<IpAddress> own;         ///< link-local ones included
  std::vector<IpAddress> broadcasts;  ///< of connected IPv4 subnets, and their network addresses
  std::vector<HeldPacket> held;
  size_t held_count = 0;
  Millis oldest_held = 0;
  BootTime epoch;

  Millis millis(BootTime t) const { return static_cast<Millis>((t.ns - epoch.ns) / 1'000'000); }
};

Router::Router(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Router::~Router() {
  for (HeldPacket& h : parts_->held)
    if (h.mbuf != nullptr) rte_pktmbuf_free(h.mbuf);
}

std::unique_ptr<Router> Router::create(const PipelineParts& pipeline) {
  auto parts = std::make_unique<Parts>();
  parts->ports = pipeline.ports;
  parts->neighbours = pipeline.neighbours;
  parts->epoch = pipeline.epoch;
  parts->held.resize(kMostHeld);
  for (const PortView& port : pipeline.ports) {
    parts->own.push_back(link_local_of(port.mac));
    for (const Prefix& address : port.addresses) {
      parts->own.push_back(address.address);
      parts->routes.push_back(
          {Prefix{masked(address.address, address.bits), address.bits}, port.id, std::nullopt});
      if (!address.address.is_v4() || address.bits >= 127) continue;
      uint32_t hosts = (1u << (128 - address.bits)) - 1, net = address.address.v4_host() & ~hosts;
      parts->broadcasts.push_back(IpAddress::v4(net));
      parts->broadcasts.push_back(IpAddress::v4(net | hosts));
    }
    for (const NeighbourSetting& n : port.neighbours) parts->neighbours->fix(port.id, n.address, n.mac);
  }
  for (const RouteSetting& route : pipeline.settings->routes) {
    for (const PortView& port : pipeline.ports)
      for (const Prefix& address : port.addresses)
        if (address.contains(route.via)) parts->routes.push_back({route.to, port.id, route.via});
  }
  std::stable_sort(parts->routes.begin(), parts->routes.end(),
                   [](const RouteEntry& a, const RouteEntry& b) { return a.to.bits > b.to.bits; });
  return std::unique_ptr<Router>(new Router(std::move(parts)));
}

std::optional<NextHop> Router::next_hop(const IpAddress& destination) const noexcept {
  for (const RouteEntry& route : parts_->routes) {
    // ::/0 must not lead IPv4 anywhere, though IPv4 stands inside of it in the 128-bit form.
    if (route.to.address.is_v4() != destination.is_v4() && route.to.bits < 96) continue;
    if (route.to.contains(destination)) return NextHop{route.port, route.via.value_or(destination)};
  }
  return std::nullopt;
}

bool Router::is_own(const IpAddress& address) const noexcept {
  return std::find(parts_->own.begin(), parts_->own.end(), address) != parts_->own.end();
}

bool Router::is_for_other_station(const PacketRef& p, const MacAddress& own) noexcept {
  const uint8_t* frame = frame_of(p.mbuf);
  auto to = load<MacAddress>(frame);
  if (!to.is_multicast()) return to != own;
  if (p.meta->kind == PacketKind::kArp || p.meta->kind == PacketKind::kNeighbour) return false;
  bool v4 = p.meta->family == 4;
  IpAddress destination = destination_of(frame + p.meta->l3, v4);
  return !is_multicast(destination) && destination != IpAddress::v4(0xffffffff);
}

bool Router::never_routes(const PacketRef& p) const noexcept {
  const uint8_t* ip = frame_of(p.mbuf) + p.meta->l3;
  bool v4 = p.meta->family == 4;
  const auto& broadcasts = parts_->broadcasts;
  return is_own(source_of(ip, v4)) ||
         std::find(broadcasts.begin(), broadcasts.end(), destination_of(ip, v4)) != broadcasts.end();
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
  rte_mbuf* mbuf = make_solicitation(s, s.port(next.port.value), next.hop, owner);
  if (mbuf == nullptr) return;
  add(s.counters().originated, 1);
  if (!s.tx[next.port.value].put(mbuf)) discard(s, mbuf, DropReason::k_tx_full);
}

/// Holds a packet until its neighbour answers. False: no room.
static bool hold(std::vector<HeldPacket>& held, rte_mbuf* mbuf, const NextHop& next, uint16_t ip_bytes,
                 Millis now) noexcept {
  HeldPacket* place = nullptr;
  size_t same = 0;
  for (HeldPacket& h : held) {
    if (h.mbuf == nullptr) {
      if (place == nullptr) place = &h;
      continue;
    }
    same += h.next.port == next.port && h.next.hop == next.hop;
  }
  if (place == nullptr || same >= kMostHeldEach) return false;
  *place = {mbuf, next, now, ip_bytes};
  return true;
}

/// Tells a packet's sender why it goes no farther, from the address that it knows the gateway by; at a
/// limited rate.
static void answer_error(PipelineState& s, const PacketRef& p, IcmpError error, const Moment& m) noexcept {
  IpAddress source = source_of(frame_of(p.mbuf) + p.meta->l3, p.meta->family == 4);
  const IpAddress* own = own_address_for(s.port(p.meta->in_port), source);
  if (own == nullptr || !s.rejects.take(kIdentityGateway, m.ticks)) return;
  originate(s, make_icmp_error(s, p, *own, error), PortId{p.meta->in_port});
}

std::optional<NextHop> Router::admit(PipelineState& s, const PacketRef& p, const Moment& m) noexcept {
  uint8_t* ip = frame_of(p.mbuf) + p.meta->l3;
  bool v4 = p.meta->family == 4;
  auto refuse = [&](DropReason reason) {
    drop(s, p, reason);
    return std::nullopt;
  };
  IpAddress destination = destination_of(ip, v4);
  if (is_multicast(destination)) return refuse(DropReason::k_multicast_unsupported);
  if (is_link_local(destination) || is_link_local(source_of(ip, v4)))
    return refuse(DropReason::k_ip_address_invalid);  // link-local scope (RFC 4291 §2.5.6)
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
  uint8_t* frame = frame_of(p.mbuf);
  decrement_ttl(frame + p.meta->l3, p.meta->family == 4);
  Millis now = parts_->millis(m.now);
  auto neighbour = parts_->neighbours->find(next.port, next.hop, now);
  if (!neighbour || neighbour->question_due) ask(s, *parts_->neighbours, next, now);
  if (neighbour) {
    address_frame(frame, s.port(next.port.value), neighbour->mac);
    return send(s, p, next.port);
  }
  if (!hold(parts_->held, p.mbuf, next, p.meta->ip_bytes, now)) return drop(s, p, DropReason::k_hold_limit);
  if (parts_->held_count++ == 0) parts_->oldest_held = now;
  add(s.counters().held, 1);
  if (p.verdict != nullptr) p.verdict->fate = Fate::kHold;
}

void Router::maintain(PipelineState& s, const Moment& m) noexcept {
  if (parts_->held_count == 0) return;
  Millis now = parts_->millis(m.now), oldest = now;
  for (HeldPacket& h : parts_->held) {
    if (h.mbuf == nullptr) continue;
    auto neighbour = parts_->neighbours->find(h.next.port, h.next.hop, now);
    bool over = age_of(h.since, now) >= kGiveUp;
    if (!neighbour && !over) {
      oldest = std::min(oldest, h.since);
      ask(s, *parts_->neighbours, h.next, now);
      continue;
    }
    add(s.counters().held, static_cast<uint64_t>(-1));
    --parts_->held_count;
    PacketMeta meta{};
    meta.ip_bytes = h.ip_bytes;
    PacketRef p{h.mbuf, &meta, nullptr, nullptr};
    h.mbuf = nullptr;
    PacketVerdict verdict{};
    if (s.parts.keep_verdicts) p.verdict = &verdict;
    const rte_mbuf* name = p.mbuf;
    if (neighbour) {
      address_frame(frame_of(p.mbuf), s.port(h.next.port.value), neighbour->mac);
      send(s, p, h.next.port);
    } else {
      drop(s, p, DropReason::k_neighbour_unresolved);
    }
    note_late(s, name, verdict.fate, verdict.reason, verdict.out);
  }
  parts_->oldest_held = oldest;
}

BootTime Router::next_timer() const noexcept {
  if (parts_->held_count == 0) return kNever;
  return BootTime{parts_->epoch.ns + static_cast<int64_t>(parts_->oldest_held + kGiveUp) * 1'000'000};
}

void Router::receive(PipelineState& s, const PacketRef& p, const Moment& m) noexcept {
  bool v4 = p.meta->family == 4;
  const uint8_t* ip = frame_of(p.mbuf) + p.meta->l3;
  IpAddress source = source_of(ip, v4), own = destination_of(ip, v4);
  if (p.meta->kind == PacketKind::kIcmpError || p.meta->opening == Opening::kIcmpNot)
    return drop(s, p, DropReason::k_icmp_unrelated);
  if (p.meta->opening == Opening::kTcpNot) return drop(s, p, DropReason::k_tcp_no_state);
  const PortView& port = s.port(p.meta->in_port);
  Origin origin{source, port.id, p.meta->vlan, source_mac(p)};
  Evaluation e =
      evaluate(*m.snapshot->image, *m.snapshot->endpoints, origin, own, ServiceKey{p.meta->service}, m.now);
  add(s.counters().judged, 1);
  bool admitted = may_originate(port, source) || is_link_local(source);
  DropReason reason = admitted ? reason_of(e.decision) : DropReason::k_spoofed_source;
  if (p.verdict != nullptr) {
    p.verdict->rule = e.decision.rule;
    p.verdict->tier = static_cast<uint8_t>(e.decision.tier);
    p.verdict->source_from = static_cast<uint8_t>(e.source.source);
    p.verdict->source = e.source.identity;
    p.verdict->destination = e.destination.identity;
  }
  if (reason != DropReason::kNone) {
    note_denied(s, p, source, own, e, reason, m);
    if (e.decision.reject && reason != DropReason::k_spoofed_source) {
      answer_reject(s, p, e.source.identity, m);
      if (p.verdict != nullptr) p.verdict->fate = Fate::kReject;
    }
    return drop(s, p, reason);
  }
  if (p.meta->icmp_type == (v4 ? kIcmpEcho : kIcmpv6Echo) &&
      (p.meta->proto == IpProto::kIcmp || p.meta->proto == IpProto::kIcmpv6))
    originate(s, make_echo_reply(s, p), port.id);
  consume(s, p);
}

void Router::resolve(PipelineState& s, const PacketRef& p, const Moment& m) noexcept {
  const uint8_t* frame = frame_of(p.mbuf);
  const PortView& port = s.port(p.meta->in_port);
  MacAddress mac = source_mac(p);
  Millis now = parts_->millis(m.now);
  auto on_link = [&](const IpAddress& a) {
    return std::any_of(port.addresses.begin(), port.addresses.end(),
                       [&](const Prefix& own) { return own.contains(a); });
  };
  auto is_ours_here = [&](const IpAddress& a) {
    return a == link_local_of(port.mac) || std::any_of(port.addresses.begin(), port.addresses.end(),
                                                       [&](const Prefix& own) { return own.address == a; });
  };
  rte_mbuf* answer = nullptr;
  if (p.meta->kind == PacketKind::kArp) {
    auto arp = load<ArpHeader>(frame + p.meta->l3);
    IpAddress sender = IpAddress::v4(arp.sender_ip.host()), target = IpAddress::v4(arp.target_ip.host());
    bool for_us = is_ours_here(target);
    if (is_ours_here(sender)) return drop(s, p, DropReason::k_arp_invalid);  // somebody claims our address
    bool request = arp.operation.host() == kArpRequest;
    if (for_us && arp.sender_ip.host() != 0 && on_link(sender)) {
      if (request)
        parts_->neighbours->volunteer(port.id, sender, mac, now);
      else
        parts_->neighbours->answer(port.id, sender, mac, now);
    }
    if (for_us && request) answer = make_arp_reply(s, port, target, sender, mac);
  } else {
    const uint8_t* at = frame + p.meta->l4;
    IpAddress source = IpAddress::v6(frame + p.meta->l3 + 8);
    if (at[0] == kIcmpv6NeighbourSolicitation || at[0] == kIcmpv6NeighbourAdvertisement) {
      IpAddress target = IpAddress::v6(at + 8);
      if (at[0] == kIcmpv6NeighbourAdvertisement) {
        if (is_ours_here(target)) return drop(s, p, DropReason::k_nd_invalid);
        bool solicited = (load<NeighbourMessage>(at).flags.host() & kNdFlagSolicited) != 0;
        if (solicited && (on_link(target) || is_link_local(target)))
          parts_->neighbours->answer(port.id, target, mac, now);
      } else if (is_ours_here(target)) {
        bool named = source != IpAddress{};
        if (named && (on_link(source) || is_link_local(source)))
          parts_->neighbours->volunteer(port.id, source, mac, now);
        answer = make_advertisement(s, port, target, source, mac);
      }
    }
  }
  if (answer != nullptr) {
    add(s.counters().originated, 1);
    PacketMeta meta{};
    send(s, PacketRef{answer, &meta, nullptr, nullptr}, port.id);
  }
  consume(s, p);
}

void Router::send_own(PipelineState& s, rte_mbuf* mbuf, uint16_t l3, BootTime time) noexcept {
  Millis now = parts_->millis(time);
  uint8_t* frame = frame_of(mbuf);
  bool v4 = frame[l3] >> 4 == 4;
  PacketMeta meta{};
  meta.ip_bytes = static_cast<uint16_t>(mbuf->pkt_len - l3);
  PacketRef p{mbuf, &meta, nullptr, nullptr};
  IpAddress destination = destination_of(frame + l3, v4);
  auto next = next_hop(destination);
  if (!next) return drop(s, p, DropReason::k_no_route);
  // The sender whom it answers was heard a moment ago; where its answer is missing all the same, the packet
  // waits like any other.
  auto neighbour = parts_->neighbours->find(next->port, next->hop, now);
  if (neighbour) {
    address_frame(frame, s.port(next->port.value), neighbour->mac);
    return send(s, p, next->port);
  }
  ask(s, *parts_->neighbours, *next, now);
  if (!hold(parts_->held, mbuf, *next, meta.ip_bytes, now)) return drop(s, p, DropReason::k_hold_limit);
  if (parts_->held_count++ == 0) parts_->oldest_held = now;
  add(s.counters().held, 1);
}

}  // namespace bulkhead
