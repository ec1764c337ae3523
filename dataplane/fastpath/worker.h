// A worker: one thread on one CPU that takes packets from its queues, lets its pipeline judge them, and sends
// them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "contract/counters.h"
#include "dataplane/fastpath/boot_clock.h"
#include "dataplane/fastpath/exchange.h"
#include "dataplane/fastpath/flow_export.h"
#include "dataplane/fastpath/pipeline.h"
#include "dataplane/fastpath/port.h"
#include "dataplane/fastpath/quiescence.h"
#include "dataplane/fastpath/snapshot.h"

namespace bulkhead {

/// What a worker works with; everything outlives it.
struct WorkerParts {
  unsigned number;
  std::span<const std::unique_ptr<Port>> ports;
  Pipeline* pipeline;
  WorkerCounters* counters;
  Exchange* exchange;
  const Published* published;
  Quiescence* quiescence;
  FlowExport* flow_export;
  const std::atomic<bool>* stop;
  uint64_t tsc_hz;
};

class Worker {
 public:
  explicit Worker(const WorkerParts& parts);

  /// Works until `stop`. Thread: the worker's own. In a round no allocation, lock, log or exception, and no
  /// system call of ours but to wake a worker that sleeps; a worker that finds nothing to do sleeps until its
  /// descriptors have packets.
  void run() noexcept;

 private:
  BootTime now() noexcept;
  bool round() noexcept;
  uint32_t receive(const Port& port, uint16_t queue, const Snapshot* snapshot) noexcept;
  uint32_t take_handed_off(const Snapshot* snapshot) noexcept;
  uint32_t send_for_others() noexcept;
  void flush() noexcept;
  void transmit(const Port& port, rte_mbuf** packets, uint16_t count, uint64_t bytes) noexcept;
  void pass_on(const Port& port, rte_mbuf** packets, uint16_t count) noexcept;
  void drop(rte_mbuf** packets, uint16_t count, DropReason reason) noexcept;
  void wake_others() noexcept;

  bool anything_handed_over() const noexcept;
  void sleep() noexcept;

  WorkerParts parts_;
  BootClock clock_;
  bool more_soon_ = false;   ///< the pipeline has work left that no packet announces
  uint64_t handed_off_ = 0;  ///< of our counter, when others were last woken
  bool passed_on_ = false;
  uint64_t idle_since_ = 0;  ///< TSC; 0: the last round did something
  uint32_t sleep_ns_ = 0;    ///< the last sleep that had to be timed
};

}  // namespace bulkhead
