// The memory that the dataplane shares with the control plane: counters, and an event ring for each worker.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "contract/counters.h"
#include "contract/events.h"
#include "contract/memfd.h"

namespace bulkhead {

/// Lives as long as the dataplane, over any number of control planes.
class Telemetry {
 public:
  /// Errors: kExhausted, kSystem.
  static Expected<Telemetry> create(unsigned worker_count, unsigned port_count, uint64_t tsc_hz);

  CountersHeader& header() { return *counters_.mapping.as<CountersHeader>(); }
  /// Written by that worker alone.
  WorkerCounters& worker(unsigned worker) {
    return counters_.mapping.as<WorkerCounters>(sizeof(CountersHeader))[worker];
  }
  /// The producing end of that worker's ring: one for each worker.
  EventWriter events(unsigned worker) const;
  unsigned worker_count() const { return static_cast<unsigned>(rings_.size()); }

  /// What a Welcome carries, in its order: counters, then each worker's ring and the ring's consumer page.
  std::vector<int> fds() const;

 private:
  struct Ring {
    SharedMemory records;
    SharedMemory tail;
  };
  static Expected<Ring> make_ring();
  SharedMemory counters_;
  std::vector<Ring> rings_;
};

}  // namespace bulkhead
