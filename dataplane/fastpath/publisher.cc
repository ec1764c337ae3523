#include "dataplane/fastpath/publisher.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "base/check.h"
#include "dataplane/fastpath/batch_check.h"
#include "dataplane/fastpath/private_copy.h"

namespace bulkhead {

static uint64_t elapsed_ns(BootTime since) {
  return static_cast<uint64_t>(boot_now().ns - since.ns);
}

Publisher::Publisher(Published& published, Quiescence& quiescence, unsigned worker_count, unsigned port_count)
    : published_(published),
      quiescence_(quiescence),
      worker_count_(worker_count),
      port_count_(port_count),
      shards_(std::make_unique<ShardVersions>()) {
  BULKHEAD_CHECK(worker_count > 0 && worker_count <= kMaxWorkers && port_count <= kMaxPorts);
}

Publisher::~Publisher() {
  published_.current.store(nullptr, std::memory_order_release);
}

Expected<void> Publisher::publish(Update update) {
  if (pending())
    return fail(ErrorCode::kUnavailable, "the publish before this one isn't enforced by every worker yet");
  if (auto in_order = check_order(update); !in_order) return in_order;
  try {
    BootTime started = boot_now();
    auto prepared = prepare(update);
    if (!prepared) {
      endpoints_.discard();
      return std::unexpected(prepared.error());
    }
    pending_.emplace();
    pending_->enforcement = {update.generation, prepared->image != nullptr, elapsed_ns(started), 0};
    pending_->arrived = update.arrived;
    commit(update, std::move(*prepared));
    return {};
  } catch (const std::bad_alloc&) {
    endpoints_.discard();
    return fail(ErrorCode::kExhausted, "no memory for this update");
  }
}

Expected<void> Publisher::check_order(const Update& update) const {
  if (update.generation <= generation_)
    return fail(ErrorCode::kInvalid, "generation " + std::to_string(update.generation) + " doesn't follow " +
                                         std::to_string(generation_) + ", which is in force");
  if (update.image_bytes != 0) return {};
  if (!image_) return fail(ErrorCode::kInvalid, "no policy image is in force, and none came with the update");
  if (update.base_image_generation != image_->generation)
    return fail(ErrorCode::kInvalid, "made for the image of generation " +
                                         std::to_string(update.base_image_generation) + ", but that of " +
                                         std::to_string(image_->generation) + " is in force");
  return {};
}

Expected<Publisher::Prepared> Publisher::prepare(const Update& update) {
  Prepared prepared;
  if (update.image_bytes != 0) {
    auto image = take_image(update.image, update.image_bytes, update.generation, worker_count_);
    if (!image) return std::unexpected(image.error());
    prepared.image = std::move(*image);
  }
  auto batch = private_copy(update.batch, update.batch_count * sizeof(EndpointChange));
  if (!batch) return with_context(batch.error(), "endpoint batch");
  prepared.batch = std::move(*batch);

  const EnforcedImage& image = prepared.image ? *prepared.image : *image_;
  auto staged = stage(update, image.view, {prepared.batch.as<const EndpointChange>(), update.batch_count});
  if (!staged) return std::unexpected(staged.error());

  prepared.snapshot = std::make_unique<Snapshot>();
  Snapshot& snapshot = *prepared.snapshot;
  snapshot.image = &image.view;
  snapshot.endpoints = &endpoints_.next();
  snapshot.shards = shards_.get();
  snapshot.generation = update.generation;
  snapshot.image_generation = image.generation;
  for (unsigned worker = 0; worker < worker_count_; ++worker) snapshot.hits[worker] = image.hits_of(worker);
  return prepared;
}

Expected<void> Publisher::stage(const Update& update, const ImageView& image,
                                std::span<const EndpointChange> changes) {
  if (auto sound = check_changes(changes, image, port_count_, update.replace_endpoints); !sound) return sound;
  if (update.replace_endpoints) return endpoints_.stage_replacement(changes);
  if (!changes.empty())
    if (auto staged = endpoints_.stage_changes(changes); !staged) return staged;
  if (update.image_bytes == 0) return {};
  return check_identities(endpoints_.next(), image);
}

/// Nothing in here can fail. The order is the readers': versions, then the pointer, then the grace period.
void Publisher::commit(const Update& update, Prepared prepared) noexcept {
  bump_versions({prepared.batch.as<const EndpointChange>(), update.batch_count}, update.replace_endpoints,
                update.generation);
  if (prepared.image && image_) bump_meanings(prepared.image->view, update.generation);
  published_.current.store(prepared.snapshot.get(), std::memory_order_release);
  pending_->grace = quiescence_.start_grace();

  generation_ = update.generation;
  endpoints_.publish();
  pending_->old_snapshot = std::exchange(snapshot_, std::move(prepared.snapshot));
  if (prepared.image) pending_->old_image = std::exchange(image_, std::move(prepared.image));
  if (!update.replace_endpoints) pending_->batch = std::move(prepared.batch);
}

/// Moves the versions of the endpoints that really differ, so that flows of the others aren't judged again.
void Publisher::bump_versions(std::span<const EndpointChange> changes, bool replace,
                              uint64_t generation) noexcept {
  const EndpointTable &before = endpoints_.live(), &after = endpoints_.next();
  for (const EndpointChange& change : changes) {
    const Endpoint& endpoint = change.endpoint;
    const Endpoint* old = before.find_exact(endpoint.address, endpoint.bits);
    bool same = old && change.kind == ChangeKind::kPut && std::memcmp(old, &endpoint, sizeof endpoint) == 0;
    if (!same) bump(endpoint, generation);
  }
  if (!replace) return;
  before.for_each([&](const Endpoint& endpoint) {
    if (!after.find_exact(endpoint.address, endpoint.bits)) bump(endpoint, generation);
  });
}

/// A tag that another segment has from now on, or none: whatever was judged under it was somebody else's.
void Publisher::bump_meanings(const ImageView& after, uint64_t generation) noexcept {
  const ImageView& before = image_->view;
  auto is_among = [](const SegmentRecord& wanted, const ImageView& of, const ImageView& in) {
    auto at = std::ranges::lower_bound(in.segments, wanted.tag, {}, &SegmentRecord::tag);
    return at != in.segments.end() && at->tag == wanted.tag && in.text(at->name) == of.text(wanted.name);
  };
  for (const SegmentRecord& segment : before.segments)
    if (!is_among(segment, before, after))
      shards_->meaning[segment.tag].store(static_cast<uint32_t>(generation), std::memory_order_relaxed);
}

void Publisher::bump(const Endpoint& endpoint, uint64_t generation) noexcept {
  auto& version = endpoint.bits == 128 ? shards_->host[shard_of(endpoint.address)] : shards_->prefix;
  version.store(static_cast<uint32_t>(generation), std::memory_order_relaxed);
}

std::optional<Enforcement> Publisher::complete() {
  if (!pending_ || !quiescence_.passed(pending_->grace)) return std::nullopt;
  Enforcement enforcement = pending_->enforcement;
  enforcement.enforced_ns = elapsed_ns(pending_->arrived);
  endpoints_.settle();
  pending_.reset();
  return enforcement;
}

}  // namespace bulkhead
