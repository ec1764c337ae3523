// What every process that holds private keys gives up.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/error.h"

namespace bulkhead {

/// No core dump, nobody else looks into its memory, and no program that it starts has more rights than it.
/// Thread: the process's only one.
Expected<> limit_process();

/// From now on, threads to come included: no file, but those under `readable` (to read) where that isn't
/// empty. Files that are open stay so, and Unix sockets may be connected to. After limit_process().
/// Errors: kNotFound where `readable` isn't there; kSystem where the kernel has no Landlock.
Expected<> limit_files(const std::string& readable);

/// No capability but those of the mask `kept`, and none to be had again. Errors: kPermission where one of
/// them was not there.
Expected<> limit_capabilities(uint32_t kept);

/// Whether `attempt`, a system call, is refused; writes a line that says so on standard output.
bool is_refused(const char* what, const std::function<long()>& attempt);

}  // namespace bulkhead
