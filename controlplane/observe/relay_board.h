// What the mTLS relay told of itself and its connections, for those who show it.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "contract/relay_messages.h"

namespace bulkhead {

/// Thread: any.
class RelayBoard {
 public:
  /// Proofs of connections that are kept until their flow's last event is written: beyond it the oldest go.
  static constexpr size_t kMostProofs = size_t{1} << 18;
  /// Proofs that wait for the flow log: beyond it they are only counted, by the relay.
  static constexpr size_t kMostNews = size_t{1} << 14;

  void attached(bool is_there);
  bool is_attached() const;
  void take(const RelayCounters& counters);
  /// Keeps the proof of its flow. That a connection was established, or never will be, is news.
  void take(ConnectionProof proof);

  RelayCounters counters() const;
  /// The newest proof of a flow.
  std::optional<ConnectionProof> proof_of(uint64_t flow_id) const;
  /// The news since the last call, oldest first.
  std::vector<ConnectionProof> take_news();

 private:
  mutable std::mutex mutex_;
  bool attached_ = false;
  RelayCounters counters_{};
  std::unordered_map<uint64_t, ConnectionProof> proofs_;  ///< by flow id
  std::deque<uint64_t> order_;                            ///< flow ids as they came first
  std::vector<ConnectionProof> news_;
};

}  // namespace bulkhead
