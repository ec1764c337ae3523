// IPv4 (RFC 791).
#pragma once

#include "base/bytes.h"
#include "base/types.h"

namespace bulkhead {

struct Ipv4Header {
  uint8_t version_ihl;
  uint8_t tos;
  Be16 total_length;
  Be16 id;
  Be16 fragment;  ///< flags 3 bits, offset 13 in units of 8 bytes
  uint8_t ttl;
  IpProto proto;
  Be16 checksum;
  Be32 source;
  Be32 destination;
};
static_assert(sizeof(Ipv4Header) == 20 && alignof(Ipv4Header) == 1);

inline constexpr uint8_t kIpv4MinIhl = 5;  // RFC 791 §3.1, in words of 4 bytes
inline constexpr uint16_t kIpv4DontFragment = 0x4000;
inline constexpr uint16_t kIpv4MoreFragments = 0x2000;
inline constexpr uint16_t kIpv4OffsetMask = 0x1fff;
inline constexpr uint16_t kIpv4MinMtu = 68;  // RFC 791 §3.2

// Options (RFC 791 §3.1) by type octet.
inline constexpr uint8_t kIpv4OptionEnd = 0;
inline constexpr uint8_t kIpv4OptionNop = 1;
inline constexpr uint8_t kIpv4OptionRecordRoute = 7;
inline constexpr uint8_t kIpv4OptionTimestamp = 68;
inline constexpr uint8_t kIpv4OptionLooseRoute = 131;
inline constexpr uint8_t kIpv4OptionStrictRoute = 137;

}  // namespace bulkhead
