// The maps of one of the guard's programs: what the host may have, and what was counted.
#pragma once

#include <span>

#include "base/address.h"
#include "base/error.h"
#include "contract/memfd.h"
#include "dataplane/guard/guard.h"
#include "dataplane/guard/loaded_program.h"

namespace bulkhead {

class GuardMaps {
 public:
  /// Errors: kNotFound (not one of ours), kPermission, kSystem.
  static Expected<GuardMaps> of(const LoadedProgram& program);

  /// From here on the program leaves to the kernel what is addressed to one of `hosts` at `mac`. Call once.
  /// Errors: kInvalid (too many), kSystem.
  Expected<> admit(std::span<const IpAddress> hosts, const MacAddress& mac) const;

  /// Sums over CPUs. Needs no capability.
  GuardCounts counts() const;

 private:
  Fd hosts_, mac_, counts_;
};

}  // namespace bulkhead
