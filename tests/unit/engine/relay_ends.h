// The other ends of a control plane that has a relay: the relay's own, and a dataplane's whose answers are
// the test's.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "contract/channel.h"
#include "contract/counters.h"
#include "contract/events.h"
#include "contract/memfd.h"
#include "contract/messages.h"
#include "dataplane/relay/control.h"
#include "dataplane/relay/identities.h"

namespace bulkhead::test {

using namespace std::chrono_literals;

template <class Condition>
bool soon(Condition holds) {
  for (int i = 0; i < 1000; ++i, std::this_thread::sleep_for(5ms))
    if (holds()) return true;
  return holds();
}

/// A relay's control channel, on a thread of its own. It takes all identities that are whole, and answers at
/// once unless it is told not to.
class RelayControlEnd {
 public:
  explicit RelayControlEnd(const std::string& socket) {
    auto listener = listen_at(socket);
    EXPECT_TRUE(listener) << listener.error().message;
    auto control = RelayControl::serve_at(
        std::move(*listener),
        {.take_identities = [this](const PublishIdentities& m, const Fd& fd) { return take(m, fd); },
         .drain = [] {},
         .shut_down = [] {},
         .welcome =
             [this] {
               ++attachments_;
               auto welcome = make_message<RelayWelcome>(MessageType::kRelayWelcome);
               welcome.generation = generation(), welcome.state = RelayState::kReady;
               return welcome;
             }});
    EXPECT_TRUE(control) << control.error().message;
    control_.emplace(std::move(*control));
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) step(), std::this_thread::sleep_for(1ms);
    });
  }
  ~RelayControlEnd() {
    thread_.request_stop();
    thread_.join();
  }

  void answer(bool does) { answers_ = does; }
  void tell(ConnectionProof proof) { proofs_.add(std::move(proof)); }
  /// So often has a control plane attached.
  unsigned attachments() const { return attachments_; }
  /// The generations that it was given, in order.
  std::vector<uint64_t> given() const {
    std::lock_guard lock(mutex_);
    return given_;
  }
  /// The generation that it has.
  uint64_t generation() const {
    std::lock_guard lock(mutex_);
    return current_ ? current_->generation() : 0;
  }
  /// Whether a workload of segment 100 that connects to segment 200 may have this ID.
  bool web_may_be(const std::string& id) const {
    std::lock_guard lock(mutex_);
    RelayAnnouncement flow = make_relay_announcement();
    flow.source_tag = 100, flow.destination_tag = 200, flow.role = RelayRole::kTerminate;
    return current_ && current_->peer_may_be(flow, *parse_workload_id(id));
  }

 private:
  Expected<> take(const PublishIdentities& message, const Fd& fd) {
    std::vector<std::byte> bytes(message.image_bytes);
    if (auto copied = copy_sealed(fd, bytes); !copied) return copied;
    auto identities = Identities::read(std::move(bytes));
    if (!identities) return std::unexpected(identities.error());
    std::lock_guard lock(mutex_);
    current_ = std::move(*identities);
    given_.push_back(message.generation);
    unanswered_ = message.generation;
    return {};
  }
  void step() {
    control_->step();
    if (unanswered_ && answers_) control_->answer_identities(*std::exchange(unanswered_, {}), 0, 0);
    control_->send_proofs(proofs_);
  }

  ProofQueue proofs_{size_t{1} << 20};
  std::optional<RelayControl> control_;
  std::atomic<bool> answers_{true};
  std::atomic<unsigned> attachments_{0};
  std::optional<uint64_t> unanswered_;  ///< the thread's
  mutable std::mutex mutex_;
  std::shared_ptr<const Identities> current_;
  std::vector<uint64_t> given_;
  std::jthread thread_;
};

/// A dataplane's control channel: `answer` says what becomes of a publish; an error refuses it.
class DataplaneEnd {
 public:
  using Answer = std::function<Expected<>(const Publish&)>;
  DataplaneEnd(const std::string& socket, Answer answer, uint64_t started = 1)
      : answer_(std::move(answer)), started_(started) {
    auto listener = listen_at(socket);
    EXPECT_TRUE(listener) << listener.error().message;
    listener_ = std::move(*listener);
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) step();
    });
  }
  ~DataplaneEnd() {
    thread_.request_stop();
    thread_.join();
  }
  uint64_t image_generation() const { return image_generation_; }

 private:
  void step() {
    if (!plane_) {
      auto fd = accept_from(listener_);
      if (fd && *fd) plane_.emplace(std::move(*fd));
      if (!plane_) return std::this_thread::sleep_for(1ms);
    }
    auto packet = plane_->receive(5);
    if (!packet) return plane_.reset();
    if (packet->bytes.empty()) return;
    if (decode_message<Hello>(packet->bytes, MessageType::kHello)) return greet();
    auto publish = decode_message<Publish>(packet->bytes, MessageType::kPublish);
    ASSERT_TRUE(publish) << publish.error().message;
    auto done = answer_(*publish);
    if (!done) return refuse(publish->generation, done.error());
    if (publish->image_bytes != 0) image_generation_ = publish->generation;
    auto accepted = make_message<Accepted>(MessageType::kAccepted);
    generation_ = accepted.generation = publish->generation;
    EXPECT_TRUE(plane_->send_message(accepted));
  }
  /// As a dataplane of one worker that does nothing.
  void greet() {
    auto counters = make_shared_memory("counters", counters_bytes(1));
    auto ring = make_shared_memory("ring", kEventRingBytes);
    auto tail = make_shared_memory("tail", kEventRingData);
    ASSERT_TRUE(counters && ring && tail);
    auto* header = counters->mapping.as<CountersHeader>();
    header->magic = kCountersMagic, header->format = kCountersFormat;
    header->worker_count = 1, header->worker_bytes = sizeof(WorkerCounters);
    auto* records = ring->mapping.as<EventRingHeader>();
    records->magic = kEventRingMagic, records->slots = kEventRingSlots;
    records->record_bytes = sizeof(FlowRecord);
    auto welcome = make_message<Welcome>(MessageType::kWelcome);
    welcome.generation = generation_, welcome.image_generation = image_generation_;
    welcome.worker_count = 1, welcome.port_count = 2, welcome.started_boot_ns = started_;
    std::string("edge").copy(welcome.gateway, sizeof welcome.gateway);
    int fds[] = {counters->fd.get(), ring->fd.get(), tail->fd.get()};
    EXPECT_TRUE(plane_->send_message(welcome, fds));
  }
  void refuse(uint64_t generation, const Error& error) {
    auto refused = make_message<Refused>(MessageType::kRefused);
    refused.generation = generation, refused.code = error.code;
    error.message.copy(refused.reason, sizeof refused.reason - 1);
    EXPECT_TRUE(plane_->send_message(refused));
  }

  Answer answer_;
  uint64_t started_, generation_ = 0;
  std::atomic<uint64_t> image_generation_{0};
  Fd listener_;
  std::optional<Channel> plane_;
  std::jthread thread_;
};

}  // namespace bulkhead::test
