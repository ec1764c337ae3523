// The control plane's end of the contract: attaches to a dataplane, publishes to it, and reads what it
// shares.
//
// For a single-threaded poll loop: watch fd() for reading; when it is readable call handle_readable(), then
// take results with next_result() and port events with next_port_event(). An error from any call that says
// kUnavailable means that the dataplane is gone: destroy the client and attach again later.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "contract/channel.h"
#include "contract/counters.h"
#include "contract/events.h"
#include "contract/memfd.h"
#include "contract/messages.h"

namespace bulkhead {

/// What is to be enforced next. Everything is copied before publish() returns.
struct PublishRequest {
  uint64_t generation = 0;             ///< greater than any before: from welcome().generation on
  std::span<const std::byte> image;    ///< empty: the image stays
  uint64_t base_image_generation = 0;  ///< without an image: the image that `changes` are made for
  std::span<const EndpointChange> changes;
  bool replace_endpoints = false;  ///< the table is emptied first; `changes` (all kPut) is all of it
};

/// How a publish ended.
struct PublishResult {
  uint64_t generation;
  std::optional<Error> refused;  ///< set: nothing changed, and why
  bool new_image = false;        ///< accepted with an image: it is the one in force now
  uint64_t checked_ns = 0;       ///< that the dataplane spent copying and checking
  uint64_t enforced_ns = 0;      ///< from the message's arrival there until every worker enforced it
  uint64_t answered_ns = 0;      ///< from publish() until the answer was read here
};

/// The dataplane's live flows.
struct FlowList {
  std::vector<FlowRecord> flows;
  uint64_t total;  ///< live in all; more than `flows` where the limit cut them
};

/// The same as it came, not copied yet.
struct FlowAnswer {
  Fd records;      ///< a sealed memfd; none where count is 0
  uint64_t count;  ///< FlowRecords in it
  uint64_t total;
};
/// Errors: kInvalid for a memfd that isn't sealed or holds less; kExhausted.
Expected<FlowList> read_flows(const FlowAnswer& answer);

/// One attachment. Thread: one.
class DataplaneClient {
 public:
  /// Connects, says Hello and takes the Welcome.
  /// Errors: kUnavailable where no dataplane listens or it doesn't answer in time (try again later), kExists
  /// where another control plane is attached, kPermission where this process may not, kInvalid where the
  /// dataplane is of another version.
  static Expected<std::unique_ptr<DataplaneClient>> attach(const std::string& contract_socket,
                                                           int timeout_ms = 2000);

  /// The dataplane as it was when this client attached.
  const Welcome& welcome() const { return welcome_; }
  /// Readable when handle_readable() has something to do.
  int fd() const { return channel_.fd(); }

  /// Sends it; the answer comes later as a PublishResult, answers in the order of requests.
  /// Errors: kInvalid (over a limit of the contract), kExhausted (no memory for the memfd), kUnavailable.
  Expected<void> publish(const PublishRequest& request);
  /// Takes in every message that has come; never blocks.
  Expected<void> handle_readable();
  /// The oldest answer that wasn't taken yet.
  std::optional<PublishResult> next_result();
  /// The oldest port event that wasn't taken yet.
  std::optional<PortEvent> next_port_event();
  /// How many publishes still wait for their answer.
  size_t unanswered() const { return sent_.size(); }
  /// Blocks until a result is there: for tools and tests. Errors: kUnavailable after `timeout_ms`, too.
  Expected<PublishResult> wait_result(int timeout_ms);

  /// Asks for at most `limit` live flows, and no longer for those asked for before.
  Expected<void> ask_for_flows(uint64_t limit);
  /// The answer, once it has been taken in.
  std::optional<FlowAnswer> next_flows();
  /// Asks and blocks until the answer is there: for tools and tests. Results and events that come meanwhile
  /// are kept.
  Expected<FlowList> list_flows(uint64_t limit, int timeout_ms = 2000);
  /// Tells the dataplane to end.
  Expected<void> shut_down();

  /// Calls `take` for at most `limit` flow events that workers have written; returns how many. Ask again soon
  /// where it is `limit`.
  size_t drain_events(const std::function<void(const FlowRecord&)>& take, size_t limit = 65536);
  /// Flow events that found their ring full, since the dataplane started.
  uint64_t events_lost() const;

  /// Shared counters, read-only and live.
  const CountersHeader& counters() const { return *counters_.as<const CountersHeader>(); }
  std::span<const WorkerCounters> worker_counters() const;

  /// Hits of one rule over all workers, of the image in force; zero for rules that it doesn't have.
  struct Hits {
    uint64_t decided = 0;
    uint64_t audited = 0;
  };
  Hits rule_hits(RuleIndex rule) const;
  /// How many rules the image in force has.
  uint64_t rule_count() const { return rule_count_; }

 private:
  struct Sent {
    uint64_t generation;
    bool with_image;
    int64_t at_boot_ns;
  };
  struct Ring {
    Mapping records;
    Mapping tail;
    EventReader reader;
  };

  explicit DataplaneClient(Channel channel) : channel_(std::move(channel)) {}
  Expected<void> take_welcome(Packet packet);
  Expected<void> map_counters(const Fd& fd);
  Expected<void> map_ring(const Fd& records, const Fd& tail);
  Expected<void> map_rule_hits(const Fd& fd, uint64_t count);
  Expected<void> take(Packet packet);
  Expected<Sent> take_sent(uint64_t generation);
  Expected<void> take_accepted(const Packet& packet);
  Expected<void> take_refused(const Packet& packet);
  Expected<void> take_flow_page(Packet& packet);
  template <class Enough>
  Expected<void> receive_until(int timeout_ms, Enough enough);

  Channel channel_;
  Welcome welcome_{};
  Mapping counters_;
  std::vector<Ring> rings_;  ///< by worker
  size_t first_ring_ = 0;    ///< read first next time: none starves behind a busy one
  Mapping rule_hits_;        ///< of the image in force: worker after worker
  uint64_t rule_count_ = 0;
  std::deque<Sent> sent_;  ///< publishes without an answer yet
  std::deque<PublishResult> results_;
  std::deque<PortEvent> port_events_;
  uint64_t list_request_ = 0;
  std::optional<FlowAnswer> list_;  ///< the answer to `list_request_`
};

}  // namespace bulkhead
