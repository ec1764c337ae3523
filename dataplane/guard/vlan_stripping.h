// VLAN tags that a device takes off received frames: AF_XDP has no place to say so, and a frame of a VLAN
// would pass for an untagged one.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "dataplane/guard/interface.h"

namespace bulkhead {

/// Features of a device by their bit, as `ethtool -K` switches them.
using DeviceFeatures = std::vector<uint32_t>;

/// Leaves tags in received frames from here on. Returns the features that were on.
/// Errors: kInvalid (the device can't), kPermission, kSystem.
Expected<DeviceFeatures> stop_vlan_stripping(const Interface& interface);

/// Switches on what stop_vlan_stripping() switched off.
Expected<> restore_vlan_stripping(const Interface& interface, const DeviceFeatures& features);

}  // namespace bulkhead
