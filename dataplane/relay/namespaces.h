// The user and network namespace that the relay lives in.
#pragma once

#include <string>

#include "base/error.h"

namespace bulkhead {

/// New ones. The calling process's user becomes user 0 in there, and is the only one that there is.
/// Errors: kPermission where unprivileged users may not make user namespaces (user.max_user_namespaces).
/// Thread: the process's only one.
Expected<> enter_new_namespaces();

/// Existing ones, made by the same user, so that the interface in there outlives this process.
/// Errors: kNotFound, kPermission; kInvalid where the calling process's user isn't mapped in there.
Expected<> enter_namespaces(const std::string& user_namespace, const std::string& network_namespace);

}  // namespace bulkhead
