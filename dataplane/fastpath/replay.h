// The pipeline on packets from a file: one worker, a virtual clock, a fixed hash seed, no device. The same
// packets give the same verdicts and the same output, byte for byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "contract/counters.h"
#include "contract/settings.h"
#include "dataplane/fastpath/port_view.h"
#include "dataplane/fastpath/snapshot.h"
#include "dataplane/fastpath/verdict.h"

struct rte_mbuf;
struct rte_mempool;

namespace bulkhead {

class NeighbourTable;
class StationTable;
class Pipeline;

/// A packet as it arrives on a port.
struct ReplayPacket {
  BootTime time;  ///< of the capture's clock; never earlier than the packet before
  PortId port;
  std::span<const std::byte> frame;
};

/// What became of a packet, when that is final.
struct ReplayVerdict {
  uint64_t packet;  ///< counted from 1
  BootTime time;
  PortId port;
  PacketVerdict verdict;
};

/// Who is told. Verdicts come in the packets' order, transmissions in the order in which they happen.
class ReplaySink {
 public:
  virtual ~ReplaySink() = default;
  virtual void decided(const ReplayVerdict& verdict) = 0;
  /// A frame leaves on `port`, the gateway's own included. `time`: of the packet or timer that caused it.
  virtual void transmitted(PortId port, BootTime time, std::span<const std::byte> frame) = 0;
};

struct ReplayOptions {
  BootTime start;               ///< the first packet's time
  size_t longest_frame = 1514;  ///< bytes; a longer one is refused
  uint64_t packets = 0;         ///< how many will come, so that no more room is taken than they can fill
  bool ignore_checksums = false;
};

/// Starts DPDK for replay: no root, no hugepages, no device, nothing on disk. Once in a process; again it
/// does nothing. Errors: kSystem, kExhausted with DPDK's reason.
Expected<void> start_replay_memory(uint32_t memory_mib);

/// One run. Thread: one.
class Replay {
 public:
  /// Input: `settings` with at least a MAC for each port; `policy` with image and endpoints (its hits are
  /// ignored), or nullptr: nothing is in force. Both, and `sink`, outlive it. start_replay_memory() was
  /// called. Errors: kExhausted when memory_mib doesn't do.
  static Expected<std::unique_ptr<Replay>> create(const DataplaneSettings& settings, const Snapshot* policy,
                                                  const ReplayOptions& options, ReplaySink& sink);
  ~Replay();

  /// Lets the clock run to the packet's time, then puts it through the pipeline.
  /// Errors: kInvalid for a frame over `longest_frame`; kExhausted when held packets have used up the memory.
  Expected<void> feed(const ReplayPacket& packet);
  /// The end: what is still held is reported as such.
  /// Errors: kSystem when the counters break the conservation law (a defect of the gateway).
  Expected<void> finish();

  const WorkerCounters& counters() const { return *counters_; }

 private:
  /// A packet whose verdict hasn't been told yet, because it or one before it is held.
  struct Waiting {
    ReplayVerdict verdict;
    const rte_mbuf* held;  ///< by the pipeline, which names it when its fate is known; nullptr: final
  };

  Replay();
  bool allocate(const DataplaneSettings& settings, const Snapshot* policy, const ReplayOptions& options);
  Expected<rte_mbuf*> mbuf_of(const ReplayPacket& packet);
  void advance_clock(BootTime to);
  void maintain();
  void settle();
  void drain();
  void transmit(rte_mbuf* mbuf, PortId port);

  ReplaySink* sink_ = nullptr;
  ReplayOptions options_;
  std::vector<PortView> views_;
  std::unique_ptr<WorkerCounters> counters_;
  std::vector<RuleHits> hits_;
  std::unique_ptr<Snapshot> snapshot_;
  std::unique_ptr<ShardVersions> shards_;
  std::unique_ptr<NeighbourTable> neighbours_;
  std::unique_ptr<StationTable> stations_;
  rte_mempool* pool_ = nullptr;
  std::unique_ptr<Pipeline> pipeline_;
  std::deque<Waiting> waiting_;
  size_t held_ = 0;  ///< of `waiting_`
  uint64_t count_ = 0;
  BootTime now_;
};

}  // namespace bulkhead
