// What the mTLS relay told of itself and its connections, for those who show it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "contract/relay_messages.h"

namespace bulkhead {

/// Thread: any.
class RelayBoard {
 public:
  /// Bytes of proofs that are kept for their flow's last event, and of those that wait for the flow log.
  static constexpr size_t kMostProofBytes = size_t{96} << 20, kMostNewsBytes = size_t{32} << 20;

  /// What found no room here, since the start.
  struct Dropped {
    uint64_t proofs = 0;  ///< of living connections: their flow's last event is told without identities
    uint64_t news = 0;    ///< that the flow log was too slow for
  };

  /// `for_log`: whether there is a flow log, which news are for, and the proofs of connections that have
  /// ended.
  explicit RelayBoard(bool for_log = true) : for_log_(for_log) {}

  void attached(bool is_there);
  bool is_attached() const;
  void take(const RelayCounters& counters);
  /// That a connection was established, or never will be, is news. The proof of one that was is kept until
  /// forget(), or where there is no flow log until it ends; beyond kMostProofBytes the oldest go, those that
  /// have ended first.
  void take(ConnectionProof proof);
  /// Flows are numbered by a dataplane that started then: proofs from before are of others' flows, and go.
  void flows_since(BootTime started);
  /// The flow's last event is told.
  void forget(uint64_t flow_id);

  RelayCounters counters() const;
  Dropped dropped() const;
  /// The newest proof of a flow.
  std::optional<ConnectionProof> proof_of(uint64_t flow_id) const;
  /// The news since the last call, oldest first.
  std::vector<ConnectionProof> take_news();

 private:
  using Proofs = std::list<ConnectionProof>;
  void keep(ConnectionProof proof);
  void erase(Proofs::iterator proof);

  const bool for_log_;
  mutable std::mutex mutex_;
  bool attached_ = false;
  BootTime flows_since_{};
  RelayCounters counters_{};
  Dropped dropped_;
  Proofs proofs_;  ///< the next to go first
  std::unordered_map<uint64_t, Proofs::iterator> by_flow_;
  size_t proof_bytes_ = 0, news_bytes_ = 0;
  std::vector<ConnectionProof> news_;
};

}  // namespace bulkhead
