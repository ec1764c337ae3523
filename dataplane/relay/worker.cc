#include "dataplane/relay/worker.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "dataplane/relay/log.h"
#include "dataplane/relay/network.h"

namespace bulkhead {

namespace {

constexpr int kEventsAtOnce = 256;
constexpr int kAcceptsAtOnce = 64;
constexpr int kLongestWaitMs = 1000;
constexpr int kPauseMs = 100;
constexpr Nanoseconds kJudgedAtOnce = std::chrono::milliseconds(10);  ///< others wait no longer

}  // namespace

Worker::Worker(RelayShared& shared) : shared_(shared), pool_(shared.memory), contexts_(shared.trust) {}

Expected<std::unique_ptr<Worker>> Worker::create(RelayShared& shared) {
  std::unique_ptr<Worker> worker(new Worker(shared));
  if (auto opened = worker->open(); !opened) return std::unexpected(opened.error());
  return worker;
}

Expected<> Worker::open() {
  epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
  wakeup_ = Fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!epoll_ || !wakeup_) return fail_errno(errno, "worker");
  if (auto watched = watch(wakeup_.get(), EPOLLIN, &wakeup_); !watched) return watched;
  for (auto [family, listener] :
       {std::pair{Family::kIpv4, &listener4_}, std::pair{Family::kIpv6, &listener6_}}) {
    auto fd = listen_transparently(family);
    if (!fd) return std::unexpected(fd.error());
    tune(fd->get());  // so is what it accepts (Linux: the child is a copy)
    *listener = std::move(*fd);
    if (auto watched = watch(listener->get(), EPOLLIN | EPOLLET, listener); !watched) return watched;
  }
  return {};
}

Expected<> Worker::watch(int fd, uint32_t events, void* target) {
  epoll_event event{.events = events, .data = {.ptr = target}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno(errno, "watching a socket");
  return {};
}

void Worker::give(std::shared_ptr<const RelayPolicy> policy) {
  {
    std::lock_guard lock(orders_mutex_);
    ordered_policy_ = std::move(policy);
  }
  wake();
}

void Worker::end_all() {
  {
    std::lock_guard lock(orders_mutex_);
    end_all_ordered_ = true;
  }
  wake();
}

void Worker::stop() {
  stop_.store(true);
  wake();
}

void Worker::wake() {
  uint64_t one = 1;
  // It can only be full where a wake-up waits already.
  if (::write(wakeup_.get(), &one, sizeof one) < 0) return;
}

void Worker::run() {
  std::array<epoll_event, kEventsAtOnce> events;
  while (!stop_.load()) {
    int n = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), patience_ms());
    for (int i = 0; i < n; ++i)
      take_event(events[static_cast<size_t>(i)].data.ptr, events[static_cast<size_t>(i)].events);
    if (accept_paused_) {
      accept_paused_ = false;
      accept_all(listener4_);
      accept_all(listener6_);
    }
    advance_ready();
    expire();
    judge_again();
    bury();
  }
  while (!all_.empty()) end(*all_.front(), RelayEnd::k_shutdown), bury();
}

int Worker::patience_ms() const {
  if (!ready_.empty() || judged_next_) return 0;
  int64_t patience = accept_paused_ ? kPauseMs : kLongestWaitMs;
  BootTime now = boot_now();
  for (const auto* waiting : {&unidentified_, &handshaking_, &connecting_})
    if (!waiting->empty())
      patience = std::min(patience, (waiting->front()->deadline.ns - now.ns) / 1'000'000 + 1);
  return static_cast<int>(std::max<int64_t>(patience, 0));
}

void Worker::take_event(void* target, uint32_t events) {
  if (target == &wakeup_) return take_orders();
  if (target == &listener4_ || target == &listener6_) return accept_all(*static_cast<Fd*>(target));
  auto& side = *static_cast<Side*>(target);
  Connection& c = side.connection;
  if (c.dead) return;
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) side.leg.hung_up = true;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) side.leg.readable = true;
  if (events & EPOLLOUT) side.leg.writable = true;
  // A connection that can't be made is told apart by its phase; every other error is a reset, or a peer that
  // is gone.
  bool connecting = c.phase == Connection::Phase::kConnect && &side == &c.server;
  if ((events & EPOLLERR) != 0 && !connecting) {
    LegStatus status = side.leg.failure();
    if (status != LegStatus::kDone) return end(c, end_of(status, side), side.leg.take_error());
  }
  if (!c.in_ready.linked()) ready_.push_back(c.in_ready);
}

void Worker::take_orders() {
  uint64_t count;
  if (::read(wakeup_.get(), &count, sizeof count) < 0) return;
  std::shared_ptr<const RelayPolicy> policy;
  bool end_them = false;
  {
    std::lock_guard lock(orders_mutex_);
    policy = std::move(ordered_policy_);
    end_them = std::exchange(end_all_ordered_, false);
  }
  if (end_them)
    for (Connection* c = all_.empty() ? nullptr : all_.front(); c; c = all_.next(c->in_all))
      if (!c->dead) end(*c, RelayEnd::k_link_lost);
  if (policy) adopt(std::move(policy));
}

/// Takes up the flows whose identities have come.
void Worker::identify() {
  for (Connection* c = unidentified_.empty() ? nullptr : unidentified_.front(); c;) {
    Connection* after = unidentified_.next(c->in_waiting);
    if (policy_->of_generation(c->flow.image_generation)) {
      c->in_waiting.unlink();
      if (!c->in_ready.linked()) ready_.push_back(c->in_ready);
    }
    c = after;
  }
}

/// What is authorized from here on is by the new policy; what was before is judged by it in turn.
void Worker::adopt(std::shared_ptr<const RelayPolicy> policy) {
  if (!policy_ || policy_->svids != policy->svids) contexts_.adopt(policy->svids);
  policy_ = std::move(policy);
  identify();
  judged_next_ = all_.empty() ? nullptr : all_.front();
  if (!judged_next_) judged_epoch_.store(policy_->epoch, std::memory_order_release);
}

void Worker::judge_again() {
  if (!judged_next_) return;
  for (BootTime until = boot_now() + kJudgedAtOnce; judged_next_ && boot_now() < until;) {
    Connection& c = *judged_next_;
    judged_next_ = all_.next(c.in_all);
    std::string why;
    if (!c.dead && c.authorized && !still_allowed(c, why)) end(c, RelayEnd::k_revoked, why);
  }
  if (!judged_next_) judged_epoch_.store(policy_->epoch, std::memory_order_release);
}

void Worker::accept_all(const Fd& listener) {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    auto accepted = accept_transparently(listener.get());
    if (!accepted) {
      log_line(accepted.error().message);
      accept_paused_ = true;
      return;
    }
    if (!accepted->fd) return;
    accept(std::move(*accepted));
  }
  wake();
  accept_paused_ = true;  // no event comes for those that wait already
}

void Worker::advance_ready() {
  // Those that come to the end of the list meanwhile have their turn in the next round.
  IntrusiveList<Connection> now;
  while (!ready_.empty()) now.push_back(ready_.front()->in_ready);
  while (!now.empty()) {
    Connection& c = *now.front();
    c.in_ready.unlink();
    if (!c.dead) advance(c);
  }
}

void Worker::advance(Connection& c) {
  switch (c.phase) {
    case Connection::Phase::kIdentities:
      return open(c);
    case Connection::Phase::kHandshake:
      return continue_handshake(c);
    case Connection::Phase::kConnect:
      return continue_connect(c);
    case Connection::Phase::kRelay:
      return relay(c);
  }
}

void Worker::relay(Connection& c) {
  uint64_t from_client = c.client.passed, from_server = c.server.passed;
  SpliceOutcome outcome = splice(c, pool_);
  add(counts_.bytes_from_client, c.client.passed - from_client);
  add(counts_.bytes_from_server, c.server.passed - from_server);
  if (outcome.end) {
    std::string detail = c.tls_side().leg.take_error();
    return end(c, *outcome.end, std::move(detail));
  }
  if (outcome.more) ready_.push_back(c.in_ready);
}

void Worker::expire() {
  BootTime now = boot_now();
  auto expire_in = [&](IntrusiveList<Connection>& waiting, RelayEnd reason) {
    while (!waiting.empty() && waiting.front()->deadline <= now) end(*waiting.front(), reason);
  };
  while (!unidentified_.empty() && unidentified_.front()->deadline <= now) {
    Connection& c = *unidentified_.front();
    c.in_waiting.unlink();
    open(c);  // it ends, for want of them
  }
  expire_in(handshaking_, RelayEnd::k_handshake_timeout);
  expire_in(connecting_, RelayEnd::k_connect_timeout);
}

/// Its memory goes when no event can name it any more.
void Worker::end(Connection& c, RelayEnd reason, std::string detail) {
  if (c.dead) return;
  c.dead = true;
  bool clean = reason == RelayEnd::k_closed;
  // The peer of a handshake that failed reads why in an alert, which a reset could overtake.
  bool alert_sent = reason == RelayEnd::k_handshake_failed || reason == RelayEnd::k_svid_refused ||
                    reason == RelayEnd::k_svid_missing_at_peer;
  c.tls_side().leg.close(clean || alert_sent);
  c.plain_side().leg.close(clean);
  c.client.said.clear(pool_);
  c.server.said.clear(pool_);
  c.in_waiting.unlink();
  c.in_ready.unlink();
  shared_.admission.close(c.flow.client, c.established);
  shared_.memory.give(kConnectionBytes);
  auto& counted = c.established ? counts_.ended : counts_.failed;
  add(counted[index_of(c.flow.role)][static_cast<size_t>(reason)], 1);
  report(c, c.established ? ProofMoment::kEnded : ProofMoment::kFailed, reason, std::move(detail));
  dead_.push_back(&c);
}

void Worker::bury() {
  for (Connection* c : dead_) {
    if (judged_next_ == c) judged_next_ = all_.next(c->in_all);
    delete c;
  }
  dead_.clear();
  if (policy_ && !judged_next_) judged_epoch_.store(policy_->epoch, std::memory_order_release);
}

void Worker::report(const Connection& c, ProofMoment moment, RelayEnd reason, std::string detail) {
  if (moment == ProofMoment::kFailed || reason == RelayEnd::k_revoked)
    log_line(to_string(c.flow.client) + ":" + std::to_string(c.flow.client_port) + " > " +
             to_string(c.flow.server) + ":" + std::to_string(c.flow.server_port) + ": " +
             std::string(name_of(reason)) + (detail.empty() ? "" : ": " + detail));
  ConnectionProof proof{
      .record = c.proof, .own_id = c.own_id, .peer_id = c.peer_id, .detail = std::move(detail)};
  ProofRecord& r = proof.record;
  r.flow_id = c.flow.flow_id;
  r.image_generation = c.flow.image_generation;
  r.time_boot_ns = boot_now().ns;
  r.bytes_from_client = c.client.passed, r.bytes_from_server = c.server.passed;
  r.client = c.flow.client, r.server = c.flow.server;
  r.client_port = c.flow.client_port, r.server_port = c.flow.server_port;
  r.moment = moment, r.role = c.flow.role, r.end = reason;
  shared_.proofs.add(std::move(proof));
}

}  // namespace bulkhead
