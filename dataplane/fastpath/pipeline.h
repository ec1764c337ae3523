// The pipeline: what one worker does with a burst of packets.
//
//   parse -> classify -> track -> (miss or stale: decide) -> steer -> rewrite -> out
//
// run() calls the stages in this order; reading order is execution order. The same object, with one worker, a
// virtual clock, a fixed seed and packets from files, is `bulkhead replay`.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "base/clock.h"
#include "contract/counters.h"
#include "contract/events.h"
#include "contract/settings.h"
#include "dataplane/fastpath/port_view.h"
#include "dataplane/fastpath/snapshot.h"
#include "dataplane/fastpath/verdict.h"

namespace bulkhead {

class NeighbourTable;
struct RelayLife;
class StationTable;

inline constexpr uint16_t kBurst = 64;

/// What became of a packet that had been held; kHold: it is judged, and waits on.
struct LateVerdict {
  const rte_mbuf* packet;  ///< only as a name: it may be gone
  PacketVerdict verdict;
  bool judged;  ///< all of the verdict is news; else its fate, reason and port are
};

/// Packets that wait for one port's tx burst, in order. The caller transmits and then clears it.
struct TxQueue {
  static constexpr uint16_t kCapacity = 2 * kBurst;
  uint16_t count = 0;
  uint16_t mtu =
      0;  ///< the port's: a longer IP packet goes the long way; 0: each does, since the port writes links
  uint32_t bytes = 0;  ///< of all frames
  rte_mbuf* packets[kCapacity];

  /// False where it is full; the packet stays the caller's.
  bool put(rte_mbuf* packet) noexcept {
    if (count == kCapacity) [[unlikely]]
      return false;
    packets[count++] = packet;
    bytes += packet->pkt_len;
    return true;
  }
  /// Takes out the last one; only where there is one.
  rte_mbuf* take_back() noexcept {
    rte_mbuf* packet = packets[--count];
    bytes -= packet->pkt_len;
    return packet;
  }
  void clear() noexcept { count = 0, bytes = 0; }
};

/// What a pipeline is made of; everything outlives it.
struct PipelineParts {
  const DataplaneSettings* settings;
  std::span<const PortView> ports;  ///< by PortId
  unsigned worker;                  ///< this one's number
  unsigned worker_count;
  rte_mempool* pool;  ///< for packets that the gateway makes
  WorkerCounters* counters;
  EventWriter events;
  NeighbourTable* neighbours;                 ///< of neighbour_ports(): shared by the workers
  RelayLife* relay;                           ///< with a relay port: shared by the workers; else nullptr
  StationTable* stations;                     ///< with overlay ports: the same; else nullptr
  std::span<rte_ring* const> hand_off;        ///< by worker: the ring to it (its own: nullptr)
  uint32_t max_flows;                         ///< this worker's share
  uint64_t hash_seed[2];                      ///< secret; the same for all workers of a gateway
  BootTime epoch;                             ///< from which the pipeline counts its milliseconds
  uint8_t parse_flags;                        ///< ParseFlag: checks left to others on every port
  bool keep_verdicts;                         ///< verdicts() is wanted
  std::atomic<uint32_t>* datagrams_in_rings;  ///< packets of fragmented datagrams that workers have handed
                                              ///< over and nobody has taken yet; relaxed. One worker: unused
};

struct PipelineState;

/// One worker's packet processing. Thread: that worker, or nobody else while it runs. Neither allocates,
/// blocks, logs nor throws in run() and maintain().
class Pipeline {
 public:
  static std::unique_ptr<Pipeline> create(const PipelineParts& parts);  ///< nullptr: memory ran out
  ~Pipeline();

  /// Takes ownership of `count` packets (at most kBurst) that came in on the ports named by their
  /// rte_mbuf::port, or through a hand-off ring. Each ends in a TxQueue, in another worker's ring, held,
  /// consumed, or dropped and freed. Counts everything but `received`, `transmitted` and port counters, which
  /// are the caller's. `snapshot` may be nullptr: everything is dropped as no_policy.
  void run(rte_mbuf** packets, uint16_t count, BootTime now, const Snapshot* snapshot) noexcept;

  /// Expiry, the sweep of idle flows, held packets: a bounded piece of each. Called after every poll, also an
  /// empty one. True: there is more to do soon.
  bool maintain(BootTime now, const Snapshot* snapshot) noexcept;

  /// What waits for transmission on a port.
  TxQueue& out(PortId port) noexcept;

  /// The verdicts of the last run(), one for each of its packets in order.
  std::span<const PacketVerdict> verdicts() const noexcept;

  /// What became of held packets in the last run() or maintain(); kept only with keep_verdicts.
  std::span<const LateVerdict> late_verdicts() const noexcept;

  /// Copies live flows into `records`, from the table's position `cursor` on, looking at no more than
  /// `budget` positions; returns how many it wrote, and moves `cursor` (to UINT32_MAX at the end). Thread:
  /// the worker, between bursts.
  size_t list_flows(uint32_t& cursor, uint32_t budget, std::span<FlowRecord> records,
                    const Snapshot* snapshot) const noexcept;
  uint32_t flow_count() const noexcept;

  /// The next instant at which maintain() has something to do, kNever if none: so replay can step its clock
  /// there.
  BootTime next_timer() const noexcept;

 private:
  explicit Pipeline(std::unique_ptr<PipelineState> state);
  std::unique_ptr<PipelineState> state_;
};

}  // namespace bulkhead
