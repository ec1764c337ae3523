// Time. The dataplane runs on CLOCK_BOOTTIME, which no step of the wall clock moves.
#pragma once

#include <chrono>
#include <cstdint>

namespace bulkhead {

using Nanoseconds = std::chrono::duration<int64_t, std::nano>;

/// An instant of CLOCK_BOOTTIME (in replay: of the captures' clock).
struct BootTime {
  int64_t ns = 0;
  constexpr auto operator<=>(const BootTime&) const = default;
};
constexpr BootTime operator+(BootTime time, Nanoseconds by) {
  return {time.ns + by.count()};
}
constexpr BootTime operator-(BootTime time, Nanoseconds by) {
  return {time.ns - by.count()};
}
inline constexpr BootTime kNever{INT64_MAX};

/// An instant of UTC, nanoseconds since 1970.
struct WallTime {
  int64_t ns = 0;
  constexpr auto operator<=>(const WallTime&) const = default;
};

BootTime boot_now();
WallTime wall_now();

}  // namespace bulkhead
