// ICMP (RFC 792), ICMPv6 (RFC 4443) and neighbour discovery (RFC 4861).
#pragma once

#include "base/bytes.h"

namespace bulkhead {

struct IcmpHeader {
  uint8_t type;
  uint8_t code;
  Be16 checksum;
  Be16 id;        ///< queries; errors: first half of the rest
  Be16 sequence;  ///< queries; IPv4 fragmentation needed: next-hop MTU (RFC 1191 §4)
};
static_assert(sizeof(IcmpHeader) == 8);

inline constexpr uint8_t kIcmpEchoReply = 0;
inline constexpr uint8_t kIcmpUnreachable = 3;
inline constexpr uint8_t kIcmpSourceQuench = 4;  // deprecated: RFC 6633
inline constexpr uint8_t kIcmpRedirect = 5;
inline constexpr uint8_t kIcmpEcho = 8;
inline constexpr uint8_t kIcmpTimeExceeded = 11;
inline constexpr uint8_t kIcmpParameterProblem = 12;
inline constexpr uint8_t kIcmpTimestamp = 13;
inline constexpr uint8_t kIcmpTimestampReply = 14;
inline constexpr uint8_t kIcmpFragmentationNeeded = 4;  // code of kIcmpUnreachable
inline constexpr uint8_t kIcmpAdminProhibited = 13;     // code of kIcmpUnreachable (RFC 1812 §5.2.7.1)

inline constexpr uint8_t kIcmpv6Unreachable = 1;
inline constexpr uint8_t kIcmpv6PacketTooBig = 2;
inline constexpr uint8_t kIcmpv6TimeExceeded = 3;
inline constexpr uint8_t kIcmpv6ParameterProblem = 4;
inline constexpr uint8_t kIcmpv6FirstInformational = 128;
inline constexpr uint8_t kIcmpv6Echo = 128;
inline constexpr uint8_t kIcmpv6EchoReply = 129;
inline constexpr uint8_t kIcmpv6RouterSolicitation = 133;
inline constexpr uint8_t kIcmpv6RouterAdvertisement = 134;
inline constexpr uint8_t kIcmpv6NeighbourSolicitation = 135;
inline constexpr uint8_t kIcmpv6NeighbourAdvertisement = 136;
inline constexpr uint8_t kIcmpv6Redirect = 137;
inline constexpr uint8_t kIcmpv6AdminProhibited = 1;  // code of kIcmpv6Unreachable

/// Neighbour solicitation and advertisement (RFC 4861 §4.3, §4.4); options follow.
struct NeighbourMessage {
  uint8_t type;
  uint8_t code;
  Be16 checksum;
  Be32 flags;
  uint8_t target[16];
};
static_assert(sizeof(NeighbourMessage) == 24);

inline constexpr uint8_t kNdHopLimit = 255;  // RFC 4861 §7.1
inline constexpr uint8_t kNdOptionSourceLinkLayer = 1;
inline constexpr uint8_t kNdOptionTargetLinkLayer = 2;
inline constexpr uint32_t kNdFlagSolicited = 0x40000000;
inline constexpr uint32_t kNdFlagOverride = 0x20000000;
inline constexpr uint32_t kNdFlagRouter = 0x80000000;

}  // namespace bulkhead
