// The XDP side of the guard: the driver attaches our program, this looks after what was there before and what
// stays behind.
#pragma once

#include <optional>

#include "base/error.h"
#include "dataplane/guard/interface.h"
#include "dataplane/guard/loaded_program.h"

namespace bulkhead {

/// Our XDP program on the interface, or nothing where no program is attached.
/// Errors: kExists (somebody else's is, named with what removes it), kPermission, kSystem.
Expected<std::optional<LoadedProgram>> our_xdp_on(const Interface& interface);

/// Detaches `program`, and only that one. None attached, or no interface any more, is no error.
/// Errors: kPermission, kSystem.
Expected<> detach_xdp(const Interface& interface, const LoadedProgram& program);

}  // namespace bulkhead
