// What to look at, where a drop counter suggests a known cause.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "controlplane/observe/readings.h"

namespace bulkhead {

/// Hints for these counters, the likeliest cause first; none where nothing stands out. `up`: since the
/// dataplane's start. `enforcing`: a policy is in force.
std::vector<std::string> hints_for(const Readings& readings, Nanoseconds up, bool enforcing);

}  // namespace bulkhead
