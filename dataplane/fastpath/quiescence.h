// When a worker is certain to hold nothing of an old snapshot: DPDK's quiescent-state RCU over the gateway's
// workers.
//
// A worker that runs is online and passes a quiescent point after each burst, where it holds no pointer that
// it got through Published. One that sleeps is offline, and nobody waits for it. Needs no EAL.
#pragma once

#include <cstdint>
#include <memory>

#include <rte_rcu_qsbr.h>

namespace bulkhead {

class Quiescence {
 public:
  /// For workers 0 to `workers` - 1, all of them offline. nullptr: memory ran out.
  static std::unique_ptr<Quiescence> create(unsigned workers);

  /// From now on snapshots that this worker loads stay until its next quiescent point. Thread: that worker.
  void online(unsigned worker) noexcept { rte_rcu_qsbr_thread_online(variable_.get(), worker); }
  /// The worker holds no snapshot, and takes none before it is online again. Thread: that worker.
  void offline(unsigned worker) noexcept { rte_rcu_qsbr_thread_offline(variable_.get(), worker); }
  /// The worker holds no snapshot at this moment. Thread: that worker, online. Cost: one load, rarely a
  /// store.
  void quiescent(unsigned worker) noexcept { rte_rcu_qsbr_quiescent(variable_.get(), worker); }

  /// Starts a grace period for what was unpublished before this call. Thread: control.
  uint64_t start_grace() noexcept { return rte_rcu_qsbr_start(variable_.get()); }
  /// Whether every worker was quiescent or offline since start_grace() returned `grace`. Never waits. Thread:
  /// control.
  bool passed(uint64_t grace) noexcept { return rte_rcu_qsbr_check(variable_.get(), grace, false) == 1; }

 private:
  struct Free {
    void operator()(rte_rcu_qsbr* variable) const noexcept;
  };
  explicit Quiescence(rte_rcu_qsbr* variable) : variable_(variable) {}
  std::unique_ptr<rte_rcu_qsbr, Free> variable_;
};

}  // namespace bulkhead
