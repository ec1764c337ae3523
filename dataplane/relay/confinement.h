// What the relay gives up before it touches what a peer sent: it holds private keys and parses TLS.
#pragma once

#include <string>

#include "base/error.h"

namespace bulkhead {

/// From now on, threads to come included: no file but those under `readable` (to read; empty: none at all),
/// no program is started, no socket but TCP, no look at other processes, no executable memory, no core dump,
/// no capability but CAP_NET_ADMIN in its own user namespace (transparent sockets, the interface to the
/// dataplane). A system call that isn't needed fails with EPERM. Errors: kNotFound where `readable` isn't
/// there; kSystem where the kernel has no Landlock or seccomp. Thread: the process's only one.
Expected<> confine(const std::string& readable);

/// Tries what confine() forbids, and writes a line for each on standard output. Whether all was refused.
bool check_confinement(const std::string& readable);

}  // namespace bulkhead
