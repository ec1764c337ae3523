#include "dataplane/fastpath/endpoint_sides.h"

#include <string>
#include <utility>

namespace bulkhead {

namespace {

Prefix prefix_of(const Endpoint& endpoint) {
  return {endpoint.address, endpoint.bits};
}

/// False where memory ran out, or the endpoint to remove isn't there; the table is unchanged then.
bool apply(EndpointTable& table, const EndpointChange& change) noexcept {
  const Endpoint& endpoint = change.endpoint;
  return change.kind == ChangeKind::kRemove ? table.remove(endpoint.address, endpoint.bits)
                                            : table.put(endpoint);
}

std::unexpected<Error> refused(const EndpointChange& change) {
  if (change.kind == ChangeKind::kPut) return fail(ErrorCode::kExhausted, "no memory for another endpoint");
  return fail(ErrorCode::kNotFound,
              "endpoint " + to_string(prefix_of(change.endpoint)) + " is to be removed but isn't there");
}

std::unexpected<Error> twice(const Endpoint& endpoint) {
  return fail(ErrorCode::kInvalid,
              "endpoint " + to_string(prefix_of(endpoint)) + " occurs twice in one batch");
}

/// A batch says one thing of each endpoint, so that it means the same in any order.
Expected<void> check_no_duplicates(std::span<const EndpointChange> changes) {
  EndpointTable seen(changes.size());
  for (const EndpointChange& change : changes) {
    size_t before = seen.size();
    if (!seen.put(change.endpoint))
      return fail(ErrorCode::kExhausted, "no memory to check a batch of endpoints");
    if (seen.size() == before) return twice(change.endpoint);
  }
  return {};
}

}  // namespace

Expected<void> EndpointSides::stage_changes(std::span<const EndpointChange> changes) {
  if (auto distinct = check_no_duplicates(changes); !distinct) return distinct;
  staged_ = idle_ ? std::move(idle_) : std::make_unique<EndpointTable>(*live_);
  for (const EndpointChange& change : changes) {
    if (!apply(*staged_, change)) {
      discard();
      return refused(change);
    }
  }
  pending_ = changes;
  return {};
}

Expected<void> EndpointSides::stage_replacement(std::span<const EndpointChange> changes) {
  auto table = std::make_unique<EndpointTable>(changes.size());
  for (const EndpointChange& change : changes) {
    size_t before = table->size();
    if (!apply(*table, change)) return refused(change);
    if (table->size() == before) return twice(change.endpoint);
  }
  staged_ = std::move(table);
  idle_.reset();
  return {};
}

void EndpointSides::discard() noexcept {
  staged_.reset();
  pending_ = {};
}

void EndpointSides::publish() noexcept {
  if (!staged_) return;
  retired_ = std::exchange(live_, std::move(staged_));
}

void EndpointSides::settle() noexcept {
  if (!retired_) return;
  bool follows = !pending_.empty();
  for (const EndpointChange& change : pending_)
    if (!apply(*retired_, change))
      follows = false;  // memory: the side is copied anew when the next batch comes
  if (follows) idle_ = std::move(retired_);
  retired_.reset();
  pending_ = {};
}

}  // namespace bulkhead
