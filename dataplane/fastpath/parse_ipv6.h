// IPv6 and its extension headers.
#pragma once

#include <span>

#include "dataplane/fastpath/packet.h"

namespace bulkhead {

/// As parse_frame, from meta.l3 on; sets everything but the key's zone.
/// Source: RFC 8200 §3, §4; RFC 5095, 6946, 7045, 7112, 9098.
DropReason parse_ipv6(std::span<const uint8_t> frame, uint8_t parse_flags, PacketMeta& meta,
                      FlowKey6& key) noexcept;

/// The same from the end of the IPv6 header on, whose lengths aren't read.
DropReason parse_ipv6_payload(std::span<const uint8_t> frame, std::span<const uint8_t> payload,
                              uint8_t parse_flags, PacketMeta& meta, FlowKey6& key) noexcept;

}  // namespace bulkhead
