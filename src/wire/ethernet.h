// Ethernet II and 802.1Q (IEEE 802.3, 802.1Q-2018 §9.6).
#pragma once

#include "base/address.h"
#include "base/bytes.h"
#include "base/types.h"

namespace bulkhead {

struct EthernetHeader {
  MacAddress destination;
  MacAddress source;
  Be16 ether_type;
};
static_assert(sizeof(EthernetHeader) == 14);

struct VlanHeader {
  Be16 control;     ///< PCP 3 bits, DEI 1, VID 12
  Be16 ether_type;  ///< of what follows
};
static_assert(sizeof(VlanHeader) == 4);

inline constexpr uint16_t kVlanIdMask = 0x0fff;
inline constexpr uint16_t kVlanIdReserved = 0x0fff;  // 802.1Q-2018 Table 9-2
inline constexpr uint16_t kEtherTypeMin = 0x0600;    // below: an 802.3 length (IEEE 802.3 §3.2.6)
inline constexpr uint16_t kEthernetMinBytes = 60;    // without FCS

}  // namespace bulkhead
