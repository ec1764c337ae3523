// The thread that keeps the mTLS relay supplied: attaches to it whenever it is there, hands over the newest
// identities, and takes its proofs and counters to the board. Apart from the control loop, so that a relay
// that hangs delays no policy.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/clock.h"
#include "contract/memfd.h"
#include "contract/relay_identities.h"
#include "controlplane/observe/relay_board.h"
#include "controlplane/publish/relay_client.h"

namespace bulkhead {

class RelayLink {
 public:
  /// How long the relay may take to judge every connection by identities that it was given.
  static constexpr Nanoseconds kPatience{60'000'000'000};

  /// Runs until destroyed. `board` outlives it. A relay that doesn't answer to identities within `patience`
  /// is given up, and attached to anew. Errors: no eventfd to be had.
  static Expected<std::unique_ptr<RelayLink>> start(std::string socket, RelayBoard& board,
                                                    Nanoseconds patience = kPatience);
  ~RelayLink();

  /// These identities go to the dataplane next, and may be what it enforces until settle() says so or not:
  /// the relay has them first, so that it is never the laxer one. Never blocks. Thread: any.
  void offer(IdentitySet identities);
  /// The dataplane that numbers flows started then. The relay is handed its identities anew, since it forgets
  /// them with the dataplane before. Never blocks. Thread: any.
  void dataplane_started(BootTime at);
  /// The dataplane enforces images of `generation`, 0 for none, and nothing else any more: an offer of
  /// another generation is withdrawn. Never blocks. Thread: any.
  void settle(uint64_t generation);

 private:
  RelayLink(std::string socket, RelayBoard& board, Nanoseconds patience, Fd wake);
  void run(const std::stop_token& stop);
  void attach();
  std::shared_ptr<const IdentitySet> next();
  void publish_if_due();
  void hear();
  void give_up_if_late();
  void lost(const Error& error);
  void back_off();
  void wait();
  void wake();

  const std::string socket_;
  RelayBoard& board_;
  const Nanoseconds patience_;
  const Fd wake_;

  // Under the mutex.
  std::mutex mutex_;
  uint64_t enforced_ = 0;                        ///< generation of the image that the dataplane enforces
  std::shared_ptr<const IdentitySet> in_force_;  ///< those of that generation, where they are known
  std::shared_ptr<const IdentitySet> offered_;   ///< those on their way to the dataplane
  BootTime dataplane_started_{};
  bool forgotten_ = false;  ///< the relay has none any more, whatever it was sent

  // The thread's own.
  std::unique_ptr<RelayClient> client_;
  uint64_t sent_ = 0;  ///< generation that was sent over this attachment; 0: none yet
  BootTime answer_due_ = kNever;
  BootTime attached_{}, next_attach_{};
  Nanoseconds pause_;  ///< before the next attempt: a relay that fails at once isn't tried all the time
  std::string told_trouble_;  ///< so that it is told once
  std::jthread thread_;
};

}  // namespace bulkhead
