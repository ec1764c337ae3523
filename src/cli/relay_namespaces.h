// The user and network namespace that the mTLS relay lives in, made once by the supervisor and kept open by
// it, so that the interface in there outlives the relay and the relay the interface.
#pragma once

#include <string>

#include "base/directory.h"
#include "base/error.h"
#include "contract/memfd.h"

namespace bulkhead {

struct RelayNamespaces {
  Fd user, network;  ///< closed on exec
};

/// Makes them as `relay`, who owns them and is the only one who is known in there, by its own number. Must be
/// root. Errors: kSystem where there may be no more (user.max_user_namespaces), saying so.
Expected<RelayNamespaces> make_relay_namespaces(const Account& relay);

}  // namespace bulkhead
