// A whole gateway without devices: real pipelines joined by real rings, a real publisher, a clock that stands
// still until it is moved. One thread plays all workers in turn.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "contract/counters.h"
#include "contract/settings.h"
#include "controlplane/compiler/compile.h"
#include "dataplane/fastpath/pipeline.h"
#include "dataplane/fastpath/publisher.h"
#include "dataplane/fastpath/relay_life.h"
#include "packet_text.h"

struct rte_mempool;
struct rte_ring;

namespace bulkhead::test {

/// A frame that left.
struct Sent {
  PortId port;
  Bytes frame;
};

/// What became of an injected frame.
struct Outcome {
  uint64_t packet;  ///< injected ones are numbered from 0
  PacketVerdict verdict;
  std::optional<Sent> forwarded;
};

class Rig {
 public:
  /// Errors: throws std::runtime_error with what couldn't be had. `start`: the clock's first instant;
  /// `uptime` has passed since the pipelines' epoch then. `parse_flags`: checks that are left out
  /// (ParseFlag), so that a fuzzer needn't guess checksums.
  Rig(const DataplaneSettings& settings, unsigned workers, BootTime start, Nanoseconds uptime,
      uint8_t parse_flags = 0);
  ~Rig();

  /// Publishes a compiled policy, endpoints replaced, as a generation of its own. Errors: throws.
  void publish(const CompiledPolicy& policy);
  /// Publishes a batch of endpoint changes. Errors: throws.
  void publish(const std::vector<EndpointChange>& changes);

  /// From now on frames arrive in chains of up to three buffers, cut somewhere in their headers, elsewhere
  /// each time.
  void chain_frames() { chains_ = true; }

  /// Lets a frame arrive; with several workers at one that doesn't own its flow, which must pass it on.
  Outcome inject(PortId port, std::span<const uint8_t> frame);
  /// One round of every worker without packets.
  void maintain();

  /// This worker has no policy yet, as while the first one is being published; nothing: all have it.
  void blind(std::optional<unsigned> worker) { blind_ = worker; }
  /// Packets of datagrams that are on their way between workers, as these count them.
  uint32_t datagrams_in_rings() const { return datagrams_in_rings_; }

  BootTime now() const { return now_; }
  void set_now(BootTime now) { now_ = now; }

  /// Frames that the gateway made itself, oldest first.
  std::deque<Sent>& own_frames() { return own_frames_; }
  /// What became of packets that had been held, in the order in which they were let go.
  std::deque<Outcome>& released() { return released_; }
  /// Every frame that left, oldest first; whoever wants it clears it before.
  std::deque<Sent>& transmitted() { return transmitted_; }
  size_t held() const { return held_.size(); }

  const Snapshot* snapshot() const { return published_.current.load(); }
  const PortView& port(PortId id) const { return views_[id.value]; }
  uint32_t flow_count() const;
  /// Every live flow.
  std::vector<FlowRecord> flows() const;
  /// A counter's sum over the workers.
  template <class Member>
  uint64_t total(Member member) const {
    uint64_t sum = 0;
    for (const auto& counters : counters_) sum += read(member(*counters));
    return sum;
  }
  uint64_t drops(DropReason reason) const;
  RuleHits* hits(unsigned worker) const { return snapshot() != nullptr ? snapshot()->hits[worker] : nullptr; }
  unsigned workers() const { return static_cast<unsigned>(pipelines_.size()); }

  /// The conservation law's two sides, as text where they differ; empty where it holds.
  std::string broken_conservation() const;
  /// Ends the pipelines. Says how many packets are still missing from the pool: 0, or something leaks.
  size_t close();

 private:
  struct Held {
    rte_mbuf* packet;  ///< with a reference of ours
    uint64_t number;
    PacketVerdict verdict;  ///< so far
  };
  const Snapshot* seen_by(unsigned worker) const { return blind_ == worker ? nullptr : snapshot(); }
  void create_rings();
  rte_mbuf* buffers_with(std::span<const uint8_t> frame);
  void create_pipelines(BootTime epoch);
  void publish(Update update);
  std::optional<unsigned> wrong_worker_for(PortId port, std::span<const uint8_t> frame);
  std::optional<PacketVerdict> run_hand_off();
  void settle(unsigned worker);
  void collect(unsigned worker);

  DataplaneSettings settings_;
  uint8_t parse_flags_;
  std::vector<PortView> views_;
  std::vector<std::unique_ptr<WorkerCounters>> counters_;
  Published published_;
  std::unique_ptr<Quiescence> quiescence_;
  std::unique_ptr<Publisher> publisher_;
  std::unique_ptr<NeighbourTable> neighbours_;
  std::unique_ptr<StationTable> stations_;
  RelayLife relay_;
  rte_mempool* pool_ = nullptr;
  std::vector<rte_ring*> rings_;  ///< [from][to]
  std::vector<std::unique_ptr<Pipeline>> pipelines_;
  BootTime now_;
  std::atomic<uint32_t> datagrams_in_rings_{0};
  std::optional<unsigned> blind_;
  bool chains_ = false;
  unsigned deliveries_ = 0;
  uint64_t injections_ = 0;
  rte_mbuf* injected_ = nullptr;   ///< the packet that is under way
  std::optional<Sent> forwarded_;  ///< where it went
  std::deque<Held> held_;
  std::deque<Sent> own_frames_;
  std::deque<Outcome> released_;
  std::deque<Sent> transmitted_;
};

}  // namespace bulkhead::test
