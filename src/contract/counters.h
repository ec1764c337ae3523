// The counters that the dataplane shares: a memfd, sealed against writing by its readers. One block for each
// worker, which alone writes it, with relaxed stores of its own registers once a burst; readers load relaxed
// and add up.
//
// Conservation, at every moment at which no worker is in a burst, summed over workers:
//   received + originated = transmitted + consumed + held + sum of drops
#pragma once

#include <atomic>
#include <cstdint>

#include "base/drop_reason.h"
#include "base/types.h"

namespace bulkhead {

inline constexpr uint64_t kCountersMagic = 0x31544e43444b4842;
inline constexpr uint32_t kCountersFormat = 6;

using Counter = std::atomic<uint64_t>;
static_assert(Counter::is_always_lock_free && sizeof(Counter) == 8);

/// Adds to a counter that only the calling thread writes.
inline void add(Counter& counter, uint64_t n) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}
inline uint64_t read(const Counter& counter) noexcept {
  return counter.load(std::memory_order_relaxed);
}

struct PortCounters {
  Counter rx_packets, rx_bytes;  ///< as rte_eth_rx_burst returned them
  Counter tx_packets, tx_bytes;  ///< as rte_eth_tx_burst accepted them
};

/// Written by one worker, read by anyone.
struct alignas(64) WorkerCounters {
  Counter received;     ///< packets taken from ports
  Counter originated;   ///< packets that the gateway made itself (ARP, ND, ICMP, RST)
  Counter transmitted;  ///< packets that drivers accepted
  Counter consumed;     ///< packets that ended at the gateway (ARP and ND for it, echo to it)
  Counter held;         ///< packets held now: a gauge. Handed-off ones count here while they are in a ring
  Counter drops[kDropReasonCount];

  Counter new_flows;
  Counter flows_tcp_opening, flows_tcp_established, flows_tcp_closing, flows_udp, flows_icmp,
      flows_other;            ///< gauges
  Counter datagrams_held;     ///< a gauge: fragmented ones that aren't complete, or are refused
  Counter flows_revoked;      ///< flows ended because policy, an endpoint or a deadline no longer allows them
  Counter half_open_evicted;  ///< TCP flows that gave way while they were opening
  Counter handed_off;         ///< packets passed to the worker that owns their flow
  Counter judged;             ///< evaluations of policy
  Counter sweep_rounds;       ///< times the sweep of idle flows has seen the whole table
  Counter busy_cycles, total_cycles;  ///< TSC: in bursts that had packets, and in all
  PortCounters ports[kMaxPorts];
};

struct alignas(64) CountersHeader {
  uint64_t magic;
  uint32_t format;
  uint32_t worker_count;
  uint32_t worker_bytes;  ///< sizeof(WorkerCounters)
  uint32_t port_count;
  uint64_t tsc_hz;
  Counter generation;  ///< the last that was published to workers
  Counter image_generation;
  Counter endpoints;
  Counter guard_drops[kMaxPorts];  ///< what the XDP or tc program of each port dropped: outside conservation,
                                   ///< since no worker ever had it
  Counter guard_passes[kMaxPorts];  ///< what it left to the kernel
  Counter nic_missed[kMaxPorts];    ///< what the device itself lost for want of descriptors: outside
                                    ///< conservation too
  Counter port_up[kMaxPorts];       ///< 1: link up
};

/// The memfd's layout: CountersHeader, then WorkerCounters[worker_count].
inline size_t counters_bytes(uint32_t worker_count) {
  return sizeof(CountersHeader) + worker_count * sizeof(WorkerCounters);
}

/// Decisions by one rule, for one worker. In a memfd of its own for each image.
struct RuleHits {
  Counter decided;  ///< evaluations that the rule was reported for: a flow's first, and each later one
  Counter audited;  ///< evaluations that it would have decided, were it not in audit mode
};

}  // namespace bulkhead
