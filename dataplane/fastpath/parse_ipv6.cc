#include "dataplane/fastpath/parse_ipv6.h"

#include <cstring>

#include "base/bytes.h"
#include "dataplane/fastpath/parse_l4.h"
#include "wire/checksum.h"
#include "wire/icmp.h"
#include "wire/ipv6.h"

namespace bulkhead {
namespace {

/// ::, ::1, IPv4-compatible and IPv4-mapped addresses: none may be on the wire (RFC 4942 §2.2), bar the
/// unspecified source of those who have no address yet.
bool is_special(const uint8_t* address) noexcept {
  if (load<uint64_t>(address) != 0) [[likely]]
    return false;
  uint32_t third = load<Be32>(address + 8).host();
  return third == 0 || third == 0xffff;
}

bool is_unspecified(const uint8_t* address) noexcept {
  return load<uint64_t>(address) == 0 && load<uint64_t>(address + 8) == 0;
}

/// `l4`: empty where it isn't there to be read.
DropReason check_addresses(const Ipv6Header& ip, IpProto proto, std::span<const uint8_t> l4) noexcept {
  if (ip.source[0] == 0xff || is_special(ip.destination)) return DropReason::k_ip_address_invalid;
  if (is_special(ip.source)) {
    // Duplicate address detection (RFC 4862 §5.4.2) and MLDv2 reports (RFC 3810 §5.2.13).
    constexpr uint8_t kMldv2Report = 143;
    bool nameless = is_unspecified(ip.source) && proto == IpProto::kIcmpv6 && !l4.empty() &&
                    (l4[0] == kIcmpv6NeighbourSolicitation || l4[0] == kIcmpv6RouterSolicitation ||
                     l4[0] == kMldv2Report);
    if (!nameless) return DropReason::k_ip_address_invalid;
  }
  if (std::memcmp(ip.source, ip.destination, 16) == 0) return DropReason::k_ip_address_invalid;
  return DropReason::kNone;
}

/// Where the chain of extension headers ends.
struct Chain {
  IpProto proto;
  size_t offset;  ///< of the upper-layer header in the IP payload; of a later fragment, of what it carries
  DropReason reason = DropReason::kNone;
  bool fragment_header = false;
  bool fragment = false;  ///< and it isn't an atomic one
  bool later = false;     ///< a fragment, and not the first
  size_t carried_at = 0;  ///< of a fragment: behind its header
};

/// One fragment header, at chain.offset: an atomic fragment goes on alone (RFC 6946).
DropReason check_fragment(std::span<const uint8_t> payload, Chain& chain) noexcept {
  if (chain.fragment_header) return DropReason::k_ipv6_header_chain;
  chain.fragment_header = true;
  auto header = load<Ipv6Fragment>(payload.data() + chain.offset);
  if (header.next_header == IpProto::kFragment) return DropReason::k_ipv6_header_chain;  // CVE-2023-4809
  uint16_t field = header.offset_more.host();
  size_t offset = field & kIpv6FragmentOffsetMask,
         rest = payload.size() - chain.offset - sizeof(Ipv6Fragment);
  bool more = (field & kIpv6FragmentMore) != 0;
  if (offset == 0 && !more) return DropReason::kNone;
  chain.fragment = true;
  chain.later = offset != 0;
  chain.carried_at = chain.offset + sizeof(Ipv6Fragment);
  if (rest == 0 || (more && rest % 8 != 0) || offset + rest > 65535) return DropReason::k_fragment_invalid;
  if (offset == 8 && header.next_header == IpProto::kTcp) return DropReason::k_fragment_tiny;  // RFC 3128
  return DropReason::kNone;
}

/// The options of a hop-by-hop or destination options header (RFC 8200 §4.2): a list that doesn't add up is
/// refused, and so is a jumbo payload, which a packet with a payload length mustn't have (RFC 2675 §3).
DropReason check_options(std::span<const uint8_t> options) noexcept {
  while (!options.empty()) {
    uint8_t type = options[0];
    if (type == kIpv6OptionJumbo) return DropReason::k_ip_malformed;
    size_t bytes = 1;
    if (type != kIpv6OptionPad1) {
      if (options.size() < 2 || options[1] + size_t{2} > options.size()) return DropReason::k_ip_malformed;
      bytes = options[1] + size_t{2};
    }
    options = options.subspan(bytes);
  }
  return DropReason::kNone;
}

Chain walk_chain(IpProto first, std::span<const uint8_t> payload) noexcept {
  Chain chain{first, 0};
  for (int headers = 0;; ++headers) {
    bool fragment = chain.proto == IpProto::kFragment;
    bool options = chain.proto == IpProto::kHopByHop || chain.proto == IpProto::kDestOptions;
    if (chain.proto == IpProto::kRouting) {
      chain.reason = DropReason::k_ipv6_ext_header;  // RH0 (RFC 5095), and no other kind is named by a policy
      return chain;
    }
    if (!fragment && !options) return chain;
    // Hop-by-hop only comes first (§4.1); nothing comes often or far (RFC 9098 §5.1).
    if ((chain.proto == IpProto::kHopByHop && headers != 0) || headers == kIpv6MaxExtensions) {
      chain.reason = DropReason::k_ipv6_header_chain;
      return chain;
    }
    // A first fragment has the whole chain (RFC 7112).
    const DropReason cut_off = chain.fragment ? DropReason::k_fragment_tiny : DropReason::k_ip_malformed;
    if (payload.size() - chain.offset < sizeof(Ipv6Fragment)) {
      chain.reason = cut_off;
      return chain;
    }
    auto extension = load<Ipv6Extension>(payload.data() + chain.offset);
    size_t bytes = fragment ? sizeof(Ipv6Fragment) : (size_t{extension.length} + 1) * 8;
    if (fragment) {
      chain.reason = check_fragment(payload, chain);
      if (chain.reason != DropReason::kNone) return chain;
    }
    if (bytes > payload.size() - chain.offset) {
      chain.reason = cut_off;
      return chain;
    }
    if (options) {
      constexpr size_t kAt = sizeof(Ipv6Extension);
      chain.reason = check_options(payload.subspan(chain.offset + kAt, bytes - kAt));
      if (chain.reason != DropReason::kNone) return chain;
    }
    chain.offset += bytes;
    if (chain.offset > kIpv6MaxExtensionBytes) {
      chain.reason = DropReason::k_ipv6_header_chain;
      return chain;
    }
    chain.proto = extension.next_header;
    if (chain.later) return chain;
  }
}

/// A fragment by itself, whose headers are read.
DropReason finish_fragment(const Chain& chain, std::span<const uint8_t> l4, PacketMeta& meta) noexcept {
  meta.kind = PacketKind::kFragment;
  meta.l4 = static_cast<uint16_t>(meta.l3 + sizeof(Ipv6Header) + chain.carried_at);
  if (chain.later) return DropReason::kNone;
  if (!holds_l4_header(chain.proto, l4)) return DropReason::k_fragment_tiny;
  bool neighbour =
      chain.proto == IpProto::kIcmpv6 && l4[0] >= kIcmpv6RouterSolicitation && l4[0] <= kIcmpv6Redirect;
  return neighbour ? DropReason::k_nd_invalid : DropReason::kNone;  // RFC 6980 §5
}

}  // namespace

DropReason parse_ipv6(std::span<const uint8_t> frame, uint8_t parse_flags, PacketMeta& meta,
                      FlowKey6& key) noexcept {
  if (frame.size() < meta.l3 + sizeof(Ipv6Header)) return DropReason::k_frame_truncated;
  const uint8_t* at = frame.data() + meta.l3;
  auto ip = load<Ipv6Header>(at);
  size_t payload_bytes = ip.payload_length.host();
  // A payload length of 0 is a jumbogram (RFC 2675) or nothing at all: neither passes.
  if (ip.version_class_flow.host() >> 28 != 6 || payload_bytes == 0 ||
      payload_bytes > frame.size() - meta.l3 - sizeof(Ipv6Header) ||
      payload_bytes > 65535 - sizeof(Ipv6Header))
    return DropReason::k_ip_malformed;
  std::span<const uint8_t> payload{at + sizeof(Ipv6Header), payload_bytes};
  meta.ip_bytes = static_cast<uint16_t>(sizeof(Ipv6Header) + payload_bytes);
  return parse_ipv6_payload(frame, payload, parse_flags, meta, key);
}

DropReason parse_ipv6_payload(std::span<const uint8_t> frame, std::span<const uint8_t> payload,
                              uint8_t parse_flags, PacketMeta& meta, FlowKey6& key) noexcept {
  const uint8_t* at = frame.data() + meta.l3;
  auto ip = load<Ipv6Header>(at);
  meta.family = 6;
  Chain chain = walk_chain(ip.next_header, payload);
  meta.proto = chain.proto;
  meta.fragment = chain.fragment;
  meta.l4 = static_cast<uint16_t>(meta.l3 + sizeof(Ipv6Header) + chain.offset);
  auto l4 = payload.subspan(chain.offset);
  auto readable = chain.fragment ? std::span<const uint8_t>{} : l4;
  if (auto bad = check_addresses(ip, chain.proto, readable); bad != DropReason::kNone) return bad;
  if (chain.reason != DropReason::kNone) return chain.reason;
  if (chain.fragment) return finish_fragment(chain, l4, meta);

  uint64_t pseudo = checksum_sum(at + 8, 32);
  PortPair ports{};
  auto reason = parse_l4(l4, pseudo, parse_flags, meta, ports);
  if (reason != DropReason::kNone) return reason;
  // Neighbour discovery is never fragmented (RFC 6980 §5), not even into one piece.
  if (meta.kind == PacketKind::kNeighbour && chain.fragment_header) return DropReason::k_nd_invalid;
  if (meta.kind == PacketKind::kIcmpError) return parse_quoted_ipv6(l4, meta, key);
  fill_key(key, meta, meta.proto, ip.source, ip.destination, ports);
  return DropReason::kNone;
}

}  // namespace bulkhead
