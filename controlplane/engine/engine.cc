#include "controlplane/engine/engine.h"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "config/policy_on_gateway.h"
#include "controlplane/compiler/identities.h"
#include "controlplane/publish/endpoint_diff.h"

namespace bulkhead {
namespace {

using namespace std::chrono_literals;

constexpr Nanoseconds kFirstAttachPause = 1ms;
constexpr Nanoseconds kLongestAttachPause = 200ms;
constexpr Nanoseconds kLongestRetryPause = 5s;

double milliseconds(int64_t ns) {
  return static_cast<double>(ns) / 1e6;
}

void log_diagnostics(const Diagnostics& diagnostics) {
  for (const Diagnostic& diagnostic : diagnostics)
    spdlog::log(diagnostic.severity == Severity::kError ? spdlog::level::err : spdlog::level::warn, "{}",
                to_string(diagnostic));
}

std::vector<std::string> errors_in(const Diagnostics& diagnostics) {
  std::vector<std::string> errors;
  for (const Diagnostic& diagnostic : diagnostics)
    if (diagnostic.severity == Severity::kError) errors.push_back(to_string(diagnostic));
  return errors;
}

}  // namespace

bool Engine::same_image(const ExplainablePolicy& a, const ExplainablePolicy& b) {
  return std::ranges::equal(a.compiled.image.span(), b.compiled.image.span());
}

/// Whether the relay would be told the same. It knows identities by the image's generation, so that others
/// take an image of a generation of its own.
bool Engine::same_identities(const ExplainablePolicy& a, const ExplainablePolicy& b) {
  IdentitySet first = identities_of(a.policy, *a.compiled.workloads, 0),
              second = identities_of(b.policy, *b.compiled.workloads, 0);
  auto by_number = [](IdentitySet& set) {
    std::ranges::sort(set.workloads, {}, &IdentitySet::Workload::number);
  };
  by_number(first), by_number(second);
  return first.segments == second.segments && first.workloads == second.workloads;
}

Expected<std::unique_ptr<Engine>> Engine::create(EngineParts parts) {
  Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno(errno, "eventfd");
  return std::unique_ptr<Engine>(new Engine(std::move(parts), std::move(wake)));
}

Engine::Engine(EngineParts parts, Fd wake)
    : parts_(std::move(parts)),
      target_(target_of(parts_.settings)),
      wake_(std::move(wake)),
      attach_pause_(kFirstAttachPause) {
  parts_.board.change([&](ControlState& state) { state.feed.source = parts_.feed.path(); });
}

void Engine::run() {
  while (!stopping_) {
    take_requests();
    attach_if_due();
    hear_from_dataplane();
    read_policy_if_due();
    publish_if_due();
    keep_watch();
    if (!stopping_) wait();
  }
  if (auto stored = parts_.deadlines.store(); !stored) spdlog::warn("{}", stored.error().message);
}

void Engine::ask(Request request) {
  requests_.fetch_or(request);
  uint64_t one = 1;
  [[maybe_unused]] ssize_t written = ::write(wake_.get(), &one, sizeof one);  // full: it will wake up anyway
}

void Engine::take_requests() {
  uint64_t count;
  while (::read(wake_.get(), &count, sizeof count) > 0) {
  }
  uint32_t requests = requests_.exchange(0);
  if (requests & kStop) stopping_ = true;
  if (requests & kReread) parts_.feed.read_anyway(boot_now());
}

/// Sleeps until something happens or is due.
void Engine::wait() {
  BootTime due = std::min(parts_.feed.next_wake(), next_clock_look_);
  due = std::min({due, read_again_.at, publish_again_.at});
  if (!dataplane_) due = std::min(due, next_attach_);
  if (in_flight_ && !in_flight_->told_late) due = std::min(due, in_flight_->sent + kAnswerIsLate);
  if (BootTime now = boot_now(); !parts_.feed.waiting_for(now).empty())
    due = std::min(due, now + kFileIsLate);
  int64_t ns = std::max<int64_t>(0, due.ns - boot_now().ns);
  timespec timeout{ns / 1'000'000'000, ns % 1'000'000'000};
  pollfd fds[] = {{wake_.get(), POLLIN, 0}, {parts_.feed.fd(), POLLIN, 0}, {-1, POLLIN, 0}};
  if (dataplane_) fds[2].fd = dataplane_->with([](DataplaneClient& client) { return client.fd(); });
  ::ppoll(fds, std::size(fds), &timeout, nullptr);
}

// --- the dataplane comes and goes

void Engine::attach_if_due() {
  if (dataplane_ || boot_now() < next_attach_) return;
  auto client = DataplaneClient::attach(parts_.contract_socket);
  std::optional<std::string> trouble;
  if (!client)
    trouble = client.error().message;
  else
    trouble = stranger((*client)->welcome());
  if (!trouble) return attached(std::move(*client));

  if (*trouble != attach_trouble_) spdlog::warn("waiting for the dataplane: {}", *trouble);
  attach_trouble_ = *trouble;
  next_attach_ = boot_now() + attach_pause_;
  attach_pause_ = std::min(2 * attach_pause_, kLongestAttachPause);
}

/// Why this isn't the dataplane that the configuration describes, if it isn't.
std::optional<std::string> Engine::stranger(const Welcome& welcome) const {
  if (parts_.settings.name != welcome.gateway)
    return "at " + parts_.contract_socket + " is gateway '" + welcome.gateway + "', not '" +
           parts_.settings.name + "': start both with the same configuration";
  if (parts_.settings.ports.size() != welcome.port_count)
    return "the dataplane has " + std::to_string(welcome.port_count) + " ports, the configuration " +
           std::to_string(parts_.settings.ports.size()) + ": restart it with this configuration";
  return std::nullopt;
}

void Engine::attached(std::unique_ptr<DataplaneClient> client) {
  const Welcome welcome = client->welcome();
  spdlog::info(
      "attached to the dataplane (pid {}, {} workers, {} ports), which enforces {}", welcome.pid,
      welcome.worker_count, welcome.port_count,
      welcome.generation == 0 ? "no policy yet" : "generation " + std::to_string(welcome.generation));
  last_generation_ = std::max(last_generation_, welcome.generation);
  attach_pause_ = kFirstAttachPause;
  attach_trouble_.clear();
  enforced_.reset(), in_flight_.reset(), refused_here_.reset();
  whole_next_ = false;
  publish_again_ = {};
  dataplane_ = std::make_shared<Attachment>(std::move(client), [this] { ask(kWake); });
  enforced_as_ = {welcome.generation, welcome.image_generation};
  if (parts_.relay != nullptr)
    parts_.relay->dataplane_started({static_cast<int64_t>(welcome.started_boot_ns)});
  settle_relay();
  parts_.board.change([&](ControlState& state) {
    state.dataplane = dataplane_;
    state.welcome = welcome;
    state.enforced = enforced_as_;
  });
}

void Engine::hear_from_dataplane() {
  if (!dataplane_) return;
  std::optional<Error> gone;
  dataplane_->with_answers([&](DataplaneClient& client, const RuleHitCounts& hits_before) {
    if (auto heard = client.handle_readable(); !heard) gone = heard.error();
    while (auto result = client.next_result()) take_result(*result, hits_before);
    while (auto event = client.next_port_event())
      spdlog::warn("port {} is {}",
                   event->port < target_.port_names.size() ? target_.port_names[event->port] : "?",
                   event->up ? "up" : "down");
  });
  if (gone) lost(*gone);
}

void Engine::lost(const Error& error) {
  spdlog::warn("lost the dataplane: {}. It is attached to again as soon as it is there", error.message);
  dataplane_->with([&](DataplaneClient& client) {
    parts_.board.change([&](ControlState& state) {
      if (state.policy) parts_.retired.add(state.policy->view, read_rule_hits(client), state.policy->view);
      state.dataplane.reset();
      state.enforced = {};
      if (state.feed.standing == FeedState::Standing::kInForce)
        state.feed.standing = FeedState::Standing::kWaiting;
    });
  });
  dataplane_.reset();
  enforced_.reset(), in_flight_.reset();
  publish_again_ = {};
  next_attach_ = boot_now();
}

// --- from the policy directory to the dataplane

void Engine::read_policy_if_due() {
  BootTime begun = boot_now();
  WallTime wall = wall_now();
  if (begun >= read_again_.at) {
    read_again_.at = kNever;
    parts_.feed.read_again(begun);
  }
  auto reading = parts_.feed.read_if_due(begun, wall);
  if (!reading) return;
  BootTime loaded = boot_now();
  check_on_gateway(reading->loaded, parts_.settings);
  look_at_clock(loaded);
  auto accepted = accept_policy(std::move(reading->loaded), target_, parts_.deadlines, wall,
                                wanted_ ? &wanted_->policy->policy : nullptr);
  if (!accepted.policy && accepted.machine_short) return put_off_reading(accepted);
  read_again_ = {}, publish_again_ = {};
  trouble(Trouble::kShort, {});
  log_diagnostics(accepted.diagnostics);
  if (!accepted.policy) {
    spdlog::error("policy refused: {} errors; {}", errors_in(accepted.diagnostics).size(),
                  enforced_ ? "what was enforced stays enforced" : "it is not enforced");
    parts_.board.change([&](ControlState& state) {
      state.feed.standing = FeedState::Standing::kRefused;
      state.feed.errors = errors_in(accepted.diagnostics);
      ++state.feed.readings_refused;
    });
    return;
  }
  if (!dataplane_)
    spdlog::info("policy read: {} segments, {} rules; it is enforced as soon as a dataplane is there",
                 accepted.policy->policy.segments.size(), accepted.policy->policy.rules.size());
  clock_moved_ = false;
  wanted_ = Candidate{.policy = accepted.policy,
                      .seen = reading->seen,
                      .read = wall,
                      .read_ms = milliseconds(loaded.ns - begun.ns),
                      .compile_ms = milliseconds(boot_now().ns - loaded.ns)};
  parts_.board.change([&](ControlState& state) {
    state.feed.standing = FeedState::Standing::kWaiting;
    state.feed.errors.clear();
  });
}

void Engine::Retry::put_off() {
  at = boot_now() + pause;
  pause = std::min(2 * pause, kLongestRetryPause);
}

void Engine::put_off_reading(const AcceptedPolicy& accepted) {
  read_again_.put_off();
  auto errors = errors_in(accepted.diagnostics);
  trouble(Trouble::kShort,
          "the policy can't be read for now, and is tried again until it can: " + errors.at(0));
  parts_.board.change([&](ControlState& state) {
    state.feed.standing = FeedState::Standing::kRetried;
    state.feed.errors = std::move(errors);
  });
}

/// Nobody enforces `generation`, so the next attempt has it, unless the relay was told what it means.
void Engine::put_off_publish(uint64_t generation, bool whole, const Error& why) {
  publish_again_.put_off();
  settle_relay();
  if (generation == last_generation_ && parts_.relay == nullptr) --last_generation_;
  whole_next_ = whole_next_ || whole;
  trouble(
      Trouble::kShort,
      "the policy can't be handed to the dataplane for now, and is tried again until it can: " + why.message);
  parts_.board.change([](ControlState& state) { state.feed.standing = FeedState::Standing::kRetried; });
}

/// The relay goes by what the dataplane enforces, and by nothing that it refused.
void Engine::settle_relay() {
  if (parts_.relay != nullptr) parts_.relay->settle(enforced_as_.image_generation);
}

void Engine::publish_if_due() {
  if (!dataplane_ || in_flight_ || !wanted_ || publish_again_.holds_back()) return;
  if (wanted_->policy == refused_here_ || (enforced_ && enforced_->policy == wanted_->policy)) return;
  publish(!enforced_ || std::exchange(whole_next_, false));
}

void Engine::publish(bool whole) {
  publish_again_.at = kNever;
  const ExplainablePolicy& policy = *wanted_->policy;
  bool with_image = whole || !same_image(policy, *enforced_->policy) ||
                    (parts_.relay != nullptr && !same_identities(policy, *enforced_->policy));
  auto changes = whole ? endpoint_puts(policy.compiled.endpoints)
                       : endpoint_diff(enforced_->policy->compiled.endpoints, policy.compiled.endpoints);
  if (!with_image && changes.empty()) {
    spdlog::info("policy unchanged: generation {} stays", enforced_as_.generation);
    return in_force(*wanted_);
  }
  PublishRequest request;
  request.generation = ++last_generation_;
  if (with_image) request.image = policy.compiled.image.span();
  request.base_image_generation = with_image ? 0 : enforced_as_.image_generation;
  request.changes = changes;
  request.replace_endpoints = whole;
  parts_.names.add(request.generation, with_image ? request.generation : enforced_as_.image_generation,
                   policy);
  // First, so that the relay is never under a laxer policy than the dataplane.
  if (parts_.relay != nullptr && with_image)
    parts_.relay->offer(identities_of(policy.policy, *policy.compiled.workloads, request.generation));
  auto sent = dataplane_->with([&](DataplaneClient& client) { return client.publish(request); });
  if (sent) {
    in_flight_ = InFlight{*wanted_, request.generation, with_image, whole, boot_now()};
  } else if (sent.error().code == ErrorCode::kUnavailable) {
    lost(sent.error());
  } else if (is_shortage(sent.error().code)) {
    put_off_publish(request.generation, whole, sent.error());
  } else {
    refused({request.generation, sent.error()});
  }
}

void Engine::take_result(const PublishResult& result, const RuleHitCounts& hits_before) {
  if (!in_flight_ || in_flight_->generation != result.generation) return;
  if (result.refused && is_shortage(result.refused->code))
    put_off_publish(result.generation, in_flight_->whole, *result.refused);
  else if (result.refused)
    refused(result);
  else
    accepted(result, hits_before);
  in_flight_.reset();
}

void Engine::accepted(const PublishResult& result, const RuleHitCounts& hits_before) {
  InFlight& done = *in_flight_;
  double seconds = milliseconds(boot_now().ns - done.candidate.seen.ns) / 1e3;
  enforced_as_ = {result.generation, done.with_image ? result.generation : enforced_as_.image_generation};
  settle_relay();
  parts_.board.change([&](ControlState& state) {
    if (done.with_image && state.policy)
      parts_.retired.add(state.policy->view, hits_before, done.candidate.policy->view);
    if (!done.candidate.timed) state.enforcement.add(seconds);
  });
  const ExplainablePolicy& policy = *done.candidate.policy;
  spdlog::info(
      "policy accepted: {} segments, {} rules, {} endpoints, {:.1f} MiB in all; generation {} enforced in "
      "{:.2f} ms "
      "(read in {:.2f} ms, compiled in {:.2f} ms, copied and checked in {:.2f} ms, by every worker {:.2f} ms "
      "after it "
      "was sent)",
      policy.policy.segments.size(), policy.policy.rules.size(), policy.compiled.endpoints.size(),
      static_cast<double>(policy.compiled.image.span().size() + policy.endpoints.memory_bytes()) / (1 << 20),
      result.generation, seconds * 1e3, done.candidate.read_ms, done.candidate.compile_ms,
      milliseconds(static_cast<int64_t>(result.checked_ns)),
      milliseconds(static_cast<int64_t>(result.enforced_ns)));
  done.candidate.timed = true;
  in_force(done.candidate);
}

/// The dataplane's word, or our own, that a publish changed nothing.
void Engine::refused(const PublishResult& result) {
  settle_relay();
  const std::string& why = result.refused->message;
  if (in_flight_ && !in_flight_->whole) {  // it may hold another state than we think
    spdlog::warn("the dataplane refused generation {}: {}. It is sent the whole state", result.generation,
                 why);
    whole_next_ = true;
    return;
  }
  spdlog::error("the dataplane refused generation {}: {}. What it enforced, it enforces still",
                result.generation, why);
  refused_here_ = in_flight_ ? in_flight_->candidate.policy : wanted_->policy;
  if (wanted_->policy != refused_here_) return;  // something newer was read meanwhile, and goes next
  if (last_good_) {
    wanted_ = last_good_;
    clock_moved_ = true;  // it may have since that was compiled
  }
  parts_.board.change([&](ControlState& state) {
    state.feed.standing = FeedState::Standing::kRefused;
    state.feed.errors = {"the dataplane refused it: " + why};
    ++state.feed.readings_refused;
  });
}

/// `candidate` is what the dataplane enforces now.
void Engine::in_force(const Candidate& candidate) {
  enforced_ = last_good_ = candidate;
  publish_again_ = {};
  if (wanted_ && wanted_->policy == candidate.policy) wanted_ = candidate;
  parts_.board.change([&](ControlState& state) {
    state.policy = candidate.policy;
    state.enforced = enforced_as_;
    state.feed.changed = candidate.read;
    state.feed.changed_boot = candidate.seen;
    if (wanted_ && wanted_->policy == candidate.policy &&
        (state.feed.standing == FeedState::Standing::kWaiting ||
         (state.feed.standing == FeedState::Standing::kRetried && read_again_.at == kNever)))
      state.feed.standing = FeedState::Standing::kInForce;
  });
  if (read_again_.at == kNever) trouble(Trouble::kShort, {});
}

}  // namespace bulkhead
