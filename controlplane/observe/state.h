// What the control loop knows, for those who show it: metrics, the flow log, the operator's API.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "contract/settings.h"
#include "controlplane/compiler/explain.h"
#include "controlplane/observe/rule_hits.h"
#include "controlplane/publish/dataplane_client.h"

namespace bulkhead {

/// A dataplane that is attached, shared by the control loop and those who read its counters. Every use of the
/// client is under the lock, which nobody holds while waiting for a disk or an operator.
class Attachment {
 public:
  Attachment(std::unique_ptr<DataplaneClient> client, std::function<void()> wake_loop)
      : client_(std::move(client)), wake_loop_(std::move(wake_loop)) {}

  /// Runs use(DataplaneClient&) under the lock and returns what it returns. Thread: any.
  template <class Use>
  auto with(Use use) {
    std::lock_guard lock(mutex_);
    return use(*client_);
  }
  /// The same for what may take in the dataplane's answers. use(DataplaneClient&, const RuleHitCounts&) is
  /// also given the hits that the image in force had before them: a new image's answer replaces its counters.
  template <class Use>
  auto with_answers(Use use) {
    std::lock_guard lock(mutex_);
    if (client_->unanswered() > 0) hits_before_ = read_rule_hits(*client_);
    return use(*client_, hits_before_);
  }
  /// The live flows, at most `limit`. The lock isn't held while the workers make the list, so what is
  /// published meanwhile doesn't wait for it; answers to the control loop are left for it, and it is woken.
  /// Errors: kUnavailable where the dataplane is gone, or doesn't answer within `patience`. Thread: any; one
  /// list is made at a time.
  Expected<FlowList> list_flows(uint64_t limit, Nanoseconds patience = std::chrono::seconds(2));

 private:
  std::mutex listing_;
  std::mutex mutex_;
  std::unique_ptr<DataplaneClient> client_;
  RuleHitCounts hits_before_;
  std::function<void()> wake_loop_;
};

/// Decision to enforcement, as a histogram: upper bounds in seconds, counts of each bucket alone.
struct EnforcementTimes {
  static constexpr std::array<double, 14> kBounds{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                  0.1,    0.25,  0.5,    1,     2.5,  5,     10};
  std::array<uint64_t, kBounds.size() + 1> counts{};  ///< the last: longer than any bound
  double sum_seconds = 0;
  double last_seconds = 0;
  void add(double seconds);
};

struct FeedState {
  enum class Standing : uint8_t { kWaiting, kInForce, kRefused, kRetried };
  std::string source;                      ///< the policy directory
  Standing standing = Standing::kWaiting;  ///< of what it held when it was last read
  std::vector<std::string> errors;         ///< of the last attempt, as `check` prints them
  std::optional<WallTime> changed;         ///< when what is in force was read
  BootTime changed_boot;                   ///< the same instant
  uint64_t readings_refused = 0;
};

/// What was enforced: acknowledged by every worker.
struct Enforced {
  uint64_t generation = 0;  ///< 0: nothing yet
  uint64_t image_generation = 0;
};

/// What keeps the control plane from working as it should, the policy's own errors apart.
enum class Trouble : uint8_t {
  kClock,  ///< it was stepped, or can't be right
  kState,  ///< controlplane.state can't be written
  kFile,   ///< a policy file isn't whole, and its reading waits
  kWatch,  ///< changes of some policy file are seen late
  kShort,  ///< memory, descriptors or a disk were short, and what needs them is tried again
};
inline constexpr std::array<std::string_view, 5> kTroubleNames{"clock", "state", "file", "watch", "short"};
/// What each is, for a person; empty: it isn't.
using Troubles = std::array<std::string, kTroubleNames.size()>;

struct ControlState {
  std::shared_ptr<Attachment> dataplane;  ///< nullptr: not attached
  Welcome welcome{};                      ///< of that attachment
  Enforced enforced;
  std::shared_ptr<const ExplainablePolicy>
      policy;  ///< the last that every worker enforced; nullptr: none yet
  FeedState feed;
  Troubles troubles;
  EnforcementTimes enforcement;
};

/// The one copy of it. The control loop changes it, anyone reads copies. Thread: any.
class StateBoard {
 public:
  ControlState read() const {
    std::lock_guard lock(mutex_);
    return state_;
  }
  /// The dataplane alone; nullptr: not attached.
  std::shared_ptr<Attachment> dataplane() const {
    std::lock_guard lock(mutex_);
    return state_.dataplane;
  }
  template <class Change>
  void change(Change change) {
    std::lock_guard lock(mutex_);
    change(state_);
  }

 private:
  mutable std::mutex mutex_;
  ControlState state_;
};

}  // namespace bulkhead
