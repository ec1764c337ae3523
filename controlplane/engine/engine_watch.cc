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

void Engine::look_at_clock(BootTime now) {
  if (!parts_.deadlines.look()) return;
  clock_moved_ = true;
  next_clock_store_ = now;  // before anyone enforces what counts from it
}

void Engine::watch_clock(BootTime now) {
  next_clock_look_ = now + kClockLookEvery;
  look_at_clock(now);
  bool matters = wanted_ && depends_on_time(wanted_->policy->policy);
  if (matters && clock_moved_)
    if (auto moved = convert_anew(now); !moved)
      return trouble(
          Trouble::kClock,
          "the clock was stepped, and deadlines can't be converted anew for now; it is tried again: " +
              moved.error().message);
  clock_moved_ = false;
  trouble(Trouble::kClock, matters ? parts_.deadlines.doubt() : std::string());
}

/// Moves the deadlines of what is wanted to where the clock says now. The directory isn't asked: what it
/// holds may be refused, or be half written, and no grant may outlive its end by that.
Expected<> Engine::convert_anew(BootTime now) {
  auto moved = with_deadlines(
      *wanted_->policy, [this](Turn turn, WallTime time) { return parts_.deadlines.convert(turn, time); });
  if (!moved) return std::unexpected(moved.error());
  if (same_image(**moved, *wanted_->policy)) return {};
  spdlog::info("deadlines are converted anew, by what the clock says now");
  Candidate candidate{.policy = std::move(*moved), .seen = now, .read = wanted_->read};
  candidate.compile_ms = static_cast<double>((boot_now().ns - now.ns)) / 1e6;
  wanted_ = std::move(candidate);
  parts_.board.change([](ControlState& state) {
    if (state.feed.standing == FeedState::Standing::kInForce)
      state.feed.standing = FeedState::Standing::kWaiting;
  });
  ask(kWake);
  return {};
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
