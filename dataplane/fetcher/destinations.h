// The two sockets that the fetcher speaks with.
#pragma once

#include <sys/un.h>

#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace bulkhead {

/// Addresses in a page that can't be written any more. The filter of system calls lets connect() through for
/// these two by where they lie, since it sees no further; so they must stay what and where they are, and the
/// filter refuses what would change that (confinement.cc). Hence the lowest page that the process may map:
/// nothing that begins above it reaches into it.
struct Destinations {
  sockaddr_un agent, relay;
};

inline constexpr size_t kDestinationsBytes = 4096;

/// Never freed. Errors: kInvalid for a path that a socket can't have; kSystem.
Expected<const Destinations*> fix_destinations(const std::string& agent, const std::string& relay);

/// A connection to one of the two. `type`: SOCK_STREAM, SOCK_SEQPACKET. Errors: as connect(2), with the path.
Expected<Fd> connect_to(const sockaddr_un& destination, int type);

}  // namespace bulkhead
