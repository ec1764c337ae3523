// The thread that keeps the mTLS relay supplied: attaches to it whenever it is there, hands over the newest
// identities, and takes its proofs and counters to the board. Apart from the control loop, so that a relay
// that hangs delays no policy.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "contract/memfd.h"
#include "contract/relay_identities.h"
#include "controlplane/observe/relay_board.h"
#include "controlplane/publish/relay_client.h"

namespace bulkhead {

class RelayLink {
 public:
  /// Runs until destroyed. `board` outlives it. Errors: no eventfd to be had.
  static Expected<std::unique_ptr<RelayLink>> start(std::string socket, RelayBoard& board);
  ~RelayLink();

  /// From now on these are the identities, of a generation greater than any before. Never blocks. Thread:
  /// any.
  void offer(IdentitySet identities);

 private:
  RelayLink(std::string socket, RelayBoard& board, Fd wake);
  void run(const std::stop_token& stop);
  void attach();
  void publish_if_due();
  void hear();
  void lost(const Error& error);
  void wait();

  const std::string socket_;
  RelayBoard& board_;
  const Fd wake_;
  std::mutex mutex_;
  std::optional<IdentitySet> offered_;  ///< under the mutex

  // The thread's own.
  std::unique_ptr<RelayClient> client_;
  uint64_t sent_ = 0;         ///< generation that was sent over this attachment; 0: none yet
  std::string told_trouble_;  ///< so that it is told once
  std::jthread thread_;
};

}  // namespace bulkhead
