// Frame to PacketMeta and flow key, or a drop reason: every header bounds-checked, the always-drop list
// applied.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/fastpath/packet.h"
#include "dataplane/fastpath/port_view.h"

namespace bulkhead {

/// Which checks a caller may leave to others.
enum ParseFlag : uint8_t {
  kSkipL4Checksum = 1,  ///< the device verified it, or the user said --ignore-checksums
  kSkipIpChecksum = 2,
  kNoShortcut = 4,  ///< tests: the common case takes the same way as all others
};

/// Reads one frame.
/// Input:  `frame` as received, in one piece; `port` that it came in on; `route_mode`: the zone is 0 and
/// tagged frames aren't expected. Output: `meta` (all but hash) and `key` of meta.family; the drop reason,
/// also in meta.reason, or kNone. Errors: frame_truncated, ethertype_unsupported, llc_unsupported,
/// vlan_unexpected, ip_malformed, ip_checksum, ip_options, ip_address_invalid,
///         ipv6_ext_header, ipv6_header_chain, fragment_invalid, fragment_tiny, nd_invalid, l4_truncated,
///         l4_checksum, tcp_flags_invalid, icmp_forbidden, icmp_unrelated (an ICMP error that quotes nothing
///         that could be a flow).
/// A fragment that is good by itself is PacketKind::kFragment, without a key.
/// Thread: any. Never allocates; reads only inside `frame`.
/// Source: RFC 791, 8200, 9293, 768, 792, 4443, 1858, 3128, 4942, 5095, 7126.
DropReason parse_frame(std::span<const uint8_t> frame, const PortView& port, bool route_mode,
                       uint8_t parse_flags, PacketMeta& meta, PacketKey& key) noexcept;

/// Reads a datagram that came in fragments, put together: the first fragment's frame up to its payload, with
/// what says that it is a fragment zeroed (IPv6: an atomic fragment, RFC 6946), then the whole payload to the
/// end of `frame`. IPv4's total length is that of the whole; IPv6's payload length isn't read, since with
/// the fragment header, which is still there, a whole may be longer than one packet.
/// Output and errors: as parse_frame().
DropReason parse_datagram(std::span<const uint8_t> frame, const PortView& port, bool route_mode,
                          uint8_t parse_flags, PacketMeta& meta, PacketKey& key) noexcept;

}  // namespace bulkhead
