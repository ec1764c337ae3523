// Flows that the dataplane announced and whose connections haven't come yet.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>

#include "base/clock.h"
#include "contract/relay_flow.h"

namespace bulkhead {

/// One TCP connection as the client meant it.
struct FlowEnds {
  IpAddress client, server;
  uint16_t client_port = 0, server_port = 0;
  bool operator==(const FlowEnds&) const = default;
};

/// Bounded: the oldest gives way. Thread: one at a time.
class Announcements {
 public:
  explicit Announcements(size_t most) : most_(most) {}

  /// Replaces an earlier one of the same ends.
  void add(const RelayAnnouncement& announcement, BootTime now);
  /// Takes the one for these ends out; nothing where there is none that is younger than
  /// kRelayAnnouncementLife.
  std::optional<RelayAnnouncement> claim(const FlowEnds& ends, BootTime now);
  size_t size() const { return by_age_.size(); }
  /// Those that nobody claimed in time, or that gave way.
  uint64_t expired() const { return expired_; }

 private:
  struct Waiting {
    RelayAnnouncement announcement;
    BootTime since;
  };
  struct Hash {
    size_t operator()(const FlowEnds& ends) const noexcept;
  };
  void forget_old(BootTime now);

  size_t most_;
  std::list<Waiting> by_age_;  ///< oldest first
  std::unordered_map<FlowEnds, std::list<Waiting>::iterator, Hash> by_ends_;
  uint64_t expired_ = 0;
};

inline FlowEnds ends_of(const RelayAnnouncement& a) {
  return {a.client, a.server, a.client_port, a.server_port};
}

}  // namespace bulkhead
