#include "controlplane/observe/relay_board.h"

#include <utility>

namespace bulkhead {

void RelayBoard::attached(bool is_there) {
  std::lock_guard lock(mutex_);
  attached_ = is_there;
}

bool RelayBoard::is_attached() const {
  std::lock_guard lock(mutex_);
  return attached_;
}

void RelayBoard::take(const RelayCounters& counters) {
  std::lock_guard lock(mutex_);
  counters_ = counters;
}

void RelayBoard::take(ConnectionProof proof) {
  std::lock_guard lock(mutex_);
  if (proof.record.moment != ProofMoment::kEnded && news_.size() < kMostNews) news_.push_back(proof);
  if (proof.record.flow_id == 0) return;
  auto [known, is_new] = proofs_.try_emplace(proof.record.flow_id);
  if (is_new) order_.push_back(proof.record.flow_id);
  known->second = std::move(proof);
  for (; order_.size() > kMostProofs; order_.pop_front()) proofs_.erase(order_.front());
}

RelayCounters RelayBoard::counters() const {
  std::lock_guard lock(mutex_);
  return counters_;
}

std::optional<ConnectionProof> RelayBoard::proof_of(uint64_t flow_id) const {
  std::lock_guard lock(mutex_);
  auto known = proofs_.find(flow_id);
  return known == proofs_.end() ? std::nullopt : std::optional(known->second);
}

std::vector<ConnectionProof> RelayBoard::take_news() {
  std::lock_guard lock(mutex_);
  return std::exchange(news_, {});
}

}  // namespace bulkhead
