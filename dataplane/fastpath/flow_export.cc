#include "dataplane/fastpath/flow_export.h"

#include <algorithm>
#include <new>
#include <utility>

#include "contract/messages.h"

namespace bulkhead {

bool FlowExport::begin(uint64_t limit) {
  for (const Request& request : requests_)
    if (request.state.load(std::memory_order_acquire) == Request::kAsked) return false;
  limit_ = std::min(limit, kMaxFlowPage);
  if (!make_room()) return false;
  for (Request& request : requests_) {
    request.cursor = 0;
    request.count = 0;
    request.live = 0;
    request.state.store(Request::kAsked, std::memory_order_release);
  }
  return true;
}

/// All of it before a worker is asked: a list that is begun can be finished.
bool FlowExport::make_room() {
  try {
    gathered_.reserve(limit_);
    for (Request& request : requests_) request.records.resize(limit_);
    return true;
  } catch (const std::bad_alloc&) {
    for (Request& request : requests_) std::vector<FlowRecord>().swap(request.records);
    return false;
  }
}

std::optional<FlowListing> FlowExport::collect(bool give_up) {
  auto done = [](const Request& r) { return r.state.load(std::memory_order_acquire) == Request::kDone; };
  if (!give_up && !std::ranges::all_of(requests_, done)) return std::nullopt;
  FlowListing listing{std::exchange(gathered_, {}), 0};
  for (Request& request : requests_) {
    if (!done(request)) continue;
    size_t take = std::min<size_t>(request.count, limit_ - listing.flows.size());
    listing.flows.insert(listing.flows.end(), request.records.begin(),
                         request.records.begin() + static_cast<ptrdiff_t>(take));
    listing.total += request.live;
    std::vector<FlowRecord>().swap(request.records);
    request.state.store(Request::kIdle, std::memory_order_relaxed);
  }
  listing.total = std::max<uint64_t>(listing.total, listing.flows.size());
  return listing;
}

}  // namespace bulkhead
