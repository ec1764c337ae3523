#include "dataplane/fastpath/worker.h"

#include <poll.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_pause.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>

namespace bulkhead {
namespace {

constexpr unsigned kSendAttempts = 4;          ///< of one burst, before what is left counts as tx_full
constexpr uint64_t kSpinNs = 20'000;           ///< without packets, before a worker sleeps
constexpr uint32_t kShortestSleepNs = 20'000;  ///< where a queue can only be polled
constexpr uint32_t kLongestPollingSleepNs = 400'000;
constexpr uint32_t kSoonNs = 1'000'000;          ///< where the pipeline has more to do soon
constexpr uint32_t kLongestSleepNs = 5'000'000;  ///< where every queue has a descriptor to wait on

/// Waits for one of the descriptors. False when none can be waited on (an interface that is going away
/// reports errors for ever).
bool wait_for(std::span<pollfd> descriptors, uint32_t ns) noexcept {
  timespec timeout{.tv_sec = 0, .tv_nsec = ns};
  if (ppoll(descriptors.data(), descriptors.size(), &timeout, nullptr) <= 0) return true;
  return std::ranges::any_of(descriptors, [](const pollfd& d) { return (d.revents & POLLIN) != 0; });
}

}  // namespace

Worker::Worker(const WorkerParts& parts) : parts_(parts), clock_(parts.tsc_hz, rte_rdtsc()) {}

void Worker::run() noexcept {
  prctl(PR_SET_TIMERSLACK, 1'000);  // nanoseconds; the default would make every sleep 50 us longer
  parts_.quiescence->online(parts_.number);
  uint64_t begin = rte_rdtsc();
  while (!parts_.stop->load(std::memory_order_relaxed)) {
    bool busy = round();
    parts_.quiescence->quiescent(parts_.number);
    uint64_t end = rte_rdtsc();
    if (busy) {
      add(parts_.counters->busy_cycles, end - begin);
      idle_since_ = 0;
      sleep_ns_ = 0;
    } else if (idle_since_ == 0) {
      idle_since_ = end;
    } else if (end - idle_since_ > kSpinNs * parts_.tsc_hz / 1'000'000'000) {
      sleep();
      end = rte_rdtsc();
    } else {
      rte_pause();
    }
    add(parts_.counters->total_cycles, end - begin);
    begin = end;
  }
  parts_.quiescence->offline(parts_.number);
}

/// Read once the packets are in hand: none that came after a deadline is judged by a time before it, however
/// long the thread was kept from running in between.
BootTime Worker::now() noexcept {
  return clock_.now(rte_rdtsc());
}

/// One burst from each queue and ring, all under one snapshot. Output: whether there were packets.
bool Worker::round() noexcept {
  const Snapshot* snapshot = parts_.published->current.load(std::memory_order_acquire);
  uint32_t packets = 0;
  for (const auto& port : parts_.ports) {
    if (!port->usable()) continue;
    for (uint16_t queue = 0; queue < port->queues(); ++queue)
      if (port->owner_of(queue) == parts_.number) packets += receive(*port, queue, snapshot);
  }
  packets += take_handed_off(snapshot);
  more_soon_ = parts_.pipeline->maintain(now(), snapshot);
  flush();
  packets += send_for_others();
  more_soon_ |= parts_.flow_export->serve(parts_.number, *parts_.pipeline, snapshot);
  wake_others();
  return packets != 0;
}

uint32_t Worker::receive(const Port& port, uint16_t queue, const Snapshot* snapshot) noexcept {
  rte_mbuf* packets[kBurst];
  uint16_t count = rte_eth_rx_burst(port.number(), queue, packets, kBurst);
  if (count == 0) return 0;
  uint64_t bytes = 0;
  for (uint16_t i = 0; i < count; ++i) {
    packets[i]->port = port.id().value;  // for DPDK's number, which a device that is opened again may change
    bytes += packets[i]->pkt_len;
  }
  add(parts_.counters->received, count);
  add(parts_.counters->ports[port.id().value].rx_packets, count);
  add(parts_.counters->ports[port.id().value].rx_bytes, bytes);
  parts_.pipeline->run(packets, count, now(), snapshot);
  flush();
  return count;
}

uint32_t Worker::take_handed_off(const Snapshot* snapshot) noexcept {
  uint32_t taken = 0;
  for (unsigned from = 0; from < parts_.exchange->workers(); ++from) {
    rte_ring* ring = parts_.exchange->hand_off(from, parts_.number);
    if (ring == nullptr) continue;
    rte_mbuf* packets[kBurst];
    unsigned count = rte_ring_sc_dequeue_burst(ring, reinterpret_cast<void**>(packets), kBurst, nullptr);
    if (count == 0) continue;
    // Held by whoever enqueued them: the gauges of all workers together say how many there are.
    add(parts_.counters->held, -uint64_t{count});
    parts_.pipeline->run(packets, static_cast<uint16_t>(count), now(), snapshot);
    flush();
    taken += count;
  }
  return taken;
}

/// What other workers want sent on queues of ours.
uint32_t Worker::send_for_others() noexcept {
  uint32_t sent = 0;
  if (parts_.exchange->workers() == 1) return 0;
  for (const auto& port : parts_.ports) {
    for (unsigned from = 0; from < parts_.exchange->workers(); ++from) {
      if (from == parts_.number || port->owner_of(port->tx_queue_of(from)) != parts_.number) continue;
      rte_mbuf* packets[kBurst];
      unsigned count = rte_ring_sc_dequeue_burst(parts_.exchange->outgoing(port->id(), from),
                                                 reinterpret_cast<void**>(packets), kBurst, nullptr);
      if (count == 0) continue;
      add(parts_.counters->held, -uint64_t{count});
      uint64_t bytes = 0;
      for (unsigned i = 0; i < count; ++i) bytes += packets[i]->pkt_len;
      transmit(*port, packets, static_cast<uint16_t>(count), bytes);
      sent += count;
    }
  }
  return sent;
}

/// Empties the pipeline's TxQueues.
void Worker::flush() noexcept {
  for (const auto& port : parts_.ports) {
    TxQueue& queue = parts_.pipeline->out(port->id());
    if (queue.count == 0) continue;
    if (port->sends_itself(parts_.number))
      transmit(*port, queue.packets, queue.count, queue.bytes);
    else
      pass_on(*port, queue.packets, queue.count);
    queue.clear();
  }
}

/// Sends on a queue of our own; what the driver doesn't take in a few attempts is dropped. `bytes`: of all of
/// the frames.
void Worker::transmit(const Port& port, rte_mbuf** packets, uint16_t count, uint64_t bytes) noexcept {
  if (!port.usable()) return drop(packets, count, DropReason::k_link_down);
  uint16_t sent = 0, queue = static_cast<uint16_t>(port.tx_queue_of(parts_.number));
  for (unsigned attempt = 0; sent < count && attempt < kSendAttempts; ++attempt)
    sent = static_cast<uint16_t>(sent + rte_eth_tx_burst(port.number(), queue, packets + sent, count - sent));
  for (uint16_t i = sent; i < count; ++i)
    bytes -= packets[i]->pkt_len;  // what was sent isn't ours to look at
  add(parts_.counters->transmitted, sent);
  add(parts_.counters->ports[port.id().value].tx_packets, sent);
  add(parts_.counters->ports[port.id().value].tx_bytes, bytes);
  drop(packets + sent, count - sent, DropReason::k_tx_full);
}

/// Leaves the packets to the worker that owns the queue. They count as held until it takes them.
void Worker::pass_on(const Port& port, rte_mbuf** packets, uint16_t count) noexcept {
  unsigned passed = rte_ring_sp_enqueue_burst(parts_.exchange->outgoing(port.id(), parts_.number),
                                              reinterpret_cast<void**>(packets), count, nullptr);
  add(parts_.counters->held, passed);
  passed_on_ |= passed != 0;
  drop(packets + passed, static_cast<uint16_t>(count - passed), DropReason::k_tx_full);
}

void Worker::drop(rte_mbuf** packets, uint16_t count, DropReason reason) noexcept {
  if (count == 0) return;
  rte_pktmbuf_free_bulk(packets, count);
  add(parts_.counters->drops[static_cast<size_t>(reason)], count);
}

/// Wakes the workers that this round left something for.
void Worker::wake_others() noexcept {
  uint64_t handed_off = read(parts_.counters->handed_off);
  if (handed_off == handed_off_ && !passed_on_) return;
  handed_off_ = handed_off;
  passed_on_ = false;
  for (unsigned other = 0; other < parts_.exchange->workers(); ++other)
    if (other != parts_.number) parts_.exchange->doorbell(other).ring();
}

bool Worker::anything_handed_over() const noexcept {
  for (unsigned from = 0; from < parts_.exchange->workers(); ++from) {
    if (from == parts_.number) continue;
    if (!rte_ring_empty(parts_.exchange->hand_off(from, parts_.number))) return true;
    for (const auto& port : parts_.ports)
      if (port->owner_of(port->tx_queue_of(from)) == parts_.number &&
          !rte_ring_empty(parts_.exchange->outgoing(port->id(), from)))
        return true;
  }
  return false;
}

/// Sleeps until a packet comes, another worker has something for us, or it is time to look again.
void Worker::sleep() noexcept {
  std::array<pollfd, 1 + kMaxPorts * kMaxQueues> descriptors;
  size_t count = 0;
  Doorbell& doorbell = parts_.exchange->doorbell(parts_.number);
  descriptors[count++] = {doorbell.fd(), POLLIN, 0};
  bool must_poll = false;
  for (const auto& port : parts_.ports) {
    if (!port->usable()) continue;
    for (unsigned queue = 0; queue < port->queues(); ++queue) {
      if (port->owner_of(queue) != parts_.number) continue;
      int fd = port->queue_fd(queue);
      must_poll |= fd < 0;
      if (fd >= 0) descriptors[count++] = {fd, POLLIN, 0};
    }
  }
  sleep_ns_ = std::clamp(2 * sleep_ns_, kShortestSleepNs, kLongestPollingSleepNs);
  uint32_t ns = must_poll ? sleep_ns_ : more_soon_ ? kSoonNs : kLongestSleepNs;

  parts_.quiescence->offline(parts_.number);
  doorbell.lie_down();
  if (!anything_handed_over() && !wait_for(std::span(descriptors).first(count), ns)) {
    timespec pause{.tv_sec = 0, .tv_nsec = kLongestPollingSleepNs};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
  }
  doorbell.get_up();
  parts_.quiescence->online(parts_.number);
}

}  // namespace bulkhead
