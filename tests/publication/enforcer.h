// A publisher with what it needs around it, and short ways to feed it.
#pragma once

#include <initializer_list>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "contract/memfd.h"
#include "dataplane/fastpath/publisher.h"
#include "marker_image.h"

namespace bulkhead::test {

inline EndpointChange put(const char* prefix, IdentityId identity, uint32_t workload = 0) {
  Prefix p = *parse_prefix(prefix);
  EndpointChange change{};
  change.kind = ChangeKind::kPut;
  change.endpoint.address = p.address;
  change.endpoint.bits = p.bits;
  change.endpoint.identity = identity.value;
  change.endpoint.workload = workload;
  change.endpoint.port = kPortNone.value;
  return change;
}

inline EndpointChange removal(const char* prefix) {
  EndpointChange change = put(prefix, IdentityId{0});
  change.kind = ChangeKind::kRemove;
  return change;
}

/// Thread: control; workers use `published` and `quiescence`.
struct Enforcer {
  static constexpr unsigned kPorts = 2;
  explicit Enforcer(unsigned workers)
      : quiescence(Quiescence::create(workers)), publisher(published, *quiescence, workers, kPorts) {}

  static Fd sealed(std::span<const std::byte> bytes) {
    return bytes.empty() ? Fd() : *make_sealed("test", bytes);
  }
  static Update update(uint64_t generation, std::span<const std::byte> image,
                       std::span<const EndpointChange> changes) {
    return {.generation = generation,
            .base_image_generation = 0,
            .image_bytes = image.size(),
            .image = sealed(image),
            .batch_count = changes.size(),
            .batch = sealed(std::as_bytes(changes)),
            .replace_endpoints = false,
            .arrived = boot_now()};
  }
  /// The next generation, on the image in force.
  Update next(std::span<const std::byte> image, const std::vector<EndpointChange>& changes) const {
    Update u = update(publisher.generation() + 1, image, changes);
    if (publisher.image()) u.base_image_generation = publisher.image()->generation;
    return u;
  }
  Update replacing(std::span<const std::byte> image, const std::vector<EndpointChange>& changes) const {
    Update u = next(image, changes);
    u.replace_endpoints = true;
    return u;
  }
  /// Publishes and waits until all workers enforce it. The error's message, or "none".
  std::string publish(Update update) {
    auto published_now = publisher.publish(std::move(update));
    if (!published_now) return published_now.error().message;
    while (!publisher.complete()) std::this_thread::yield();
    return "none";
  }
  const Snapshot* snapshot() const { return published.current.load(std::memory_order_acquire); }

  Published published;
  std::unique_ptr<Quiescence> quiescence;
  Publisher publisher;
};

}  // namespace bulkhead::test
