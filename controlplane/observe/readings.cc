#include "controlplane/observe/readings.h"

#include <algorithm>

namespace bulkhead {
namespace {

void add_worker(Readings& sum, const WorkerCounters& worker) {
  sum.received += read(worker.received);
  sum.originated += read(worker.originated);
  sum.transmitted += read(worker.transmitted);
  sum.consumed += read(worker.consumed);
  sum.held += read(worker.held);
  sum.datagrams_held += read(worker.datagrams_held);
  for (size_t i = 0; i < kDropReasonCount; ++i) sum.drops[i] += read(worker.drops[i]);
  sum.new_flows += read(worker.new_flows);
  sum.revoked += read(worker.flows_revoked);
  sum.half_open_evicted += read(worker.half_open_evicted);
  sum.handed_off += read(worker.handed_off);
  sum.judged += read(worker.judged);
  sum.tcp_opening += read(worker.flows_tcp_opening);
  sum.tcp_established += read(worker.flows_tcp_established);
  sum.tcp_closing += read(worker.flows_tcp_closing);
  sum.udp += read(worker.flows_udp);
  sum.icmp += read(worker.flows_icmp);
  sum.other += read(worker.flows_other);
  sum.workers.push_back({read(worker.busy_cycles), read(worker.total_cycles)});
  for (size_t p = 0; p < sum.ports.size(); ++p) {
    sum.ports[p].rx_packets += read(worker.ports[p].rx_packets);
    sum.ports[p].rx_bytes += read(worker.ports[p].rx_bytes);
    sum.ports[p].tx_packets += read(worker.ports[p].tx_packets);
    sum.ports[p].tx_bytes += read(worker.ports[p].tx_bytes);
  }
}

}  // namespace

Readings read_counters(const DataplaneClient& client) {
  Readings sum;
  const CountersHeader& shared = client.counters();
  sum.ports.resize(std::min<size_t>(shared.port_count, kMaxPorts));
  for (const WorkerCounters& worker : client.worker_counters()) add_worker(sum, worker);
  for (uint64_t drops : sum.drops) sum.dropped += drops;
  for (size_t p = 0; p < sum.ports.size(); ++p) {
    sum.ports[p].guard_dropped = read(shared.guard_drops[p]);
    sum.ports[p].guard_passed = read(shared.guard_passes[p]);
    sum.ports[p].missed = read(shared.nic_missed[p]);
    sum.ports[p].up = read(shared.port_up[p]) != 0;
  }
  sum.endpoints = read(shared.endpoints);
  sum.events_lost = client.events_lost();
  return sum;
}

void BusyMeter::sample(const std::vector<WorkerCycles>& now) {
  std::lock_guard lock(mutex_);
  ratios_.assign(now.size(), 0.0);
  for (size_t w = 0; w < now.size() && w < last_.size(); ++w) {
    uint64_t total = now[w].total - last_[w].total, busy = now[w].busy - last_[w].busy;
    if (now[w].total > last_[w].total && busy <= total)
      ratios_[w] = static_cast<double>(busy) / static_cast<double>(total);
  }
  last_ = now;
}

std::vector<double> BusyMeter::ratios() const {
  std::lock_guard lock(mutex_);
  return ratios_;
}

}  // namespace bulkhead
