// CLOCK_BOOTTIME as a worker reads it: from the TSC, without a call for every burst.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace bulkhead {

/// Turns TSC readings into BootTime. The anchor is taken anew every millisecond of TSC time, so that a clock
/// that was slewed and a machine that slept are noticed within one; in between time is a multiplication.
/// Never goes back. Thread: its owner.
class BootClock {
 public:
  using Source = BootTime (*)();

  /// `tsc_hz`: of the counter whose readings now() gets. `source`: where anchors come from.
  BootClock(uint64_t tsc_hz, uint64_t tsc, Source source = boot_now) noexcept
      : source_(source), period_(tsc_hz / 1000), scale_((uint64_t{1'000'000'000} << 32) / tsc_hz) {
    anchor(tsc);
  }

  /// The time at TSC reading `tsc`, which is no less than any before.
  BootTime now(uint64_t tsc) noexcept {
    if (tsc - anchor_tsc_ >= period_) [[unlikely]]
      anchor(tsc);
    int64_t elapsed = static_cast<int64_t>(((tsc - anchor_tsc_) * scale_) >> 32);
    int64_t ns = anchor_.ns + elapsed;
    if (ns > last_.ns) last_.ns = ns;
    return last_;
  }

 private:
  void anchor(uint64_t tsc) noexcept {
    anchor_ = source_();
    anchor_tsc_ = tsc;
  }

  Source source_;
  uint64_t period_;  ///< TSC ticks between anchors
  uint64_t scale_;   ///< nanoseconds in a tick, times 2^32; less than a period of ticks times it fits 64 bits
  BootTime anchor_{};
  uint64_t anchor_tsc_ = 0;
  BootTime last_{};
};

}  // namespace bulkhead
