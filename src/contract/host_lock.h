// Locks between the gateways of a host: bytes of one file that only root can open, so that nobody without
// privileges can take one and keep a gateway from starting.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/error.h"
#include "contract/memfd.h"

namespace bulkhead {

inline constexpr char kHostLockFile[] = "/run/bulkhead.lock";

/// What the bytes of kHostLockFile stand for. Those of interfaces lie far behind.
enum class HostLock : uint64_t { kHugepages, kSockets };

/// Locks a byte of the file at `path`, which is made (mode 0600) where there is none, until the descriptor is
/// closed or the process ends. Where somebody has it, calls `waiting` once, if there is one, and tries again
/// for as long as `patience`.
/// Errors: kExists, still locked then, naming the process that has it where that can be seen; kPermission,
/// the file belongs to another user or can't be opened; kSystem.
Expected<Fd> lock_byte(const std::string& path, uint64_t byte, std::chrono::milliseconds patience,
                       const std::function<void()>& waiting = {});
inline Expected<Fd> lock_host(HostLock what, std::chrono::milliseconds patience,
                              const std::function<void()>& waiting = {}) {
  return lock_byte(kHostLockFile, static_cast<uint64_t>(what), patience, waiting);
}

}  // namespace bulkhead
