// What the fetcher gives up before it speaks with anybody.
#pragma once

#include "dataplane/fetcher/destinations.h"

namespace bulkhead {

/// From now on, threads to come included: connections to the two destinations and nothing else; no file, no
/// program is started, no look at other processes and no signal to them, no executable memory, no core dump,
/// no capability. A system call that isn't needed fails with EPERM. Errors: kSystem where the kernel has no
/// Landlock or seccomp. Thread: the process's only one.
Expected<> confine_fetcher(const Destinations& destinations);

/// Tries what confine_fetcher() forbids, and writes a line for each on standard output. Whether all was
/// refused.
bool check_fetcher_confinement(const Destinations& destinations);

}  // namespace bulkhead
