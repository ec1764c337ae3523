// VXLAN (RFC 7348 §5) with the group policy extension (draft-smith-vxlan-group-policy §2.1; Linux
// include/net/vxlan.h).
#pragma once

#include "base/bytes.h"

namespace bulkhead {

struct VxlanHeader {
  Be16 flags;
  Be16 group;  ///< with kVxlanGroup: the source's group; else 0
  Be32 vni;    ///< VNI 24 bits, reserved 8
};
static_assert(sizeof(VxlanHeader) == 8 && alignof(VxlanHeader) == 1);

inline constexpr uint16_t kVxlanGroup = 0x8000;          ///< G: the group policy ID is there
inline constexpr uint16_t kVxlanVni = 0x0800;            ///< I: the VNI is valid
inline constexpr uint16_t kVxlanDontLearn = 0x0040;      ///< D
inline constexpr uint16_t kVxlanPolicyApplied = 0x0008;  ///< A; only with G
inline constexpr uint16_t kVxlanKnownFlags = kVxlanGroup | kVxlanVni | kVxlanDontLearn | kVxlanPolicyApplied;
inline constexpr uint32_t kVxlanMaxVni = 0xffffff;
inline constexpr uint16_t kVxlanUdpPort = 4789;
inline constexpr uint16_t kVxlanGroupInvalid = 0xffff;  ///< ours, as Cisco's SGT

}  // namespace bulkhead
