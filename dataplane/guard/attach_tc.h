// The tc side of the guard: our ingress filter, first in line on the interface.
#pragma once

#include <cstdint>
#include <span>

#include "base/address.h"
#include "base/error.h"
#include "dataplane/guard/guard_maps.h"
#include "dataplane/guard/interface.h"

namespace bulkhead {

struct AttachedTc {
  uint32_t program_id = 0;
  GuardMaps maps;
};

/// Attaches the tc program, with its host addresses known from the first frame on. A leftover of ours is
/// replaced without a gap.
/// Errors: kExists (somebody else's filter has our place, or a tcx program comes before it), kInvalid (too
/// many host addresses), kPermission, kSystem.
Expected<AttachedTc> attach_tc(const Interface& interface, std::span<const IpAddress> host_addresses);

/// Detaches the filter of that program; the clsact qdisc, which others may use, stays. An interface that is
/// gone, or a filter that is another's by now, is no error.
/// Errors: kPermission, kSystem.
Expected<> detach_tc(const Interface& interface, uint32_t program_id);

}  // namespace bulkhead
