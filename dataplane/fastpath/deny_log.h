// Denied packets as events: the first of its kind at once, repetitions as one event with their count each
// second, so that a flood of denied packets is neither a flood of events nor lost. Kinds without end, as a
// scan of ports makes them, are events only up to a rate: what is over it is one event a second for each
// reason.
#pragma once

#include <array>
#include <cstdint>

#include "base/drop_reason.h"
#include "contract/events.h"
#include "dataplane/fastpath/flow.h"
#include "dataplane/fastpath/flow_hash.h"
#include "dataplane/fastpath/token_bucket.h"

namespace bulkhead {

/// Thread: the owning worker.
class DenyLog {
 public:
  static constexpr Ticks kWindow = 1000;              ///< ms between events of the same kind
  static constexpr uint32_t kEventsPerSecond = 1000;  ///< of all kinds: a ring holds 16 seconds of them

  /// `seed`: secret, so that nobody can choose packets that share a place.
  explicit DenyLog(const HashSeed& seed = {}) noexcept : seed_(seed) { bucket_.set(kEventsPerSecond); }

  /// Takes note of a denied packet. Denies are of one kind when source, destination, service and reason are
  /// the same.
  void note(const FlowRecord& record, Ticks now, EventWriter& events) noexcept;
  /// Writes what has waited its time; looks at a few places each call.
  void flush(Ticks now, EventWriter& events) noexcept;

  /// Never 0. The place is its top byte.
  static uint64_t kind_of(const FlowRecord& record, const HashSeed& seed) noexcept;

 private:
  struct Place {
    uint64_t kind = 0;  ///< 0: free
    Ticks since = 0;    ///< of the last event
    FlowRecord record;  ///< the repetitions since; packets[0] counts them
  };
  struct Sum {
    uint64_t packets = 0, bytes = 0;
  };
  void write(Place& place, Ticks now, EventWriter& events) noexcept;
  void write_sums(Ticks now, EventWriter& events) noexcept;

  HashSeed seed_;
  TokenBucket bucket_;
  std::array<Place, 256> places_{};
  uint32_t cursor_ = 0;
  std::array<Sum, kDropReasonCount> sums_{};  ///< of what got no event of its own
  FlowRecord last_summed_{};
  bool summed_ = false;  ///< there is one
  Ticks sums_due_ = 0;   ///< when they are written, where there is one
};

}  // namespace bulkhead
