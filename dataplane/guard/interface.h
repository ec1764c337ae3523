// A network interface of the kernel, as the guard needs it.
#pragma once

#include <string>

#include "base/address.h"
#include "base/error.h"
#include "contract/memfd.h"

namespace bulkhead {

struct Interface {
  std::string name;
  int index = 0;
  MacAddress mac;
};

/// The Ethernet interface of that name in the calling thread's network namespace.
/// Errors: kNotFound, kInvalid (not Ethernet).
Expected<Interface> find_interface(const std::string& name);

/// False once the interface has been deleted; one made again under the same name is another one.
bool still_exists(const Interface& interface);

/// Makes this process the only one that guards the interface, until the descriptor is closed or the process
/// ends: what tells a leftover of a gateway that was killed from the program of one that runs.
/// Errors: kExists, naming the process that has it; kPermission.
Expected<Fd> claim(const Interface& interface);

}  // namespace bulkhead
