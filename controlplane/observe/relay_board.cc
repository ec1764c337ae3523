#include "controlplane/observe/relay_board.h"

#include <utility>

namespace bulkhead {
namespace {

/// About what it takes here, with its place in the list and the index.
size_t bytes_of(const ConnectionProof& proof) {
  constexpr size_t kPlaces = 128;
  return sizeof proof + kPlaces + proof.own_id.size() + proof.peer_id.size() + proof.detail.size();
}

}  // namespace

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
  if (for_log_ && proof.record.moment != ProofMoment::kEnded) {
    if (news_bytes_ < kMostNewsBytes)
      news_bytes_ += bytes_of(proof), news_.push_back(proof);
    else
      ++dropped_.news;
  }
  if (proof.record.flow_id != 0) keep(std::move(proof));
}

/// One that ended may have had its flow's last event already: it doesn't come back, and is the next to go.
void RelayBoard::keep(ConnectionProof proof) {
  auto known = by_flow_.find(proof.record.flow_id);
  bool lives = proof.record.moment == ProofMoment::kEstablished;
  if (BootTime{proof.record.time_boot_ns} < flows_since_) return;  // the relay had kept it for us
  if (known == by_flow_.end() && !lives) return;
  if (known != by_flow_.end()) erase(known->second);
  if (!lives && !for_log_) return;
  proof_bytes_ += bytes_of(proof);
  auto place = proofs_.insert(lives ? proofs_.end() : proofs_.begin(), std::move(proof));
  by_flow_[place->record.flow_id] = place;
  while (proof_bytes_ > kMostProofBytes) {
    if (proofs_.front().record.moment == ProofMoment::kEstablished) ++dropped_.proofs;
    erase(proofs_.begin());
  }
}

void RelayBoard::flows_since(BootTime started) {
  std::lock_guard lock(mutex_);
  if (started == flows_since_) return;
  flows_since_ = started;
  proofs_.clear(), by_flow_.clear();
  proof_bytes_ = 0;
}

void RelayBoard::forget(uint64_t flow_id) {
  std::lock_guard lock(mutex_);
  if (auto known = by_flow_.find(flow_id); known != by_flow_.end()) erase(known->second);
}

void RelayBoard::erase(Proofs::iterator proof) {
  proof_bytes_ -= bytes_of(*proof);
  by_flow_.erase(proof->record.flow_id);
  proofs_.erase(proof);
}

RelayCounters RelayBoard::counters() const {
  std::lock_guard lock(mutex_);
  return counters_;
}

RelayBoard::Dropped RelayBoard::dropped() const {
  std::lock_guard lock(mutex_);
  return dropped_;
}

std::optional<ConnectionProof> RelayBoard::proof_of(uint64_t flow_id) const {
  std::lock_guard lock(mutex_);
  auto known = by_flow_.find(flow_id);
  return known == by_flow_.end() ? std::nullopt : std::optional(*known->second);
}

std::vector<ConnectionProof> RelayBoard::take_news() {
  std::lock_guard lock(mutex_);
  news_bytes_ = 0;
  return std::exchange(news_, {});
}

}  // namespace bulkhead
