// Makes what the control plane sends into what the workers enforce: all of it or nothing.
//
//   publish: order -> copy and check -> stage -> identities known -> versions -> swap the pointer -> start a
//   grace period complete: every worker has passed a quiescent point -> free what was before -> acknowledge
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "contract/memfd.h"
#include "contract/messages.h"
#include "dataplane/fastpath/endpoint_sides.h"
#include "dataplane/fastpath/enforced_image.h"
#include "dataplane/fastpath/quiescence.h"
#include "dataplane/fastpath/snapshot.h"

namespace bulkhead {

/// What a Publish message asks for, with its memfds.
struct Update {
  uint64_t generation = 0;
  uint64_t base_image_generation = 0;
  uint64_t image_bytes = 0;  ///< 0: no image
  Fd image;
  uint64_t batch_count = 0;  ///< EndpointChange records; 0: no batch
  Fd batch;
  bool replace_endpoints = false;
  BootTime arrived{};  ///< when the message came
};

/// Every worker enforces `generation`.
struct Enforcement {
  uint64_t generation;
  bool new_image;
  uint64_t checked_ns;   ///< spent copying and checking
  uint64_t enforced_ns;  ///< from the message's arrival until every worker was quiescent
};

/// Thread: control. Workers read `published` and `quiescence` only.
class Publisher {
 public:
  /// All must outlive it; no worker may run any more when it is destroyed.
  Publisher(Published& published, Quiescence& quiescence, unsigned worker_count, unsigned port_count);
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  /// Checks the update and lets the workers have it. One at a time: the next after complete().
  /// Errors: kInvalid (seals, image, batch, generation, another base image, an identity that the image
  /// doesn't know), kNotFound, kExhausted, kUnavailable while pending(). Nothing has changed then.
  Expected<void> publish(Update update);
  /// Whether a published update isn't known to be enforced by every worker yet.
  bool pending() const { return pending_.has_value(); }
  /// Ends the pending publish if every worker was quiescent since; never waits. Nothing: some worker wasn't
  /// yet, or none pends.
  std::optional<Enforcement> complete();

  uint64_t generation() const { return generation_; }
  /// The image in force; nullptr: none yet.
  const EnforcedImage* image() const { return image_.get(); }
  const EndpointTable& endpoints() const { return endpoints_.live(); }
  const ShardVersions& shards() const { return *shards_; }

 private:
  struct Prepared {
    std::unique_ptr<EnforcedImage> image;  ///< nullptr: the image stays
    Mapping batch;                         ///< the changes, until they are settled
    std::unique_ptr<Snapshot> snapshot;
  };
  struct Pending {
    Enforcement enforcement;
    BootTime arrived;
    uint64_t grace;
    std::unique_ptr<const Snapshot> old_snapshot;
    std::unique_ptr<EnforcedImage> old_image;
    Mapping batch;
  };
  Expected<void> check_order(const Update& update) const;
  Expected<Prepared> prepare(const Update& update);
  Expected<void> stage(const Update& update, const ImageView& image, std::span<const EndpointChange> changes);
  void commit(const Update& update, Prepared prepared) noexcept;
  void bump_versions(std::span<const EndpointChange> changes, bool replace, uint64_t generation) noexcept;
  void bump_meanings(const ImageView& after, uint64_t generation) noexcept;
  void bump(const Endpoint& endpoint, uint64_t generation) noexcept;

  Published& published_;
  Quiescence& quiescence_;
  const unsigned worker_count_, port_count_;
  std::unique_ptr<ShardVersions> shards_;
  EndpointSides endpoints_;
  std::unique_ptr<EnforcedImage> image_;
  std::unique_ptr<const Snapshot> snapshot_;
  uint64_t generation_ = 0;
  std::optional<Pending> pending_;
};

}  // namespace bulkhead
