#include "dataplane/relay/relay.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "dataplane/relay/log.h"

namespace bulkhead {

namespace {

using std::chrono::milliseconds, std::chrono::seconds;

constexpr size_t kMostAnnouncements = 65536;
constexpr size_t kMostProofs = 65536;
constexpr Nanoseconds kCountersInterval = seconds(1);
constexpr Nanoseconds kHandOverPatience = seconds(2);  ///< from when the interface is there again
/// Changed SVID files are read after this long without another change, and after the second at the latest.
constexpr Nanoseconds kSvidQuiet = milliseconds(20), kSvidLatest = milliseconds(200);

}  // namespace

Relay::Relay(const RelayOptions& options, Fd port)
    : shared_(std::move(port), kMostAnnouncements, options.limits, options.memory_mib << 20, kMostProofs) {}

Expected<std::unique_ptr<Relay>> Relay::open(const RelayOptions& options) {
  auto port = DataplanePort::open();
  if (!port) return std::unexpected(port.error());
  std::unique_ptr<Relay> relay(new Relay(options, std::move(*port)));
  if (auto opened = relay->open_parts(options); !opened) return std::unexpected(opened.error());
  return relay;
}

Expected<> Relay::open_parts(const RelayOptions& options) {
  auto link = DataplaneLink::open(options.interface);
  if (!link) return std::unexpected(link.error());
  link_.emplace(std::move(*link));
  for (unsigned i = 0; i < options.threads; ++i) {
    auto worker = Worker::create(shared_);
    if (!worker) return std::unexpected(worker.error());
    workers_.push_back(std::move(*worker));
  }
  auto svids = options.svids.empty() ? open_svid_inbox(options.svid_socket) : open_svid_files(options.svids);
  if (!svids) return std::unexpected(svids.error());
  svids_.emplace(std::move(*svids));
  RelayOrders orders{.take_identities = [this](const PublishIdentities& m,
                                               const Fd& image) { return take_identities(m, image); },
                     .drain = [this] { shared_.draining.store(true); },
                     .shut_down = [this] { shutdown_ = true; },
                     .welcome = [this] { return welcome(); }};
  auto control = RelayControl::serve_at(Fd(options.control), std::move(orders));
  if (!control) return with_context(control.error(), "--control");
  control_.emplace(std::move(*control));
  return {};
}

Relay::~Relay() {
  for (auto& worker : workers_) worker->stop();
  for (std::thread& thread : threads_) thread.join();
}

Expected<> Relay::run(const std::atomic<bool>& stop) {
  policy_.svids = svids_->read();
  publish();
  for (auto& worker : workers_) threads_.emplace_back([&worker] { worker->run(); });
  log_line("running with " + std::to_string(policy_.svids->own.size()) + " SVIDs and " +
           std::to_string(policy_.svids->trust->size()) + " trust domains");
  while (!stop.load() && !shutdown_) {
    wait();
    watch_link();
    watch_svids();
    shared_.dataplane.take_announcements();
    control_->step();
    answer_when_judged();
    control_->send_proofs(shared_.proofs);
    speak();
  }
  log_line("stopping");
  for (auto& worker : workers_) worker->stop();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  control_->send_proofs(shared_.proofs);
  return {};
}

void Relay::wait() {
  std::vector<int> fds{link_->fd(), svids_->changed.get(), shared_.dataplane.fd()};
  control_->add_fds(fds);
  std::vector<pollfd> watched;
  for (int fd : fds) watched.push_back({fd, POLLIN, 0});
  BootTime until = std::min(next_heartbeat_, svids_due_.value_or(kNever));
  int64_t patience = (until.ns - boot_now().ns) / 1'000'000 + 1;
  if (pending_) patience = 1;
  poll(watched.data(), watched.size(), static_cast<int>(std::clamp<int64_t>(patience, 0, 50)));
}

void Relay::watch_link() {
  DataplaneLink::Change change = link_->look();
  if (link_->present() && !handed_over_by_ && has_forgotten_)
    handed_over_by_ = boot_now() + kHandOverPatience;
  if (change != DataplaneLink::Change::kWent) return ask_again();
  log_line("the interface to the dataplane is another one, or gone: its connections end, and its identities");
  for (auto& worker : workers_) worker->end_all();
  policy_.forget();  // another dataplane numbers them anew, and its flows must wait for their own
  publish();
  has_forgotten_ = true, handed_over_by_.reset();
}

/// The control plane hands them over again for another dataplane, but doesn't know of an interface that went
/// alone. It does when it attaches.
void Relay::ask_again() {
  if (!has_forgotten_ || !handed_over_by_ || boot_now() < *handed_over_by_) return;
  control_->hang_up("the interface went, and it handed over no identities since");
  has_forgotten_ = false, handed_over_by_.reset();
}

void Relay::watch_svids() {
  BootTime now = boot_now();
  pollfd changed{svids_->changed.get(), POLLIN, 0};
  if (poll(&changed, 1, 0) == 1) {
    svids_->take();
    if (!svids_due_) svids_since_ = now;
    svids_due_ = std::min(now + kSvidQuiet, svids_since_ + kSvidLatest);
  }
  if (!svids_due_ || now < *svids_due_) return;
  svids_due_.reset();
  policy_.svids = svids_->read();
  publish();
}

/// Workers judge all their connections by it.
void Relay::publish() {
  ++policy_.epoch;
  shared_.trust->replace(policy_.svids->trust);
  auto published = std::make_shared<const RelayPolicy>(policy_);
  for (auto& worker : workers_) worker->give(published);
}

Expected<> Relay::take_identities(const PublishIdentities& message, const Fd& image) {
  BootTime begun = boot_now();
  std::vector<std::byte> bytes(message.image_bytes);
  if (auto copied = copy_sealed(image, bytes); !copied) return copied;
  auto identities = Identities::read(std::move(bytes));
  if (!identities) return std::unexpected(identities.error());
  if ((*identities)->generation() != message.generation)
    return fail(ErrorCode::kInvalid, "identities of another generation than they were announced with");
  policy_.take(std::move(*identities));
  has_forgotten_ = false, handed_over_by_.reset();
  publish();
  pending_ = Pending{policy_.epoch, message.generation, begun, boot_now().ns - begun.ns};
  return {};
}

void Relay::answer_when_judged() {
  if (!pending_) return;
  for (const auto& worker : workers_)
    if (worker->judged_epoch() < pending_->epoch) return;
  control_->answer_identities(pending_->generation, pending_->checked_ns, boot_now().ns - pending_->since.ns);
  pending_.reset();
}

void Relay::speak() {
  BootTime now = boot_now();
  if (now >= next_heartbeat_) {
    shared_.dataplane.say(state(), shared_.admission.live());
    next_heartbeat_ = now + kRelayHeartbeatInterval;
  }
  if (now >= next_counters_) {
    if (control_->attached()) control_->send_counters(counters());
    next_counters_ = now + kCountersInterval;
  }
}

RelayState Relay::state() const {
  if (shared_.draining.load()) return RelayState::kDraining;
  return policy_.current && !policy_.svids->awaited ? RelayState::kReady : RelayState::kStarting;
}

RelayWelcome Relay::welcome() const {
  auto welcome = make_message<RelayWelcome>(MessageType::kRelayWelcome);
  welcome.pid = static_cast<uint64_t>(getpid());
  welcome.generation = policy_.current ? policy_.current->generation() : 0;
  welcome.started_boot_ns = static_cast<uint64_t>(started_.ns);
  welcome.live = shared_.admission.live();
  welcome.state = state();
  return welcome;
}

RelayCounters Relay::counters() {
  RelayCounters total{};
  for (const auto& worker : workers_) {
    const WorkerCounts& counts = worker->counts();
    for (size_t role = 0; role < kRelayRoleCount; ++role) {
      total.established[role] += read(counts.established[role]);
      for (size_t end = 0; end < kRelayEndCount; ++end) {
        total.failed[role][end] += read(counts.failed[role][end]);
        total.ended[role][end] += read(counts.ended[role][end]);
      }
    }
    total.unannounced += read(counts.unannounced);
    total.resumed += read(counts.resumed);
    total.bytes_from_client += read(counts.bytes_from_client);
    total.bytes_from_server += read(counts.bytes_from_server);
  }
  total.live = shared_.admission.live();
  total.opening = shared_.admission.opening();
  total.memory_bytes = shared_.memory.used();
  auto announced = shared_.dataplane.counts();
  total.announcements = announced.received;
  total.announcements_wrong = announced.wrong;
  total.announcements_expired = announced.expired;
  total.proofs_lost = shared_.proofs.lost();
  return total;
}

}  // namespace bulkhead
