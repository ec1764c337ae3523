// Denied packets as events: the first of its kind at once, repetitions as one event with their count each
// second, so that a flood of denied packets is neither a flood of events nor lost.
#pragma once

#include <array>
#include <cstdint>

#include "contract/events.h"
#include "dataplane/fastpath/flow.h"

namespace bulkhead {

/// Thread: the owning worker.
class DenyLog {
 public:
  static constexpr Ticks kWindow = 1000;  ///< ms between events of the same kind

  /// Takes note of a denied packet. `kind_hash`: of what makes denies the same (addresses, service, reason).
  void note(uint64_t kind_hash, const FlowRecord& record, Ticks now, EventWriter& events) noexcept;
  /// Writes what has waited its time; looks at a few places each call.
  void flush(Ticks now, EventWriter& events) noexcept;

 private:
  struct Place {
    uint64_t kind = 0;  ///< 0: free
    Ticks since = 0;    ///< of the last event
    FlowRecord record;  ///< the repetitions since; packets[0] counts them
  };
  void write(Place& place, Ticks now, EventWriter& events) noexcept;
  std::array<Place, 256> places_{};
  uint32_t cursor_ = 0;
};

}  // namespace bulkhead
