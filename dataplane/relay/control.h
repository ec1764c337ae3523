// The relay's end of its channel to the control plane (contract/relay_messages.h): one control plane at a
// time.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "contract/channel.h"
#include "contract/relay_messages.h"
#include "dataplane/relay/proof_queue.h"

namespace bulkhead {

/// What the control plane's messages do. An error of take_identities() is answered with Refused; otherwise
/// answer_identities() follows, now or later.
struct RelayOrders {
  std::function<Expected<>(const PublishIdentities&, const Fd& image)> take_identities;
  std::function<void()> drain, shut_down;
  std::function<RelayWelcome()> welcome;
};

/// Thread: one, the main one.
class RelayControl {
 public:
  /// Serves a listening socket as listen_at() makes it. Who may open its file may attach, and nobody else:
  /// the relay knows no users but its own. Errors: kInvalid where it is none.
  static Expected<RelayControl> serve_at(Fd listener, RelayOrders orders);

  /// What to wait for, for reading.
  void add_fds(std::vector<int>& fds) const;
  /// Does what there is to do, without waiting.
  void step();
  /// The identities that were taken are what every connection is judged by.
  void answer_identities(uint64_t generation, int64_t checked_ns, int64_t enforced_ns);
  void send_counters(RelayCounters counters);
  /// Sends proofs for as long as they are taken.
  void send_proofs(ProofQueue& proofs);
  /// Ends the attachment, if there is one: at the next, all is handed over.
  void hang_up(const std::string& why) { keep_if(fail(ErrorCode::kUnavailable, why)); }
  bool attached() const { return plane_.has_value(); }

 private:
  /// A connection that hasn't said Hello yet.
  struct Guest {
    Channel channel;
    BootTime deadline;
  };
  RelayControl(RelayOrders orders, Fd listener)
      : orders_(std::move(orders)), listener_(std::move(listener)) {}
  void admit_guests();
  bool stays(Guest& guest);
  void greet(Guest& guest, const Packet& packet);
  void serve_plane();
  Expected<> serve(Packet packet);
  bool can_send() const;
  void keep_if(const Expected<>& sent);

  RelayOrders orders_;
  Fd listener_;
  std::vector<Guest> guests_;
  std::optional<Channel> plane_;
  uint64_t pending_ = 0;  ///< the generation that is to be answered; nothing more is taken meanwhile
};

}  // namespace bulkhead
