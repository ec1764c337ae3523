// The dataplane's end of the contract: one control plane at a time may attach, publish, list flows and end
// the gateway.
//
// A dataplane whose control plane is gone keeps enforcing what it has; the next one that attaches is told
// what that is.
#pragma once

#include <sys/types.h>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/types.h"
#include "contract/channel.h"
#include "contract/messages.h"
#include "dataplane/fastpath/flow_export.h"
#include "dataplane/fastpath/publisher.h"
#include "dataplane/fastpath/telemetry.h"

namespace bulkhead {

struct ControlOptions {
  std::string socket;                  ///< path
  std::optional<uid_t> control_plane;  ///< who may attach beside root; becomes the socket file's owner
  std::string gateway;                 ///< its name, for the Welcome
  uint64_t max_flows = 0;              ///< likewise
};

/// Thread: one, the one that publishes.
class ControlServer {
 public:
  /// Listens. All references must outlive it.
  /// Errors: kExists where another dataplane listens there, kPermission, kSystem.
  static Expected<std::unique_ptr<ControlServer>> listen(ControlOptions options, Publisher& publisher,
                                                         Telemetry& telemetry, FlowLister& flows);

  /// Waits up to `timeout_ms` for something to do, and does it. Takes a few milliseconds more where a publish
  /// waits for the workers, and as long as it takes to check an image.
  void step(int timeout_ms);
  /// Tells the attached control plane, if any, that a port came or went.
  void announce_port(PortId port, bool up);
  /// Whether the control plane asked for the gateway's end.
  bool shutdown_requested() const { return shutdown_requested_; }
  bool attached() const { return plane_.has_value(); }

 private:
  /// A connection that hasn't said Hello yet.
  struct Guest {
    Channel channel;
    PeerCredentials peer;
    BootTime deadline;
  };
  /// The control plane.
  struct Plane {
    Channel channel;
    PeerCredentials peer;
  };
  /// A list that was asked for. Each is answered, in the order in which they were asked for.
  struct Listing {
    uint64_t request;
    uint64_t limit;
    BootTime deadline;
    bool begun = false;
  };

  ControlServer(ControlOptions options, Fd listener, Publisher& publisher, Telemetry& telemetry,
                FlowLister& flows);
  void wait(int timeout_ms);
  void admit_guests();
  void greet_guests();
  bool stays(Guest& guest);
  bool greet(Guest& guest, const Packet& packet);
  void attach(Guest& guest);
  void serve_plane();
  Expected<void> serve(Packet packet);
  Expected<void> take_publish(Packet packet);
  Expected<void> take_list_flows(const Packet& packet);
  void finish_publish();
  void advance_listing();
  Expected<void> send_listing(uint64_t request, const FlowListing& listing);
  Expected<void> send_accepted(const Enforcement& enforcement);
  void refuse(Channel& channel, uint64_t generation, const Error& error);
  void keep_if(const Expected<void>& sent);
  Welcome make_welcome() const;
  void count_state();

  const ControlOptions options_;
  Fd listener_;
  Publisher& publisher_;
  Telemetry& telemetry_;
  FlowLister& flows_;
  const BootTime started_;
  std::vector<Guest> guests_;
  std::optional<Plane> plane_;
  std::deque<Listing> listings_;
  BootTime next_accept_{};  ///< before which no guest is let in: the last one couldn't be
  bool shutdown_requested_ = false;
};

}  // namespace bulkhead
