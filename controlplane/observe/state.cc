#include "controlplane/observe/state.h"

#include <algorithm>

namespace bulkhead {

void EnforcementTimes::add(double seconds) {
  auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
  ++counts[static_cast<size_t>(bound - kBounds.begin())];
  sum_seconds += seconds;
  last_seconds = seconds;
}

}  // namespace bulkhead
