// `bulkhead svid`: what its commands share.
#pragma once

#include <string>

#include "cli/command.h"
#include "cli/json.h"

namespace bulkhead {

/// `bulkhead svid show` and `verify`, which change nothing.
void add_svid_show(CLI::App& group, Task& chosen);
void add_svid_verify(CLI::App& group, Task& chosen);

}  // namespace bulkhead
