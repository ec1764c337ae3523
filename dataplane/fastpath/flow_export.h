// A list of live flows, taken without stopping anybody: each worker copies its own between bursts, a bounded
// piece at a time, into memory that the control thread made for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "contract/events.h"
#include "dataplane/fastpath/snapshot.h"

namespace bulkhead {

struct FlowListing {
  std::vector<FlowRecord> flows;
  uint64_t total = 0;  ///< live in all
};

/// Where the control server gets its lists from. Thread: control.
class FlowLister {
 public:
  virtual ~FlowLister() = default;
  /// Asks every worker for at most `limit` flows. False where the request before isn't over, or there is no
  /// memory for the list now.
  virtual bool begin(uint64_t limit) = 0;
  /// The list once all workers have given theirs. `give_up`: what there is now, without the workers that
  /// haven't.
  virtual std::optional<FlowListing> collect(bool give_up) = 0;
};

class FlowExport final : public FlowLister {
 public:
  explicit FlowExport(unsigned worker_count) : requests_(worker_count) {}

  bool begin(uint64_t limit) override;
  std::optional<FlowListing> collect(bool give_up) override;

  /// Goes on with what was asked of this worker, if anything. True: there is more to copy, call again soon.
  /// `Flows` is a Pipeline, or what lists flows like one.
  /// Thread: that worker, online, between bursts. Cost: one load when nothing was asked; else bounded by
  /// kBudget positions of the flow table.
  template <class Flows>
  bool serve(unsigned worker, const Flows& flows, const Snapshot* snapshot) noexcept {
    Request& request = requests_[worker];
    if (request.state.load(std::memory_order_acquire) != Request::kAsked) return false;
    std::span<FlowRecord> room = std::span(request.records).subspan(request.count);
    if (!room.empty()) request.count += flows.list_flows(request.cursor, kBudget, room, snapshot);
    if (request.count < request.records.size() && request.cursor != UINT32_MAX) return true;
    request.live = flows.flow_count();
    request.state.store(Request::kDone, std::memory_order_release);
    return false;
  }

  static constexpr uint32_t kBudget = 2048;  ///< positions of the flow table looked at in one call

 private:
  /// One worker's part. `state` says whose it is: kIdle and kDone the control thread's, kAsked the worker's.
  /// Each stores (release) the state that hands it to the other, which loads it (acquire).
  struct alignas(64) Request {
    enum State : uint32_t { kIdle, kAsked, kDone };
    std::atomic<uint32_t> state{kIdle};
    uint32_t cursor = 0;
    std::vector<FlowRecord> records;  ///< sized by the control thread
    size_t count = 0;
    uint64_t live = 0;
  };

  bool make_room();

  std::vector<Request> requests_;
  std::vector<FlowRecord> gathered_;  ///< room for the whole list, made with the request
  uint64_t limit_ = 0;
};

}  // namespace bulkhead
