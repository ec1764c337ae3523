// What is for the gateway itself, in route mode: packets to its addresses, ARP and neighbour discovery.
#include <algorithm>

#include "base/bytes.h"
#include "dataplane/fastpath/answer.h"
#include "dataplane/fastpath/flow_open.h"
#include "dataplane/fastpath/protection.h"
#include "dataplane/fastpath/router_parts.h"
#include "dataplane/fastpath/solicit.h"
#include "wire/arp.h"
#include "wire/icmp.h"
#include "wire/ipv6.h"

namespace bulkhead {

void Router::receive(PipelineState& s, const PacketRef& p, const Moment& m) noexcept {
  bool v4 = p.meta->family == 4;
  const uint8_t* ip = frame_of(p.mbuf) + p.meta->l3;
  IpAddress source = source_of(ip, v4), own = destination_of(ip, v4);
  if (p.meta->kind == PacketKind::kIcmpError || p.meta->opening == Opening::kIcmpNot)
    return drop(s, p, DropReason::k_icmp_unrelated);
  if (p.meta->opening == Opening::kTcpNot) return drop(s, p, DropReason::k_tcp_no_state);
  const PortView& port = s.port(p.meta->in_port);
  Origin origin{source, port.id, p.meta->vlan, source_mac(p), known_tag(s, p.meta->tag)};
  Evaluation e =
      evaluate(*m.snapshot->image, *m.snapshot->endpoints, origin, own, ServiceKey{p.meta->service}, m.now);
  add(s.counters().judged, 1);
  bool admitted = may_originate(port, source) || source.is_ipv6_link_local();
  DropReason reason = admitted ? reason_without_flow(e.decision, p) : DropReason::k_spoofed_source;
  if (p.verdict != nullptr) {
    p.verdict->rule = e.decision.rule;
    p.verdict->tier = static_cast<uint8_t>(e.decision.tier);
    p.verdict->source_from = static_cast<uint8_t>(e.source.source);
    p.verdict->source = e.source.identity;
    p.verdict->destination = e.destination.identity;
  }
  if (reason != DropReason::kNone) {
    note_denied(s, p, source, own, e, reason, m);
    if (is_answered(s, e, reason)) {
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

/// Takes what a neighbour says; packets that wait for it are looked at next.
void Router::learn(PortId port, const IpAddress& address, const MacAddress& mac, Said said,
                   Millis now) noexcept {
  NeighbourTable& table = *parts_->neighbours;
  bool taken = said == Said::kOfItself ? table.volunteer(port, address, mac, now)
                                       : table.answer(port, address, mac, now);
  if (taken) parts_->held.answered(port, address);
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
    if (arp.sender_ip.host() != 0 && on_link(sender))
      learn(port.id, sender, mac, for_us && request ? Said::kOfItself : Said::kToAnybody, now);
    if (for_us && request) answer = make_arp_reply(s, port, target, sender, mac);
  } else {
    const uint8_t* at = frame + p.meta->l4;
    IpAddress source = IpAddress::v6(frame + p.meta->l3 + 8);
    if (at[0] == kIcmpv6NeighbourSolicitation || at[0] == kIcmpv6NeighbourAdvertisement) {
      IpAddress target = IpAddress::v6(at + 8);
      if (at[0] == kIcmpv6NeighbourAdvertisement) {
        if (is_ours_here(target)) return drop(s, p, DropReason::k_nd_invalid);
        if (on_link(target) || is_link_local(target)) learn(port.id, target, mac, Said::kToAnybody, now);
      } else if (is_ours_here(target)) {
        bool named = source != IpAddress{};
        if (named && (on_link(source) || is_link_local(source)))
          learn(port.id, source, mac, Said::kOfItself, now);
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

}  // namespace bulkhead
