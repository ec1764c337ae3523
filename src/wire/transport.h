// TCP (RFC 9293), UDP (RFC 768) and SCTP's common header (RFC 9260 §3.1).
#pragma once

#include "base/bytes.h"

namespace bulkhead {

struct TcpHeader {
  Be16 source_port;
  Be16 destination_port;
  Be32 sequence;
  Be32 acknowledgement;
  uint8_t data_offset;  ///< upper 4 bits, in words of 4 bytes
  uint8_t flags;
  Be16 window;
  Be16 checksum;
  Be16 urgent;
};
static_assert(sizeof(TcpHeader) == 20 && alignof(TcpHeader) == 1);

// RFC 9293 §3.1; ECE and CWR: RFC 3168.
inline constexpr uint8_t kTcpFin = 0x01;
inline constexpr uint8_t kTcpSyn = 0x02;
inline constexpr uint8_t kTcpRst = 0x04;
inline constexpr uint8_t kTcpPsh = 0x08;
inline constexpr uint8_t kTcpAck = 0x10;
inline constexpr uint8_t kTcpUrg = 0x20;
inline constexpr uint8_t kTcpOptionEnd = 0;
inline constexpr uint8_t kTcpOptionNop = 1;
inline constexpr uint8_t kTcpOptionWindowScale = 3;  // RFC 7323 §2.2
inline constexpr uint8_t kTcpMaxWindowScale = 14;    // RFC 7323 §2.3

struct UdpHeader {
  Be16 source_port;
  Be16 destination_port;
  Be16 length;
  Be16 checksum;
};
static_assert(sizeof(UdpHeader) == 8);

struct SctpHeader {
  Be16 source_port;
  Be16 destination_port;
  Be32 verification_tag;
  Be32 checksum;  ///< CRC-32C, little-endian (RFC 9260 Appendix A)
};
static_assert(sizeof(SctpHeader) == 12);

}  // namespace bulkhead
