// What the engine looks after beside policies: answers that are late, files that aren't whole, the clock; and
// what it tells of them.
#include <spdlog/spdlog.h>

#include "controlplane/engine/engine.h"

namespace bulkhead {
namespace {

using namespace std::chrono_literals;

constexpr Nanoseconds kClockLookEvery = 1s;
constexpr Nanoseconds kClockStoreEvery = 30s;

}  // namespace

/// What is due now and then.
void Engine::keep_watch() {
  BootTime now = boot_now();
  if (in_flight_ && !in_flight_->told_late && now >= in_flight_->sent + kAnswerIsLate) {
    in_flight_->told_late = true;
    spdlog::warn("the dataplane has not answered generation {} for {} s: is a worker stuck?",
                 in_flight_->generation,
                 std::chrono::duration_cast<std::chrono::seconds>(kAnswerIsLate).count());
  }
  watch_files(now);
  if (now >= next_clock_look_) watch_clock(now);
  if (now >= next_clock_store_) store_clock(now);
}

void Engine::watch_files(BootTime now) {
  bool first = parts_.feed.is_first();
  std::string file = parts_.feed.waiting_for(first ? now : now - kFileIsLate);
  if (!file.empty())
    file = (first ? "no policy is read yet: " : "the policy has changed, but ") + file +
           " is still being written, or was a moment ago. It is read when it is closed, or not written for "
           "30 s; "
           "after SIGHUP, for 1 s";
  trouble(Trouble::kFile, std::move(file));
  trouble(Trouble::kWatch, parts_.feed.blind());
}

/// A step moves every deadline, and those in force stay where they were until the policy is read again.
void Engine::watch_clock(BootTime now) {
  next_clock_look_ = now + kClockLookEvery;
  if (parts_.deadlines.look()) {
    next_clock_store_ = now;
    parts_.feed.read_again(now);
  }
  bool matters = wanted_ && depends_on_time(wanted_->policy->policy);
  trouble(Trouble::kClock, matters ? parts_.deadlines.doubt() : std::string());
}

void Engine::store_clock(BootTime now) {
  next_clock_store_ = now + kClockStoreEvery;
  auto stored = parts_.deadlines.store();
  trouble(Trouble::kState, stored ? std::string()
                                  : "what the clock said can't be stored: " + stored.error().message +
                                        "; new allows with `until` or `after` may be refused until it can");
}

/// Tells a trouble that begins, changes or ends, once.
void Engine::trouble(Trouble kind, std::string message) {
  std::string& known = troubles_[static_cast<size_t>(kind)];
  if (message == known) return;
  if (message.empty())
    spdlog::info("over: {}", known);
  else
    spdlog::warn("{}", message);
  known = std::move(message);
  parts_.board.change([&](ControlState& state) { state.troubles = troubles_; });
}

}  // namespace bulkhead
