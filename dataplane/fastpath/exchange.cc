#include "dataplane/fastpath/exchange.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace bulkhead {
namespace {

constexpr unsigned kHandOffSlots = 2048;
constexpr unsigned kOutgoingSlots = 512;

rte_ring* make_ring(const std::string& name, unsigned slots) {
  return rte_ring_create(name.c_str(), slots, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

}  // namespace

Expected<std::unique_ptr<Doorbell>> Doorbell::create() {
  Fd fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd) return fail_errno(errno, "a descriptor to wake a worker");
  return std::unique_ptr<Doorbell>(new Doorbell(std::move(fd)));
}

void Doorbell::ring() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!asleep_.load(std::memory_order_relaxed) || !asleep_.exchange(false, std::memory_order_relaxed)) return;
  uint64_t one = 1;
  // It can only fail when it was rung 2^64 times before.
  if (write(fd_.get(), &one, sizeof one) < 0) return;
}

void Doorbell::lie_down() noexcept {
  asleep_.store(true, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void Doorbell::get_up() noexcept {
  asleep_.store(false, std::memory_order_relaxed);
  uint64_t rung = 0;
  // Whoever rings may write after this: then the next sleep is a short one, and this reads what woke it.
  if (read(fd_.get(), &rung, sizeof rung) < 0) return;
}

Expected<std::unique_ptr<Exchange>> Exchange::create(unsigned workers, size_t ports) {
  std::unique_ptr<Exchange> exchange(new Exchange);
  for (unsigned worker = 0; worker < workers; ++worker) {
    auto doorbell = Doorbell::create();
    if (!doorbell) return std::unexpected(doorbell.error());
    exchange->doorbells_.push_back(std::move(*doorbell));
  }
  exchange->hand_off_.assign(size_t{workers} * workers, nullptr);
  if (workers == 1) return exchange;
  exchange->outgoing_.assign(ports * workers, nullptr);

  auto number = [](size_t n) { return std::to_string(n); };
  for (unsigned from = 0; from < workers; ++from)
    for (unsigned to = 0; to < workers; ++to)
      if (from != to)
        exchange->hand_off_[size_t{from} * workers + to] =
            make_ring("hand_off_" + number(from) + "_" + number(to), kHandOffSlots);
  for (size_t port = 0; port < ports; ++port)
    for (unsigned from = 0; from < workers; ++from)
      exchange->outgoing_[port * workers + from] =
          make_ring("outgoing_" + number(port) + "_" + number(from), kOutgoingSlots);

  for (unsigned from = 0; from < workers; ++from)
    for (unsigned to = 0; to < workers; ++to)
      if (from != to && exchange->hand_off(from, to) == nullptr)
        return fail(ErrorCode::kExhausted, "no memory for the rings between workers; raise memory_mib");
  for (rte_ring* ring : exchange->outgoing_)
    if (ring == nullptr)
      return fail(ErrorCode::kExhausted, "no memory for the rings between workers; raise memory_mib");
  return exchange;
}

Exchange::~Exchange() {
  for (rte_ring* ring : hand_off_) rte_ring_free(ring);
  for (rte_ring* ring : outgoing_) rte_ring_free(ring);
}

}  // namespace bulkhead
