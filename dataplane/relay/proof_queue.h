// Proofs on their way to the control plane. While nobody takes them they wait, up to a bound; then they are
// lost and counted.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>

#include "contract/relay_messages.h"

namespace bulkhead {

/// Thread: any.
class ProofQueue {
 public:
  explicit ProofQueue(size_t most) : most_(most) {}

  void add(ConnectionProof proof) {
    std::lock_guard lock(mutex_);
    if (waiting_.size() == most_)
      ++lost_;
    else
      waiting_.push_back(std::move(proof));
  }
  /// The oldest; nothing where none waits.
  std::optional<ConnectionProof> take() {
    std::lock_guard lock(mutex_);
    if (waiting_.empty()) return std::nullopt;
    ConnectionProof proof = std::move(waiting_.front());
    waiting_.pop_front();
    return proof;
  }
  /// One that was taken and couldn't be sent.
  void put_back(ConnectionProof proof) {
    std::lock_guard lock(mutex_);
    waiting_.push_front(std::move(proof));
  }
  uint64_t lost() const {
    std::lock_guard lock(mutex_);
    return lost_;
  }

 private:
  const size_t most_;
  mutable std::mutex mutex_;
  std::deque<ConnectionProof> waiting_;
  uint64_t lost_ = 0;
};

}  // namespace bulkhead
