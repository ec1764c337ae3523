// A policy from disk, compiled, for the commands that ask it something.
#pragma once

#include <memory>
#include <string>

#include "controlplane/compiler/explain.h"

namespace bulkhead {

/// Loads and compiles the policy of a directory (or one file) for a gateway (by default for none, so that
/// bindings to ports mean nothing), its deadlines in UTC. Diagnostics go to standard error.
/// Errors: kInvalid where it has errors, which have been printed.
Expected<std::unique_ptr<ExplainablePolicy>> read_policy(const std::string& path,
                                                         const DataplaneSettings& gateway = {});

}  // namespace bulkhead
