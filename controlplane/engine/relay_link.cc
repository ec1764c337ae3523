#include "controlplane/engine/relay_link.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace bulkhead {
namespace {

using namespace std::chrono_literals;

constexpr Nanoseconds kFirstPause = 50ms;
constexpr Nanoseconds kLongestPause = 1s;
constexpr Nanoseconds kStable = 5s;  ///< who was attached for so long isn't one that fails again and again

}  // namespace

Expected<std::unique_ptr<RelayLink>> RelayLink::start(std::string socket, RelayBoard& board,
                                                      Nanoseconds patience) {
  Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno(errno, "eventfd");
  return std::unique_ptr<RelayLink>(new RelayLink(std::move(socket), board, patience, std::move(wake)));
}

RelayLink::RelayLink(std::string socket, RelayBoard& board, Nanoseconds patience, Fd wake)
    : socket_(std::move(socket)),
      board_(board),
      patience_(patience),
      wake_(std::move(wake)),
      pause_(kFirstPause),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

RelayLink::~RelayLink() {
  thread_.request_stop();
  wake();
}

void RelayLink::wake() {
  uint64_t one = 1;
  [[maybe_unused]] ssize_t written = ::write(wake_.get(), &one, sizeof one);  // full: it will wake up anyway
}

void RelayLink::offer(IdentitySet identities) {
  auto offered = std::make_shared<const IdentitySet>(std::move(identities));
  {
    std::lock_guard lock(mutex_);
    offered_ = std::move(offered);
  }
  wake();
}

void RelayLink::dataplane_started(BootTime at) {
  board_.flows_since(at);
  {
    std::lock_guard lock(mutex_);
    forgotten_ = std::exchange(dataplane_started_, at) != at || forgotten_;
  }
  wake();
}

void RelayLink::settle(uint64_t generation) {
  {
    std::lock_guard lock(mutex_);
    enforced_ = generation;
    if (offered_ && offered_->generation == generation) in_force_ = std::move(offered_);
    if (in_force_ && in_force_->generation != generation) in_force_.reset();
    offered_.reset();
  }
  wake();
}

void RelayLink::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    if (!client_ && boot_now() >= next_attach_) attach();
    if (client_) hear();  // first: what it answers makes room for what is due
    if (client_) give_up_if_late();
    if (client_) publish_if_due();
    if (!stop.stop_requested()) wait();
  }
}

void RelayLink::attach() {
  auto client = RelayClient::attach(socket_);
  if (!client) {
    if (client.error().message != told_trouble_)
      spdlog::warn("waiting for the mTLS relay: {}. Flows that need it are refused", client.error().message);
    told_trouble_ = client.error().message;
    return back_off();
  }
  client_ = std::move(*client);
  attached_ = boot_now();
  sent_ = 0;  // its generations may be those of another control plane, or of another dataplane's time
  told_trouble_.clear();
  spdlog::info("attached to the mTLS relay (pid {})", client_->welcome().pid);
  board_.attached(true);
}

/// What the relay is to be given now, if anything. It knows two generations, so that an offer goes on top of
/// what is in force. One that couldn't be taken back again, since what is in force isn't known here (this
/// control plane is new), goes when it is enforced: flows of it wait for it in the relay.
std::shared_ptr<const IdentitySet> RelayLink::next() {
  std::lock_guard lock(mutex_);
  if (std::exchange(forgotten_, false)) sent_ = 0;
  bool may_be_withdrawn = in_force_ || enforced_ == 0;
  auto wanted = offered_ && may_be_withdrawn ? offered_ : in_force_;
  if (!wanted || wanted->generation == sent_) return nullptr;
  return in_force_ && in_force_->generation != sent_ ? in_force_ : wanted;
}

void RelayLink::publish_if_due() {
  if (client_->waits_for_answer()) return;
  auto next = this->next();
  if (!next) return;
  auto bytes = write_identities(*next);
  if (!bytes) {
    sent_ = next->generation;  // no other try would end otherwise
    spdlog::error("the mTLS relay can't be given its identities: {}", bytes.error().message);
    return;
  }
  if (auto published = client_->publish(next->generation, *bytes); !published) return lost(published.error());
  sent_ = next->generation;
  answer_due_ = boot_now() + patience_;
}

void RelayLink::hear() {
  auto heard = client_->handle_readable();
  while (auto proof = client_->next_proof()) board_.take(std::move(*proof));
  board_.take(client_->counters());
  if (auto answer = client_->next_answer(); answer && !*answer)
    spdlog::error("the mTLS relay refused its identities: {}. It has those from before",
                  answer->error().message);
  if (!heard) lost(heard.error());
}

void RelayLink::give_up_if_late() {
  if (!client_->waits_for_answer() || boot_now() < answer_due_) return;
  lost({ErrorCode::kUnavailable,
        "it has not answered to identities of generation " + std::to_string(sent_) + " for " +
            std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(patience_).count()) +
            " ms; does it hang?"});
}

void RelayLink::lost(const Error& error) {
  spdlog::warn("lost the mTLS relay: {}. It is attached to again as soon as it is there", error.message);
  client_.reset();
  board_.attached(false);
  if (boot_now() > attached_ + kStable) pause_ = kFirstPause;
  back_off();
}

void RelayLink::back_off() {
  next_attach_ = boot_now() + pause_;
  pause_ = std::min(2 * pause_, kLongestPause);
}

void RelayLink::wait() {
  pollfd fds[] = {{wake_.get(), POLLIN, 0}, {client_ ? client_->fd() : -1, POLLIN, 0}};
  BootTime due = !client_ ? next_attach_ : client_->waits_for_answer() ? answer_due_ : kNever;
  int64_t left_ms = std::max<int64_t>(due.ns - boot_now().ns, 0) / 1'000'000 + 1;
  int patience_ms = due == kNever ? -1 : static_cast<int>(left_ms);
  ::poll(fds, std::size(fds), patience_ms);
  uint64_t count;
  while (::read(wake_.get(), &count, sizeof count) > 0) {
  }
}

}  // namespace bulkhead
