// What workers pass each other: rings of packets, one for each pair and direction, and doorbells for those
// that sleep.
#pragma once

#include <rte_ring.h>

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "contract/memfd.h"

namespace bulkhead {

/// How a sleeping worker is told that there is something for it. It raises `asleep` before it looks at its
/// rings a last time; whoever fills one looks at `asleep` afterwards. The fences between make sure that one
/// of the two sees the other.
class alignas(64) Doorbell {
 public:
  /// Errors: kExhausted (descriptors).
  static Expected<std::unique_ptr<Doorbell>> create();
  /// Wakes the worker if it sleeps. Thread: any.
  void ring() noexcept;
  /// From here on ring() is heard. Thread: the worker, before it looks for work a last time.
  void lie_down() noexcept;
  /// Thread: the worker, after its sleep.
  void get_up() noexcept;
  int fd() const { return fd_.get(); }

 private:
  explicit Doorbell(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
  std::atomic<bool> asleep_{false};
};

/// The rings between workers. Each has one producer and one consumer.
class Exchange {
 public:
  /// Errors: kExhausted.
  static Expected<std::unique_ptr<Exchange>> create(unsigned workers, size_t ports);
  ~Exchange();

  unsigned workers() const { return static_cast<unsigned>(doorbells_.size()); }
  /// Packets for the worker that owns their flow, by receiving worker; nullptr for `from` itself.
  std::span<rte_ring* const> hand_off_from(unsigned from) const {
    return std::span(hand_off_).subspan(size_t{from} * workers(), workers());
  }
  rte_ring* hand_off(unsigned from, unsigned to) const { return hand_off_[size_t{from} * workers() + to]; }
  /// Packets that `from` wants sent on a port by the worker that owns the queue. nullptr where there is one
  /// worker only.
  rte_ring* outgoing(PortId port, unsigned from) const {
    return outgoing_.empty() ? nullptr : outgoing_[size_t{port.value} * workers() + from];
  }
  Doorbell& doorbell(unsigned worker) const { return *doorbells_[worker]; }

 private:
  Exchange() = default;
  std::vector<std::unique_ptr<Doorbell>> doorbells_;
  std::vector<rte_ring*> hand_off_;  ///< [from][to]
  std::vector<rte_ring*> outgoing_;  ///< [port][from]
};

}  // namespace bulkhead
