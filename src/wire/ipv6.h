// IPv6 and its extension headers (RFC 8200).
#pragma once

#include "base/bytes.h"
#include "base/types.h"

namespace bulkhead {

struct Ipv6Header {
  Be32 version_class_flow;
  Be16 payload_length;
  IpProto next_header;
  uint8_t hop_limit;
  uint8_t source[16];
  uint8_t destination[16];
};
static_assert(sizeof(Ipv6Header) == 40 && alignof(Ipv6Header) == 1);

/// Hop-by-hop, destination options and routing headers begin like this (§4.3, §4.4, §4.6).
struct Ipv6Extension {
  IpProto next_header;
  uint8_t length;  ///< in units of 8 bytes, not counting the first 8
};

inline constexpr uint8_t kIpv6OptionPad1 = 0;      // §4.2
inline constexpr uint8_t kIpv6OptionJumbo = 0xc2;  // RFC 2675 §2

/// §4.5
struct Ipv6Fragment {
  IpProto next_header;
  uint8_t reserved;
  Be16 offset_more;  ///< offset 13 bits in units of 8 bytes, reserved 2, more 1
  Be32 id;
};
static_assert(sizeof(Ipv6Fragment) == 8);

inline constexpr uint16_t kIpv6FragmentMore = 1;
inline constexpr uint16_t kIpv6FragmentOffsetMask = 0xfff8;
inline constexpr uint16_t kIpv6MinMtu = 1280;       // §5
inline constexpr int kIpv6MaxExtensions = 8;        // ours; RFC 9098 §5.1 on why to bound
inline constexpr int kIpv6MaxExtensionBytes = 512;  // ours

}  // namespace bulkhead
