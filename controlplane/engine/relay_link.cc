#include "controlplane/engine/relay_link.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

namespace bulkhead {

Expected<std::unique_ptr<RelayLink>> RelayLink::start(std::string socket, RelayBoard& board) {
  Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno(errno, "eventfd");
  return std::unique_ptr<RelayLink>(new RelayLink(std::move(socket), board, std::move(wake)));
}

RelayLink::RelayLink(std::string socket, RelayBoard& board, Fd wake)
    : socket_(std::move(socket)),
      board_(board),
      wake_(std::move(wake)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

RelayLink::~RelayLink() {
  thread_.request_stop();
  uint64_t one = 1;
  [[maybe_unused]] ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

void RelayLink::offer(IdentitySet identities) {
  {
    std::lock_guard lock(mutex_);
    offered_ = std::move(identities);
  }
  uint64_t one = 1;
  [[maybe_unused]] ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

void RelayLink::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    if (!client_) attach();
    if (client_) publish_if_due();
    if (client_) hear();
    if (!stop.stop_requested()) wait();
  }
}

void RelayLink::attach() {
  auto client = RelayClient::attach(socket_);
  if (!client) {
    if (client.error().message != told_trouble_)
      spdlog::warn("waiting for the mTLS relay: {}. Flows that need it are refused", client.error().message);
    told_trouble_ = client.error().message;
    return;
  }
  client_ = std::move(*client);
  sent_ = 0;  // its generations may be those of another control plane, or of another dataplane's time
  told_trouble_.clear();
  spdlog::info("attached to the mTLS relay (pid {})", client_->welcome().pid);
  board_.attached(true);
}

void RelayLink::publish_if_due() {
  if (client_->waits_for_answer()) return;
  std::optional<IdentitySet> next;
  {
    std::lock_guard lock(mutex_);
    if (offered_ && offered_->generation != sent_) next = offered_;
  }
  if (!next) return;
  auto bytes = write_identities(*next);
  if (!bytes) {
    sent_ = next->generation;  // no other try would end otherwise
    spdlog::error("the mTLS relay can't be given its identities: {}", bytes.error().message);
    return;
  }
  if (auto published = client_->publish(next->generation, *bytes); !published) return lost(published.error());
  sent_ = next->generation;
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

void RelayLink::lost(const Error& error) {
  spdlog::warn("lost the mTLS relay: {}. It is attached to again as soon as it is there", error.message);
  client_.reset();
  board_.attached(false);
}

void RelayLink::wait() {
  constexpr int kAttachPauseMs = 50;
  pollfd fds[] = {{wake_.get(), POLLIN, 0}, {client_ ? client_->fd() : -1, POLLIN, 0}};
  ::poll(fds, std::size(fds), client_ ? -1 : kAttachPauseMs);
  uint64_t count;
  while (::read(wake_.get(), &count, sizeof count) > 0) {
  }
}

}  // namespace bulkhead
