// The dataplane's counters, added up over workers at one moment.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/drop_reason.h"
#include "controlplane/publish/dataplane_client.h"

namespace bulkhead {

struct PortReading {
  uint64_t rx_packets = 0, rx_bytes = 0, tx_packets = 0, tx_bytes = 0;
  uint64_t guard_dropped = 0, guard_passed = 0;  ///< frames that the guard kept from, or left to, the host
  uint64_t missed = 0;                           ///< frames that the device lost for want of room
  bool up = false;
};

struct WorkerCycles {
  uint64_t busy = 0, total = 0;
};

struct Readings {
  uint64_t received = 0, originated = 0, transmitted = 0, consumed = 0, held = 0;
  uint64_t datagrams_held = 0;  ///< fragmented ones
  std::array<uint64_t, kDropReasonCount> drops{};
  uint64_t dropped = 0;  ///< their sum
  uint64_t new_flows = 0, revoked = 0, half_open_evicted = 0, handed_off = 0, judged = 0;
  uint64_t tcp_opening = 0, tcp_established = 0, tcp_closing = 0, udp = 0, icmp = 0, other = 0;
  uint64_t events_lost = 0;
  uint64_t endpoints = 0;
  std::vector<PortReading> ports;  ///< by PortId
  std::vector<WorkerCycles> workers;

  uint64_t live_flows() const { return tcp_opening + tcp_established + tcp_closing + udp + icmp + other; }
};

/// Reads while workers run: sums may be off by what is in flight.
Readings read_counters(const DataplaneClient& client);

/// How busy each worker was between the last two samples. Thread: any.
class BusyMeter {
 public:
  void sample(const std::vector<WorkerCycles>& now);
  std::vector<double> ratios() const;

 private:
  mutable std::mutex mutex_;
  std::vector<WorkerCycles> last_;
  std::vector<double> ratios_;
};

}  // namespace bulkhead
