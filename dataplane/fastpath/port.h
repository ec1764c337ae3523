// A gateway's port: the device behind it, from opening to closing, and what workers need to receive and send
// on it.
#pragma once

#include <rte_mempool.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"
#include "base/types.h"
#include "contract/settings.h"
#include "dataplane/fastpath/device.h"
#include "dataplane/guard/guard.h"

namespace bulkhead {

inline constexpr unsigned kMaxQueues = 16;  ///< of one port

/// Which worker a queue belongs to. Ports begin with different workers, so that ports of one queue each are
/// spread over all.
constexpr unsigned owner_of_queue(PortId port, unsigned queue, unsigned workers) {
  return (port.value + queue) % workers;
}

/// The queue that a worker sends on: one that it owns, or, where there are too few, one that another worker
/// owns and must send for it.
constexpr unsigned tx_queue_for(PortId port, unsigned worker, unsigned workers, unsigned queues) {
  return (worker + workers - port.value % workers) % workers % queues;
}

/// A port. The main thread opens, watches and closes it; workers touch its queues only while `usable`, which
/// they load (acquire) for each poll. Queue q belongs to the worker owner_of(q) alone, for both directions.
class Port {
 public:
  /// `device`: what setting.device was parsed to.
  Port(const PortSetting& setting, Device device, PortId id, unsigned worker_count);
  ~Port();  ///< closes the device; a guard that remove_guard() wasn't called for stays
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  /// How many queues the device shall have: one for each worker, or all that an af_xdp port's interface has,
  /// since a socket sees one of them and what came in on another would be lost. Errors: kInvalid, where they
  /// aren't to be had, and how to change that.
  Expected<uint16_t> wanted_queues() const;

  /// Guards the interface, probes the device, sets up its queues of `descriptors` with buffers from `pool`,
  /// and starts it. `usable` stays false until refresh() finds a link. May be called again after close(): the
  /// device must have as many queues as before. Errors: each names the port, and what to do. Nothing stays
  /// open then; what was guarded stays guarded.
  Expected<> open(rte_mempool* pool, uint16_t descriptors);

  /// Looks at the interface or link. Output: false when the open device is gone (the interface was deleted,
  /// moved, or made anew) and must be closed once no worker uses it; `usable` is up to date.
  bool refresh();
  /// Whether something to open() is there. Needs nothing but the interface's name; always true for other
  /// devices.
  bool present() const;
  /// Stops and closes the device. Only when no worker uses the port.
  void close();
  /// Leaves the interface to the kernel, at the gateway's clean end; the device is closed.
  Expected<> remove_guard();

  // Main thread.
  bool is_open() const { return open_; }
  const std::string& name() const { return setting_.name; }
  const Device& device() const { return device_; }
  MacAddress device_mac() const { return device_mac_; }
  GuardCounts guard_counts() const;  ///< over the port's life, however often it was opened
  uint64_t nic_missed();             ///< the same

  // Workers and the main thread: constant once open() has succeeded for the first time, but for `usable`, the
  // descriptors, and the number, which is constant while `usable`.
  PortId id() const { return id_; }
  uint16_t number() const { return number_; }  ///< DPDK's, of the open device: its next one may get another
  uint16_t queues() const { return queues_; }
  unsigned owner_of(unsigned queue) const { return owner_of_queue(id_, queue, worker_count_); }
  unsigned tx_queue_of(unsigned worker) const { return tx_queue_for(id_, worker, worker_count_, queues_); }
  bool sends_itself(unsigned worker) const { return owner_of(tx_queue_of(worker)) == worker; }
  bool usable() const { return usable_.load(std::memory_order_acquire); }
  /// A descriptor that becomes readable with packets on the queue; -1 where the driver has none. For waiting
  /// only.
  int queue_fd(unsigned queue) const { return queue_fd_[queue].load(std::memory_order_relaxed); }

 private:
  Expected<> open_device(rte_mempool* pool, uint16_t descriptors);
  Expected<> prepare_interface();
  Expected<> probe(uint16_t queues);
  Expected<> configure(uint16_t wanted_queues);
  Expected<> set_up_queues(rte_mempool* pool, uint16_t descriptors);
  Expected<> start();

  const PortSetting& setting_;
  const PortId id_;
  const unsigned worker_count_;
  const Device device_;
  std::optional<Guard> guard_;
  std::vector<int> probe_fds_;  ///< packet descriptors that probing opened
  bool probed_ = false, open_ = false;
  uint16_t number_ = 0;
  uint16_t queues_ = 0;           ///< 0: never opened
  unsigned interface_index_ = 0;  ///< of the kernel interface that was opened
  MacAddress device_mac_;
  GuardCounts guard_counted_;   ///< by guards before the present one
  uint64_t missed_before_ = 0;  ///< by devices before the present one
  uint64_t missed_now_ = 0;     ///< by the present one, as last asked
  std::atomic<bool> usable_{false};
  std::array<std::atomic<int>, kMaxQueues> queue_fd_;
};

}  // namespace bulkhead
