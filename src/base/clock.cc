#include "base/clock.h"

#include <ctime>

namespace bulkhead {

static int64_t read_clock(clockid_t id) {
  timespec now;
  clock_gettime(id, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

BootTime boot_now() {
  return BootTime{read_clock(CLOCK_BOOTTIME)};
}
WallTime wall_now() {
  return WallTime{read_clock(CLOCK_REALTIME)};
}

}  // namespace bulkhead
