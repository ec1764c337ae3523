// Whether the mTLS relay is alive, as its heartbeats say.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"
#include "contract/relay_flow.h"

namespace bulkhead {

/// Written by whichever worker hears a heartbeat, read by all; relaxed, since nothing else depends on it.
struct RelayLife {
  std::atomic<int64_t> heard_boot_ns{INT64_MIN};
  std::atomic<RelayState> state{RelayState::kStarting};

  bool is_alive(BootTime now) const noexcept {
    int64_t heard = heard_boot_ns.load(std::memory_order_relaxed);
    return heard != INT64_MIN && now.ns - heard <= std::chrono::nanoseconds(kRelaySilence).count();
  }
  /// Whether it takes new connections.
  bool is_ready(BootTime now) const noexcept {
    return is_alive(now) && state.load(std::memory_order_relaxed) == RelayState::kReady;
  }
};

}  // namespace bulkhead
