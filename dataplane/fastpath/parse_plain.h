// The short way of most packets: IPv4 without options or fragments, TCP or UDP inside, nothing wrong with it.
// The same checks as parse_frame()'s, on words in registers and with one exit. Whatever is out of the
// ordinary, right or wrong, is left to parse_frame(), which knows what it is.
//
// TCP and UDP take the same instructions, since packets of both come shuffled and no processor could foretell
// a branch between them.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "base/bytes.h"
#include "dataplane/fastpath/parse.h"
#include "dataplane/fastpath/parse_l4.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/ipv4.h"

namespace bulkhead {

/// What is known of a plain packet before its IP header is read. Made once for each port.
struct alignas(64) LinkPart {
  PacketMeta meta;  ///< all that doesn't depend on what the IP header says; brief, and may open nothing
  uint16_t zone;
  uint8_t parse_flags;
};

inline LinkPart plain_link(uint16_t l3, uint16_t vlan, uint16_t zone, uint8_t in_port,
                           uint8_t parse_flags) noexcept {
  PacketMeta meta{};
  meta.l3 = l3;
  meta.l4 = static_cast<uint16_t>(l3 + sizeof(Ipv4Header));
  meta.vlan = vlan;
  meta.in_port = in_port;
  meta.family = 4;
  meta.kind = PacketKind::kFlow;
  meta.reason = DropReason::kNone;
  meta.opening = Opening::kTcpNot;
  meta.brief = 1;
  return {meta, zone, parse_flags};
}
/// Of untagged frames on a port.
inline LinkPart untagged_link(const PortView& port, bool route_mode, uint8_t parse_flags) noexcept {
  auto zone = static_cast<uint16_t>(route_mode ? 0 : port.wire << 12);
  LinkPart link = plain_link(sizeof(EthernetHeader), 0, zone, port.id.value, parse_flags);
  if (port.relay) link.meta.kind = PacketKind::kRelayed;
  return link;
}

namespace parse_detail {

/// What the short way needs of a protocol.
struct Transport {
  uint32_t is_tcp;       ///< all ones or 0
  uint32_t least_total;  ///< bytes of the IP packet; of a protocol that takes no short way more than any has
};
/// What a packet's bytes mean, looked up rather than compared; together, so that they share a base address.
struct PlainTables {
  /// By first octet: 0/8 and 240/4 either way, loopback either way (RFC 1122 §3.2.1.3), multicast as source.
  uint8_t bad_source[256], bad_destination[256];
  Transport transports[256];  ///< by protocol
  uint8_t bad_flags[256];     ///< all ones: what no honest TCP sends; else 0
  /// From source, destination and ports as they stand in a packet to the first 12 bytes of a key: as they
  /// are, or with the ends exchanged.
  alignas(16) uint8_t key_order[2][16];
};
alignas(64) inline constexpr PlainTables kPlain = [] {
  PlainTables t{};
  t.bad_source[0] = t.bad_source[127] = t.bad_destination[0] = t.bad_destination[127] = 1;
  for (int i = 224; i < 256; ++i) t.bad_source[i] = 1;
  for (int i = 240; i < 256; ++i) t.bad_destination[i] = 1;
  for (Transport& transport : t.transports) transport = {0, 0x10000};
  t.transports[static_cast<uint8_t>(IpProto::kTcp)] = {0xffffffff, sizeof(Ipv4Header) + sizeof(TcpHeader)};
  t.transports[static_cast<uint8_t>(IpProto::kUdp)] = {0, sizeof(Ipv4Header) + sizeof(UdpHeader)};
  for (unsigned flags = 0; flags < 256; ++flags)
    t.bad_flags[flags] = are_tcp_flags_valid(static_cast<uint8_t>(flags)) ? 0 : 0xff;
  for (int i = 0; i < 16; ++i) t.key_order[0][i] = static_cast<uint8_t>(i < 12 ? i : 0x80);
  constexpr uint8_t kExchanged[] = {4, 5, 6, 7, 0, 1, 2, 3, 10, 11, 8, 9};
  for (int i = 0; i < 16; ++i) t.key_order[1][i] = i < 12 ? kExchanged[i] : 0x80;
  return t;
}();

}  // namespace parse_detail

/// The IP packet at `l3`, which is link.meta's, in a frame of `bytes` bytes. Output: true, and `meta` and
/// `key` are what the full checks would make of it, `meta` still brief; false, and both are as they were: the
/// full checks are to decide.
[[gnu::always_inline]] inline bool parse_plain_ipv4(const uint8_t* frame, size_t bytes, size_t l3,
                                                    const LinkPart& link, PacketMeta& meta,
                                                    FlowKey4& key) noexcept {
  using parse_detail::kPlain;
  constexpr uint32_t kHeader = sizeof(Ipv4Header), kTcpHeader = sizeof(TcpHeader);
  // Room for TCP's header whatever it is, so that its fields can be read; Ethernet pads its frames to more.
  if (bytes < l3 + kHeader + kTcpHeader) return false;
  const uint8_t* at = frame + l3;
  const uint8_t* l4 = at + kHeader;
  auto first = load<uint64_t>(at), addresses = load<uint64_t>(at + 12);
  auto third = load<uint32_t>(at + 8);
  auto source = static_cast<uint32_t>(addresses), destination = static_cast<uint32_t>(addresses >> 32);

  constexpr uint16_t kFragment = Be16(kIpv4MoreFragments | kIpv4OffsetMask).raw();
  if (at[0] != 0x45 || (load<uint16_t>(at + offsetof(Ipv4Header, fragment)) & kFragment) != 0) return false;
  uint32_t total = __builtin_bswap32(static_cast<uint32_t>(first)) & 0xffff;
  if (total > bytes - l3) return false;
  // The sums of both headers hold something that isn't 0: a version, addresses.
  if (!checksum_is_multiple(checksum_add(checksum_add(first, addresses), third)) &&
      !(link.parse_flags & kSkipIpChecksum))
    return false;
  if ((kPlain.bad_source[at[12]] | kPlain.bad_destination[at[16]]) != 0 || source == destination)
    return false;

  uint32_t proto = at[offsetof(Ipv4Header, proto)];
  const parse_detail::Transport transport = kPlain.transports[proto];
  if (total < transport.least_total) return false;
  uint32_t tcp = transport.is_tcp, l4_bytes = total - kHeader;
  // UDP that is shorter than its IP packet is seldom enough to take the long way.
  uint32_t udp_length = __builtin_bswap32(load<uint32_t>(l4 + offsetof(UdpHeader, length))) >> 16;
  if (((udp_length ^ l4_bytes) & ~tcp) != 0) return false;
  // The sign of either difference says that the header is too short or longer than what is there.
  uint32_t header = l4[offsetof(TcpHeader, data_offset)] >> 2 & 0x3cu;
  if (static_cast<int32_t>(((header - kTcpHeader) | (l4_bytes - header)) & tcp) < 0) return false;
  if ((kPlain.bad_flags[l4[offsetof(TcpHeader, flags)]] & tcp) != 0) return false;
  bool unsummed = (load<uint16_t>(l4 + offsetof(UdpHeader, checksum)) | tcp) == 0;  // RFC 768
  if (!unsummed) [[likely]] {
    // As pseudo_header_sum(): the protocol, and the total length without the header's, 20 less, which is as
    // much as 65,535 - 20 more.
    constexpr uint32_t kWithoutHeader = 0xffff - Be16(kHeader).raw();
    uint32_t pseudo = (third & 0xff00) + static_cast<uint16_t>(first >> 16) + kWithoutHeader;
    if (!checksum_is_multiple(checksum_add(checksum_add(addresses, pseudo), l4, l4_bytes)) &&
        !(link.parse_flags & kSkipL4Checksum))
      return false;
  }

  // From here on everything is read again, from the cache: a compiler that kept it would run out of registers
  // above.
  asm volatile("" ::: "memory");
  proto = at[offsetof(Ipv4Header, proto)];
  // The ends' order is their addresses', which aren't the same.
  uint32_t high = load<uint32_t>(at + offsetof(Ipv4Header, source)) >
                  load<uint32_t>(at + offsetof(Ipv4Header, destination));
  __m128i ends = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + offsetof(Ipv4Header, source)));
  ends = _mm_shuffle_epi8(ends, _mm_load_si128(reinterpret_cast<const __m128i*>(kPlain.key_order[high])));
  static_assert(offsetof(FlowKey4, zone) == 12 && offsetof(FlowKey4, proto) == 14 &&
                offsetof(FlowKey4, leg) == 15);
  ends = _mm_insert_epi32(ends, static_cast<int>(link.zone | proto << 16), 3);
  _mm_store_si128(reinterpret_cast<__m128i*>(&key), ends);

  meta = link.meta;
  meta.ip_bytes = load<Be16>(at + offsetof(Ipv4Header, total_length)).host();
  meta.source_is_high = static_cast<uint8_t>(high);
  meta.proto = static_cast<IpProto>(proto);
  return true;
}

/// The rest of what the full checks would fill in: what only packets need that open a flow or meet a question
/// out of the ordinary.
inline void read_rest(const uint8_t* frame, PacketMeta& meta) noexcept {
  const uint8_t* l4 = frame + meta.l4;
  meta.source_port = load<Be16>(l4).host();
  meta.destination_port = load<Be16>(l4 + 2).host();
  meta.service = service_key(meta.proto, meta.destination_port).value;
  meta.opening = meta.proto == IpProto::kTcp ? tcp_opening(l4[offsetof(TcpHeader, flags)]) : Opening::kMay;
  meta.brief = 0;
}

/// Whether the frame is untagged IPv4 from a station (IEEE 802.3 §3.2.3).
inline bool is_plain_link(const uint8_t* frame) noexcept {
  constexpr uint8_t kGroup = 1;
  constexpr uint16_t kIpv4 = Be16(static_cast<uint16_t>(EtherType::kIpv4)).raw();
  return load<uint16_t>(frame + offsetof(EthernetHeader, ether_type)) == kIpv4 &&
         (frame[offsetof(EthernetHeader, source)] & kGroup) == 0;
}

/// The short way of a whole frame; `link`: of an untagged one on its port. Output: as parse_plain_ipv4().
[[gnu::always_inline]] inline bool parse_plain(const uint8_t* frame, size_t bytes, const LinkPart& link,
                                               PacketMeta& meta, FlowKey4& key) noexcept {
  constexpr size_t kLeast = sizeof(EthernetHeader) + sizeof(Ipv4Header) + sizeof(TcpHeader);
  return bytes >= kLeast && is_plain_link(frame) &&
         parse_plain_ipv4(frame, bytes, sizeof(EthernetHeader), link, meta, key);
}

}  // namespace bulkhead
