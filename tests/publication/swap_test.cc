// Readers evaluate without pause while the publisher swaps images and makes batches: no reader ever sees a
// mix, and (under ASan) none sees freed memory. Runs under TSan, too.
#include <array>
#include <atomic>
#include <thread>

#include "enforcer.h"
#include "policy/evaluate.h"

namespace bulkhead::test {
namespace {

constexpr unsigned kReaders = 3;
constexpr uint32_t kGenerations = 2000;
constexpr std::array<const char*, 4> kAddresses{"10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"};

/// The tag that the image of a generation knows, and no image of a neighbouring generation does.
SegmentTag tag_for(uint64_t image_generation) {
  return SegmentTag{static_cast<uint16_t>(2 + image_generation % 60000)};
}

/// Every address, of the image's own identity, with the generation of the batch as its workload.
std::vector<EndpointChange> all_addresses(uint64_t image_generation, uint64_t generation) {
  std::vector<EndpointChange> changes;
  for (const char* address : kAddresses)
    changes.push_back(
        put(address, identity_of(tag_for(image_generation)), static_cast<uint32_t>(generation)));
  return changes;
}

/// What one reader has seen so far.
struct Reader {
  unsigned worker;
  uint64_t generation = 0;
  std::array<uint32_t, kAddresses.size()> versions{};
  uint64_t judged = 0;

  /// Looks at one snapshot as a worker does in a burst. Everything in it must be of one state.
  void look(const Snapshot& s) {
    ASSERT_GE(s.generation, generation);
    generation = s.generation;
    const Endpoint* first = s.endpoints->find(*parse_address(kAddresses[0]));
    ASSERT_TRUE(first);
    ASSERT_LE(first->workload, s.generation);
    for (size_t i = 0; i < kAddresses.size(); ++i) {
      IpAddress address = *parse_address(kAddresses[i]);
      const Endpoint* endpoint = s.endpoints->find(address);
      ASSERT_TRUE(endpoint);
      ASSERT_EQ(endpoint->workload, first->workload) << "half a batch";
      ASSERT_EQ(endpoint->identity, identity_of(tag_for(s.image_generation)).value)
          << "endpoints of another image";
      uint32_t version = s.shards->host[shard_of(address)].load(std::memory_order_relaxed);
      ASSERT_GE(version, versions[i]) << "a version went back";
      ASSERT_GE(version, first->workload) << "changed, but its version didn't move first";
      versions[i] = version;
    }
    judge(s);
  }
  void judge(const Snapshot& s) {
    Evaluation e = evaluate(*s.image, *s.endpoints, {*parse_address(kAddresses[0]), kPortNone, 0, {}},
                            *parse_address(kAddresses[2]), service_key(IpProto::kTcp, 443), boot_now());
    ASSERT_EQ(e.decision.verdict, Verdict::kAllow);
    ASSERT_EQ(s.image->rule_name(e.decision.rule), "image-" + std::to_string(s.image_generation));
    add(s.hits[worker][e.decision.rule.value].decided, 1);
    ++judged;
  }
};

void read_until(const std::atomic<bool>& stop, Enforcer& enforcer, Reader& reader) {
  enforcer.quiescence->online(reader.worker);
  for (uint64_t burst = 0; !stop.load(std::memory_order_relaxed) && !testing::Test::HasFatalFailure();
       ++burst) {
    if (const Snapshot* snapshot = enforcer.snapshot()) reader.look(*snapshot);
    enforcer.quiescence->quiescent(reader.worker);
    if (burst % 97 == reader.worker) {  // sleeps, and is waited for by nobody
      enforcer.quiescence->offline(reader.worker);
      std::this_thread::yield();
      enforcer.quiescence->online(reader.worker);
    }
  }
  enforcer.quiescence->offline(reader.worker);
}

/// Image and table together, image alone on endpoints that fit, or a batch: the kinds of updates take turns.
Update update_for(Enforcer& enforcer, uint64_t generation) {
  uint64_t image_generation = enforcer.publisher.image() ? enforcer.publisher.image()->generation : 0;
  if (generation % 5 == 1) {
    MarkerImage image(tag_for(generation), "image-" + std::to_string(generation));
    return enforcer.replacing(image.bytes(), all_addresses(generation, generation));
  }
  if (generation % 5 == 3) {
    MarkerImage image(tag_for(generation), "image-" + std::to_string(generation));
    return enforcer.next(image.bytes(), all_addresses(generation, generation));
  }
  return enforcer.next({}, all_addresses(image_generation, generation));
}

TEST(Swap, NoReaderEverSeesAMix) {
  Enforcer enforcer(kReaders);
  std::atomic<bool> stop{false};
  std::array<Reader, kReaders> readers{{{.worker = 0}, {.worker = 1}, {.worker = 2}}};
  {
    std::vector<std::jthread> threads;
    for (Reader& reader : readers) threads.emplace_back([&] { read_until(stop, enforcer, reader); });
    for (uint64_t generation = 1; generation <= kGenerations && !testing::Test::HasFailure(); ++generation) {
      EXPECT_EQ(enforcer.publish(update_for(enforcer, generation)), "none");
      if (generation % 11 == 0) {
        EXPECT_NE(enforcer.publish(enforcer.next({}, {put("10.0.0.1", identity_of(SegmentTag{1}, 9))})),
                  "none");
      }
    }
    stop = true;
  }
  for (const Reader& reader : readers) EXPECT_GT(reader.judged, 0u);
}

/// A worker may judge by an old snapshot when it already sees the new version: what it notes must still count
/// as stale then.
TEST(Swap, WhatWasJudgedUnderTheOldSnapshotIsStaleOnceTheVersionMoved) {
  Enforcer enforcer(1);
  ASSERT_EQ(enforcer.publish(update_for(enforcer, 1)), "none");
  enforcer.quiescence->online(0);
  const Snapshot* old = enforcer.snapshot();
  ASSERT_TRUE(enforcer.publisher.publish(update_for(enforcer, 2)));
  uint32_t seen = old->shards->host[shard_of(*parse_address(kAddresses[0]))].load();
  EXPECT_GT(seen, old->generation) << "so a flow that keeps its snapshot's generation is judged again";
  enforcer.quiescence->offline(0);
  EXPECT_TRUE(enforcer.publisher.complete());
}

}  // namespace
}  // namespace bulkhead::test
