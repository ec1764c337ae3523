#include "dataplane/fastpath/answer.h"

#include <algorithm>

#include "base/bytes.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/icmp.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"
#include "wire/transport.h"

namespace bulkhead {
namespace {

/// Which way an answer goes: to the packet's sender, or on to its receiver.
enum class Toward : uint8_t { kSender, kReceiver };

/// A new packet with the link header of `p` (VLAN tag included), turned round or not; `ip_bytes` of room
/// behind it, zeroed.
rte_mbuf* make_frame(PipelineState& s, const PacketRef& p, Toward toward, size_t ip_bytes) noexcept {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(s.parts.pool);
  if (mbuf == nullptr) return nullptr;
  size_t bytes = p.meta->l3 + ip_bytes;
  auto* frame = reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(bytes)));
  if (frame == nullptr) {
    rte_pktmbuf_free(mbuf);
    return nullptr;
  }
  std::memset(frame, 0, bytes);
  const uint8_t* cause = frame_of(p.mbuf);
  std::memcpy(frame, cause, p.meta->l3);
  if (toward == Toward::kSender) {
    std::memcpy(frame, cause + 6, 6);
    std::memcpy(frame + 6, cause, 6);
  }
  return mbuf;
}

/// Fills an IPv4 or IPv6 header in front of `l4_bytes`.
void write_ip(uint8_t* at, const IpAddress& from, const IpAddress& to, IpProto proto,
              size_t l4_bytes) noexcept {
  if (from.is_v4()) {
    Ipv4Header ip{};
    ip.version_ihl = 0x45;
    ip.total_length.set(static_cast<uint16_t>(sizeof ip + l4_bytes));
    ip.fragment.set(kIpv4DontFragment);
    ip.ttl = 64;
    ip.proto = proto;
    ip.source.set(from.v4_host());
    ip.destination.set(to.v4_host());
    ip.checksum = std::bit_cast<Be16>(checksum_finish(checksum_sum(&ip, sizeof ip)));
    store(at, ip);
  } else {
    Ipv6Header ip{};
    ip.version_class_flow.set(6u << 28);
    ip.payload_length.set(static_cast<uint16_t>(l4_bytes));
    ip.next_header = proto;
    ip.hop_limit = 64;
    std::memcpy(ip.source, from.bytes.data(), 16);
    std::memcpy(ip.destination, to.bytes.data(), 16);
    store(at, ip);
  }
}

uint64_t address_sum(const IpAddress& a) noexcept {
  return a.is_v4() ? checksum_sum(a.bytes.data() + 12, 4) : checksum_sum(a.bytes.data(), 16);
}
constexpr size_t ip_header_bytes(bool v4) {
  return v4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header);
}

struct Ends {
  IpAddress source, destination;
};
Ends ends_of(const PacketRef& p) noexcept {
  const uint8_t* ip = frame_of(p.mbuf) + p.meta->l3;
  if (p.meta->family == 4)
    return {IpAddress::v4(load<Be32>(ip + 12).host()), IpAddress::v4(load<Be32>(ip + 16).host())};
  return {IpAddress::v6(ip + 8), IpAddress::v6(ip + 24)};
}

struct Reset {
  IpAddress from, to;
  uint16_t from_port, to_port;  ///< host order
  uint32_t sequence, acknowledgement;
  uint8_t flags;
};

rte_mbuf* make_reset(PipelineState& s, const PacketRef& p, Toward toward, const Reset& r) noexcept {
  size_t ip_bytes = ip_header_bytes(r.from.is_v4());
  rte_mbuf* mbuf = make_frame(s, p, toward, ip_bytes + sizeof(TcpHeader));
  if (mbuf == nullptr) return nullptr;
  uint8_t* ip = frame_of(mbuf) + p.meta->l3;
  write_ip(ip, r.from, r.to, IpProto::kTcp, sizeof(TcpHeader));
  TcpHeader tcp{};
  tcp.source_port.set(r.from_port);
  tcp.destination_port.set(r.to_port);
  tcp.sequence.set(r.sequence);
  tcp.acknowledgement.set(r.acknowledgement);
  tcp.data_offset = 5 << 4;
  tcp.flags = r.flags;
  uint64_t sum = address_sum(r.from) + address_sum(r.to) +
                 pseudo_header_sum(static_cast<uint8_t>(IpProto::kTcp), sizeof tcp) +
                 checksum_sum(&tcp, sizeof tcp);
  tcp.checksum = std::bit_cast<Be16>(checksum_finish(sum));
  store(ip + ip_bytes, tcp);
  return mbuf;
}

bool is_group(const IpAddress& a) noexcept {
  return a.is_v4() ? (a.bytes[12] & 0xf0) == 0xe0 || a.v4_host() == 0xffffffff : a.bytes[0] == 0xff;
}

/// Whether the packet went to more than one station, by its IP or its link address.
bool is_to_group(const PacketRef& p, const Ends& ends) noexcept {
  return is_group(ends.destination) || (frame_of(p.mbuf)[0] & 1) != 0;
}

/// The reset that a closed port would send (RFC 9293 §3.10.7.1). A reset is never answered, nor is what went
/// to a group.
rte_mbuf* make_refusal(PipelineState& s, const PacketRef& p) noexcept {
  const uint8_t* at = frame_of(p.mbuf) + p.meta->l4;
  auto tcp = load<TcpHeader>(at);
  if ((tcp.flags & kTcpRst) != 0) return nullptr;
  Ends ends = ends_of(p);
  if (is_to_group(p, ends)) return nullptr;
  uint32_t length =
      l4_bytes(p) - (tcp.data_offset >> 4) * 4u + ((tcp.flags & kTcpSyn) != 0) + ((tcp.flags & kTcpFin) != 0);
  Reset r{ends.destination, ends.source, p.meta->destination_port, p.meta->source_port, 0, 0, kTcpRst};
  if ((tcp.flags & kTcpAck) != 0) {
    r.sequence = tcp.acknowledgement.host();
  } else {
    r.acknowledgement = tcp.sequence.host() + length;
    r.flags = kTcpRst | kTcpAck;
  }
  return make_reset(s, p, Toward::kSender, r);
}

}  // namespace

rte_mbuf* make_icmp_error(PipelineState& s, const PacketRef& p, const IpAddress& from,
                          IcmpError error) noexcept {
  Ends ends = ends_of(p);
  const uint8_t* frame = frame_of(p.mbuf);
  bool nameless = ends.source == IpAddress{} || ends.source == IpAddress::v4(0) || is_group(ends.source);
  if (is_to_group(p, ends) || nameless || p.meta->kind != PacketKind::kFlow) return nullptr;
  bool v4 = p.meta->family == 4;
  size_t headers = ip_header_bytes(v4) + sizeof(IcmpHeader);
  size_t inner_header = static_cast<size_t>(p.meta->l4 - p.meta->l3);
  size_t ip_bytes = static_cast<size_t>(p.mbuf->data_len - p.meta->l3);  // of a datagram's first fragment
  size_t most = std::min<size_t>(ip_bytes, v4 ? 576 : 1280);
  if (headers + inner_header + 8 > most) return nullptr;  // even the shortest would be larger than its cause
  size_t quote = most - headers;
  rte_mbuf* mbuf = make_frame(s, p, Toward::kSender, headers + quote);
  if (mbuf == nullptr) return nullptr;
  uint8_t* ip = frame_of(mbuf) + p.meta->l3;
  IpProto proto = v4 ? IpProto::kIcmp : IpProto::kIcmpv6;
  size_t l4_bytes = sizeof(IcmpHeader) + quote;
  write_ip(ip, from, ends.source, proto, l4_bytes);
  uint8_t* icmp = ip + ip_header_bytes(v4);
  icmp[0] = error.type;
  icmp[1] = error.code;
  store(icmp + 4, Be32(error.rest));
  std::memcpy(icmp + sizeof(IcmpHeader), frame + p.meta->l3, quote);
  uint64_t sum = checksum_sum(icmp, l4_bytes);
  if (!v4)
    sum += address_sum(from) + address_sum(ends.source) +
           pseudo_header_sum(static_cast<uint8_t>(proto), static_cast<uint32_t>(l4_bytes));
  store(icmp + 2, checksum_finish(sum));
  return mbuf;
}

/// A fragment on its way back to its sender: its ends exchanged, a fresh TTL, all else as it came.
static rte_mbuf* turn_round(PipelineState& s, const PacketRef& fragment, bool v4) noexcept {
  size_t l3 = fragment.meta->l3, ip_bytes = fragment.mbuf->data_len - l3;
  rte_mbuf* mbuf = make_frame(s, fragment, Toward::kSender, ip_bytes);
  if (mbuf == nullptr) return nullptr;
  uint8_t* ip = frame_of(mbuf) + l3;
  std::memcpy(ip, frame_of(fragment.mbuf) + l3, ip_bytes);
  size_t address = v4 ? 4 : 16, source = v4 ? offsetof(Ipv4Header, source) : offsetof(Ipv6Header, source);
  std::swap_ranges(ip + source, ip + source + address, ip + source + address);
  ip[v4 ? offsetof(Ipv4Header, ttl) : offsetof(Ipv6Header, hop_limit)] = 64;
  if (v4) {
    store(ip + offsetof(Ipv4Header, checksum), uint16_t{0});
    store(ip + offsetof(Ipv4Header, checksum), checksum_finish(checksum_sum(ip, (ip[0] & 0xfu) * size_t{4})));
  }
  mbuf->hash.usr = payload_at(fragment.mbuf);
  return mbuf;
}

/// The reply to an echo request that came in fragments: the same fragments.
static rte_mbuf* make_fragmented_reply(PipelineState& s, const PacketRef& p) noexcept {
  bool v4 = p.meta->family == 4;
  rte_mbuf* reply = nullptr;
  rte_mbuf** end = &reply;
  for (rte_mbuf* fragment = p.mbuf; fragment != nullptr; fragment = fragment->next) {
    *end = turn_round(s, {fragment, p.meta, nullptr, nullptr}, v4);
    if (*end == nullptr) {
      mark_datagram(reply);
      free_packets(reply);
      return nullptr;
    }
    end = &(*end)->next;
  }
  uint8_t* icmp = frame_of(reply) + p.meta->l4;
  auto before = load<uint16_t>(icmp);  // type and code
  icmp[0] = v4 ? kIcmpEchoReply : kIcmpv6EchoReply;
  store(icmp + 2, checksum_update(load<uint16_t>(icmp + 2), before, load<uint16_t>(icmp)));
  mark_datagram(reply);
  return reply;
}

rte_mbuf* make_echo_reply(PipelineState& s, const PacketRef& p) noexcept {
  if (p.meta->fragment) return make_fragmented_reply(s, p);
  Ends ends = ends_of(p);
  bool v4 = p.meta->family == 4;
  const uint8_t* request = frame_of(p.mbuf) + p.meta->l4;
  size_t l4_bytes = static_cast<size_t>(p.meta->l3 + p.meta->ip_bytes - p.meta->l4);
  rte_mbuf* mbuf = make_frame(s, p, Toward::kSender, ip_header_bytes(v4) + l4_bytes);
  if (mbuf == nullptr) return nullptr;
  uint8_t* ip = frame_of(mbuf) + p.meta->l3;
  IpProto proto = v4 ? IpProto::kIcmp : IpProto::kIcmpv6;
  write_ip(ip, ends.destination, ends.source, proto, l4_bytes);
  uint8_t* icmp = ip + ip_header_bytes(v4);
  std::memcpy(icmp, request, l4_bytes);
  icmp[0] = v4 ? kIcmpEchoReply : kIcmpv6EchoReply;
  icmp[1] = 0;
  store(icmp + 2, uint16_t{0});
  uint64_t sum = checksum_sum(icmp, l4_bytes);
  if (!v4)
    sum += address_sum(ends.destination) + address_sum(ends.source) +
           pseudo_header_sum(static_cast<uint8_t>(proto), static_cast<uint32_t>(l4_bytes));
  store(icmp + 2, checksum_finish(sum));
  return mbuf;
}

void answer_reject(PipelineState& s, const PacketRef& p, IdentityId source, const Moment& m) noexcept {
  if (!s.rejects.take(source, m.ticks)) return;
  rte_mbuf* answer;
  if (p.meta->proto == IpProto::kTcp) {
    answer = make_refusal(s, p);
  } else {
    IcmpError error = p.meta->family == 4 ? IcmpError{kIcmpUnreachable, kIcmpAdminProhibited}
                                          : IcmpError{kIcmpv6Unreachable, kIcmpv6AdminProhibited};
    answer = make_icmp_error(s, p, ends_of(p).destination, error);
  }
  originate(s, answer, PortId{p.meta->in_port});
}

void drop_too_big(PipelineState& s, const PacketRef& p, PortId out, const Moment& m) noexcept {
  const PortView& port = s.port(out.value);
  if (port.writes_link()) {
    uint16_t mtu = port.most_ip_bytes(p.meta->l3);
    IcmpError error{kIcmpv6PacketTooBig, 0, mtu};
    if (p.meta->family == 4) error = {kIcmpUnreachable, kIcmpFragmentationNeeded, mtu};
    Ends ends = ends_of(p);
    Origin origin{ends.source, PortId{p.meta->in_port}, p.meta->vlan, source_mac(p),
                  known_tag(s, p.meta->tag)};
    if (s.rejects.take(classify_source(*m.snapshot->endpoints, origin).identity, m.ticks))
      originate(s, make_icmp_error(s, p, ends.destination, error), PortId{p.meta->in_port});
  }
  drop(s, p, DropReason::k_packet_too_big);
}

/// One reset each way between the ends of `p`, over the ports of `flow`.
static void reset_both(PipelineState& s, const PacketRef& p, const FlowHot& flow, unsigned direction,
                       uint32_t sender_expects, uint32_t receiver_expects) noexcept {
  Ends ends = ends_of(p);
  Reset back{ends.destination, ends.source,      p.meta->destination_port, p.meta->source_port,
             sender_expects,   receiver_expects, kTcpRst | kTcpAck};
  Reset on{ends.source,      ends.destination, p.meta->source_port, p.meta->destination_port,
           receiver_expects, sender_expects,   kTcpRst | kTcpAck};
  originate(s, make_reset(s, p, Toward::kSender, back), PortId{flow.ports[direction]});
  originate(s, make_reset(s, p, Toward::kReceiver, on), PortId{flow.ports[direction ^ 1]});
}

void answer_revoked(PipelineState& s, const PacketRef& p, const FlowHot& flow, unsigned direction) noexcept {
  const TcpTrack& t = flow.tcp;
  if (t.window[0] == 0 || t.window[1] == 0) return;  // never answered: there is no connection to end
  auto tcp = load<TcpHeader>(frame_of(p.mbuf) + p.meta->l4);
  if ((tcp.flags & kTcpRst) != 0) return;  // a reset is never answered (RFC 9293 §3.10.7.1)
  // The sender expects next what its own packet acknowledges; the receiver, what follows the last byte that
  // passed.
  uint32_t sender_expects = (tcp.flags & kTcpAck) != 0 ? tcp.acknowledgement.host() : t.end[direction ^ 1];
  uint32_t receiver_expects = t.end[direction];
  reset_both(s, p, flow, direction, sender_expects, receiver_expects);
}

void answer_revoked_unseen(PipelineState& s, const PacketRef& p, const FlowHot& flow,
                           unsigned direction) noexcept {
  const TcpTrack& t = flow.tcp;
  if (t.window[0] == 0 || t.window[1] == 0) return;
  reset_both(s, p, flow, direction, t.end[direction ^ 1], t.end[direction]);
}

}  // namespace bulkhead
