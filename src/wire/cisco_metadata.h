// Cisco metadata with an inline security group tag (SGT), EtherType 0x8909, as tshark's `cmd` dissects it:
// between the Ethernet header, 802.1Q tag included, and the EtherType of what follows.
#pragma once

#include "base/bytes.h"

namespace bulkhead {

struct CiscoMetadata {
  uint8_t version;
  uint8_t length;  ///< in units of 8 bytes
  Be16 option;     ///< length 3 bits, type 13
  Be16 sgt;
  Be16 ether_type;  ///< of what follows
};
static_assert(sizeof(CiscoMetadata) == 8 && alignof(CiscoMetadata) == 1);

inline constexpr uint8_t kCmdVersion = 1;
inline constexpr uint8_t kCmdLength = 1;
inline constexpr uint16_t kCmdOptionSgt = 1;  ///< length 0, type 1
inline constexpr uint16_t kCmdSgtInvalid = 0xffff;

}  // namespace bulkhead
