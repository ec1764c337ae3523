// The datagrams between the dataplane and the relay.
#pragma once

#include <mutex>
#include <optional>

#include "base/error.h"
#include "contract/memfd.h"
#include "contract/relay_flow.h"
#include "dataplane/relay/announcements.h"

namespace bulkhead {

/// Thread: any; announcements are taken by whoever finds them first.
class DataplanePort {
 public:
  /// Bound to kRelayAddress, whether or not the interface is there yet.
  static Expected<Fd> open();
  DataplanePort(Fd fd, size_t most_announcements) : fd_(std::move(fd)), announcements_(most_announcements) {}

  int fd() const { return fd_.get(); }
  /// Reads what has come.
  void take_announcements();
  /// The announcement of a connection that was accepted just now. It was sent before the connection's first
  /// packet on the same link, so it is here if there is one, read or not.
  std::optional<RelayAnnouncement> claim(const FlowEnds& ends);
  /// One heartbeat; lost where the interface isn't there.
  void say(RelayState state, uint64_t live);

  struct Counts {
    uint64_t received = 0, wrong = 0, expired = 0;
  };
  Counts counts();

 private:
  void drain();  // under mutex_

  Fd fd_;
  std::mutex mutex_;
  Announcements announcements_;
  uint64_t received_ = 0, wrong_ = 0;
};

}  // namespace bulkhead
