#include "controlplane/observe/event_drain.h"

#include <chrono>

namespace bulkhead {
namespace {
constexpr size_t kBatch = 4096;
constexpr size_t kMaxBatchesAtEnd = 64 * kEventRingSlots / kBatch;  // the rings of 64 workers, full
constexpr std::chrono::milliseconds kPause{20};
constexpr int64_t kSampleEveryNs = 1'000'000'000;
}  // namespace

EventDrain::EventDrain(const StateBoard& board, FlowLog* log, BusyMeter& busy)
    : board_(board), log_(log), busy_(busy), thread_([this](const std::stop_token& stop) { run(stop); }) {}

void EventDrain::run(const std::stop_token& stop) {
  batch_.reserve(kBatch);
  while (!stop.stop_requested()) {
    if (auto current = board_.dataplane(); current != dataplane_) {
      drain_all();
      dataplane_ = std::move(current);
    }
    if (!drain_once()) std::this_thread::sleep_for(kPause);
  }
  drain_all();
  if (log_ != nullptr) log_->finish(boot_now(), wall_now());
}

/// Takes what is in the rings now; a dataplane that goes on writing doesn't keep it here.
void EventDrain::drain_all() {
  for (size_t i = 0; i < kMaxBatchesAtEnd && drain_once(); ++i) {
  }
}

/// Takes and writes one batch. True: there is more.
bool EventDrain::drain_once() {
  batch_.clear();
  if (dataplane_ != nullptr)
    dataplane_->with([&](DataplaneClient& client) {
      client.drain_events([&](const FlowRecord& record) { batch_.push_back(record); }, kBatch);
      if (boot_now() < next_sample_) return;
      next_sample_ = BootTime{boot_now().ns + kSampleEveryNs};
      busy_.sample(read_counters(client).workers);
    });
  if (log_ != nullptr) log_->write(batch_, boot_now(), wall_now());
  return batch_.size() == kBatch;
}

}  // namespace bulkhead
