// ARP for IPv4 over Ethernet (RFC 826).
#pragma once

#include "base/address.h"
#include "base/bytes.h"

namespace bulkhead {

struct ArpHeader {
  Be16 hardware_type;
  Be16 protocol_type;
  uint8_t hardware_length;
  uint8_t protocol_length;
  Be16 operation;
  MacAddress sender_mac;
  Be32 sender_ip;
  MacAddress target_mac;
  Be32 target_ip;
};
static_assert(sizeof(ArpHeader) == 28 && alignof(ArpHeader) == 1);

inline constexpr uint16_t kArpHardwareEthernet = 1;
inline constexpr uint16_t kArpRequest = 1;
inline constexpr uint16_t kArpReply = 2;

}  // namespace bulkhead
