// A thread that relays connections from their acceptance to their end.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "contract/counters.h"
#include "dataplane/relay/admission.h"
#include "dataplane/relay/connection.h"
#include "dataplane/relay/dataplane_port.h"
#include "dataplane/relay/policy.h"
#include "dataplane/relay/proof_queue.h"
#include "dataplane/relay/tls_contexts.h"

namespace bulkhead {

/// What workers share with each other and with the main thread. Everything in it says itself who may use it.
struct RelayShared {
  RelayShared(Fd port, size_t announcements, AdmissionLimits limits, uint64_t memory_bytes, size_t proofs)
      : dataplane(std::move(port), announcements), admission(limits), memory(memory_bytes), proofs(proofs) {}

  DataplanePort dataplane;
  Admission admission;
  MemoryBudget memory;
  ProofQueue proofs;
  std::shared_ptr<CurrentTrust> trust = std::make_shared<CurrentTrust>(std::make_shared<const TrustStore>());
  std::atomic<bool> draining{false};
};

/// Written by the worker, read by anyone, relaxed.
struct WorkerCounts {
  Counter established[kRelayRoleCount];
  Counter failed[kRelayRoleCount][kRelayEndCount];
  Counter ended[kRelayRoleCount][kRelayEndCount];
  Counter unannounced, resumed;
  Counter bytes_from_client, bytes_from_server;
};

/// What a connection takes beside its queues, about: TLS state, the peer's certificates, bookkeeping.
inline constexpr uint64_t kConnectionBytes = 26 * 1024;

class Worker {
 public:
  static Expected<std::unique_ptr<Worker>> create(RelayShared& shared);

  /// Until stop(). Thread: the worker's.
  void run();

  // Thread: any.
  /// Gives it another policy to judge by; every connection that it has is judged again.
  void give(std::shared_ptr<const RelayPolicy> policy);
  /// The epoch under which all of its connections have been judged.
  uint64_t judged_epoch() const { return judged_epoch_.load(std::memory_order_acquire); }
  /// Ends all connections: the link that they ran over is gone.
  void end_all();
  void stop();
  const WorkerCounts& counts() const { return counts_; }

 private:
  explicit Worker(RelayShared& shared);
  Expected<> open();
  Expected<> watch(int fd, uint32_t events, void* target);
  void wake();

  int patience_ms() const;
  void take_event(void* target, uint32_t events);
  void take_orders();
  void adopt(std::shared_ptr<const RelayPolicy> policy);
  void identify();
  void accept_all(const Fd& listener);
  void accept(AcceptedConnection accepted);
  void refuse(Fd fd);

  // Opening, in order. Each ends the connection where it can't go on.
  std::optional<RelayEnd> admit(const Connection& c);
  void begin(std::unique_ptr<Connection> connection);
  void open(Connection& c);
  bool choose_identity(Connection& c, OwnSvid& own);
  void connect(Connection& c);
  bool secure(Connection& c);
  void continue_handshake(Connection& c);
  void fail_handshake(Connection& c, LegStatus status);
  void authorize(Connection& c);
  void continue_connect(Connection& c);
  void establish(Connection& c);

  void advance(Connection& c);
  void advance_ready();
  void relay(Connection& c);
  void wait_for(Connection& c, Connection::Phase phase);
  void expire();
  void judge_again();
  bool still_allowed(Connection& c, std::string& why);
  bool peer_is_allowed(const Connection& c, const SpiffeId& peer) const;
  void end(Connection& c, RelayEnd end, std::string detail = {});
  void bury();
  void report(const Connection& c, ProofMoment moment, RelayEnd end, std::string detail);

  RelayShared& shared_;
  BlockPool pool_;
  TlsContexts contexts_;
  Fd epoll_, wakeup_, listener4_, listener6_;
  bool accept_paused_ = false;  ///< descriptors ran out: tried again with the next wake-up
  std::shared_ptr<const RelayPolicy> policy_;

  // Under orders_mutex_: what other threads want.
  std::mutex orders_mutex_;
  std::shared_ptr<const RelayPolicy> ordered_policy_;
  bool end_all_ordered_ = false;
  std::atomic<bool> stop_{false};

  IntrusiveList<Connection> all_, unidentified_, handshaking_, connecting_, ready_;
  std::vector<Connection*> dead_;
  Connection* judged_next_ = nullptr;  ///< where judging again goes on; nullptr: done
  std::atomic<uint64_t> judged_epoch_{0};
  WorkerCounts counts_{};
};

}  // namespace bulkhead
