// What a publisher takes, what it refuses, and that a refusal changes nothing.
#include "dataplane/fastpath/publisher.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cstring>
#include <map>

#include "enforcer.h"
#include "policy/evaluate.h"

namespace bulkhead::test {
namespace {

constexpr SegmentTag kSite{100}, kOther{200};

/// One state in force: an image that knows kSite, three endpoints of it, generation 1.
struct PublisherTest : testing::Test {
  MarkerImage image{kSite, "first"};
  Enforcer enforcer{2};

  void SetUp() override {
    ASSERT_EQ(enforcer.publish(enforcer.replacing(image.bytes(), {put("10.0.0.1", identity_of(kSite), 1),
                                                                  put("10.0.0.2", identity_of(kSite), 2),
                                                                  put("fd00::/64", identity_of(kSite), 3)})),
              "none");
  }
  std::map<std::string, uint32_t> workloads() const {
    std::map<std::string, uint32_t> all;
    enforcer.snapshot()->endpoints->for_each(
        [&](const Endpoint& e) { all[to_string(Prefix{e.address, e.bits})] = e.workload; });
    return all;
  }
  std::string rule() const { return std::string(enforcer.snapshot()->image->rule_name(RuleIndex{0})); }
  std::vector<uint32_t> versions() const {
    const ShardVersions& shards = enforcer.publisher.shards();
    std::vector<uint32_t> all;
    for (const auto& version : shards.host) all.push_back(version.load());
    all.push_back(shards.prefix.load());
    return all;
  }
  uint32_t version_of(const char* address) const {
    return enforcer.publisher.shards().host[shard_of(*parse_address(address))].load();
  }
  /// What anybody could see of the state.
  auto everything() const {
    const Snapshot* s = enforcer.snapshot();
    return std::tuple(s, s->generation, s->image_generation, s->image, s->endpoints, workloads(), rule(),
                      versions(), enforcer.publisher.generation(), enforcer.publisher.pending());
  }
  void expect_refused(Update update, const std::string& reason) {
    auto before = everything();
    EXPECT_EQ(enforcer.publish(std::move(update)), reason);
    EXPECT_EQ(everything(), before);
    EXPECT_EQ(enforcer.publish(enforcer.next({}, {put("10.0.0.1", identity_of(kSite), 11)})), "none")
        << "and the next is taken";
    EXPECT_EQ(workloads()["10.0.0.1"], 11u);
  }
  /// A batch with one change that differs from a good one in what `spoil` does.
  template <class Spoil>
  void expect_change_refused(Spoil spoil, const std::string& reason) {
    EndpointChange change = put("10.0.0.9", identity_of(kSite));
    ASSERT_EQ(enforcer.publish(enforcer.next({}, {put("10.0.0.8", identity_of(kSite)), change})), "none");
    spoil(change);
    expect_refused(enforcer.next({}, {put("10.0.0.8", identity_of(kSite), 5), change}), reason);
  }
};

TEST_F(PublisherTest, StartsWithNothingForwarded) {
  Enforcer fresh(1);
  EXPECT_EQ(fresh.snapshot(), nullptr);
  EXPECT_EQ(fresh.publisher.generation(), 0u);
}

TEST_F(PublisherTest, ImageAndEndpointsAreInForceTogether) {
  const Snapshot* s = enforcer.snapshot();
  EXPECT_EQ(s->generation, 1u);
  EXPECT_EQ(s->image_generation, 1u);
  EXPECT_EQ(rule(), "first");
  EXPECT_EQ(workloads(),
            (std::map<std::string, uint32_t>{{"10.0.0.1", 1}, {"10.0.0.2", 2}, {"fd00::/64", 3}}));
  Evaluation e = evaluate(*s->image, *s->endpoints, {*parse_address("10.0.0.1"), kPortNone, 0, {}},
                          *parse_address("fd00::9"), service_key(IpProto::kTcp, 80), boot_now());
  EXPECT_EQ(e.decision.verdict, Verdict::kAllow);
}

TEST_F(PublisherTest, BatchChangesOnlyWhatItNames) {
  ASSERT_EQ(enforcer.publish(enforcer.next({}, {put("10.0.0.2", identity_of(kSite), 22), removal("fd00::/64"),
                                                put("10.0.0.3", identity_of(kSite), 33)})),
            "none");
  EXPECT_EQ(workloads(),
            (std::map<std::string, uint32_t>{{"10.0.0.1", 1}, {"10.0.0.2", 22}, {"10.0.0.3", 33}}));
  EXPECT_EQ(enforcer.snapshot()->generation, 2u);
  EXPECT_EQ(enforcer.snapshot()->image_generation, 1u);
}

/// The two sides of the table take turns, and neither misses a batch, with refusals and replacements in
/// between.
TEST_F(PublisherTest, SidesNeverDriftApart) {
  std::map<std::string, uint32_t> model = workloads();
  for (uint32_t i = 0; i < 200; ++i) {
    std::string address = "10.0.1." + std::to_string(i % 50);
    bool present = model.contains(address);
    EndpointChange change =
        present && i % 3 == 0 ? removal(address.c_str()) : put(address.c_str(), identity_of(kSite), i);
    if (i % 7 == 0) {
      ASSERT_NE(enforcer.publish(enforcer.next({}, {change, removal("10.255.0.1")})), "none");
    }
    if (i % 31 == 0) {
      std::vector<EndpointChange> all;
      for (const auto& [prefix, workload] : model)
        all.push_back(put(prefix.c_str(), identity_of(kSite), workload));
      ASSERT_EQ(enforcer.publish(enforcer.replacing({}, all)), "none");
    }
    ASSERT_EQ(enforcer.publish(enforcer.next({}, {change})), "none");
    if (change.kind == ChangeKind::kRemove)
      model.erase(address);
    else
      model[address] = i;
    ASSERT_EQ(workloads(), model) << i;
  }
}

TEST_F(PublisherTest, NewImageKeepsTheEndpointsWhoseIdentitiesItKnows) {
  MarkerImage second(kSite, "second");
  ASSERT_EQ(enforcer.publish(enforcer.next(second.bytes(), {})), "none");
  EXPECT_EQ(rule(), "second");
  EXPECT_EQ(workloads().size(), 3u);
  EXPECT_EQ(enforcer.snapshot()->image_generation, 2u);
}

TEST_F(PublisherTest, NewImageWithTheBatchThatMakesEndpointsFitIsTaken) {
  MarkerImage second(kOther, "second");
  ASSERT_EQ(enforcer.publish(
                enforcer.next(second.bytes(), {put("10.0.0.1", identity_of(kOther)), removal("10.0.0.2"),
                                               put("fd00::/64", kIdentityUnknown)})),
            "none");
  EXPECT_EQ(rule(), "second");
}

TEST_F(PublisherTest, UpdateThatChangesNothingIsAGenerationAllTheSame) {
  auto before = versions();
  ASSERT_EQ(enforcer.publish(enforcer.next({}, {})), "none");
  EXPECT_EQ(enforcer.snapshot()->generation, 2u);
  ASSERT_EQ(enforcer.publish(enforcer.next({}, {put("10.0.0.1", identity_of(kSite), 1)})), "none");
  EXPECT_EQ(enforcer.snapshot()->generation, 3u);
  EXPECT_EQ(versions(), before) << "nothing differs, so no flow is judged again";
}

TEST_F(PublisherTest, VersionsMoveForEndpointsThatChangeOnly) {
  ASSERT_EQ(enforcer.publish(enforcer.next({}, {put("10.0.0.2", identity_of(kSite), 22)})), "none");
  EXPECT_EQ(version_of("10.0.0.2"), 2u);
  EXPECT_EQ(version_of("10.0.0.1"), 1u);
  EXPECT_EQ(enforcer.publisher.shards().prefix.load(), 1u);
  ASSERT_EQ(enforcer.publish(enforcer.next({}, {removal("fd00::/64")})), "none");
  EXPECT_EQ(enforcer.publisher.shards().prefix.load(), 3u);
}

TEST_F(PublisherTest, ReplacementMovesVersionsOfWhatCameWentOrDiffersOnly) {
  ASSERT_EQ(enforcer.publish(enforcer.replacing(
                {}, {put("10.0.0.1", identity_of(kSite), 1), put("10.0.0.7", identity_of(kSite), 7),
                     put("fd00::/64", identity_of(kSite), 3)})),
            "none");
  EXPECT_EQ(version_of("10.0.0.1"), 1u);
  EXPECT_EQ(version_of("10.0.0.2"), 2u) << "gone";
  EXPECT_EQ(version_of("10.0.0.7"), 2u) << "new";
  EXPECT_EQ(enforcer.publisher.shards().prefix.load(), 1u);
}

TEST_F(PublisherTest, TagsMoveWhoseSegmentIsAnotherOneOnly) {
  auto meaning = [&](SegmentTag tag) { return enforcer.publisher.shards().meaning[tag.value].load(); };
  MarkerImage same{kSite, "second"}, other{kOther, "third"};
  ASSERT_EQ(enforcer.publish(enforcer.replacing(same.bytes(), {})), "none");
  EXPECT_EQ(meaning(kSite), 0u);
  ASSERT_EQ(enforcer.publish(enforcer.replacing(other.bytes(), {})), "none");
  EXPECT_EQ(meaning(kSite), enforcer.publisher.generation()) << "nobody's now";
  EXPECT_EQ(meaning(kTagGateway), 0u);
}
TEST_F(PublisherTest, ReplacementByNothingLeavesNoEndpoints) {
  ASSERT_EQ(enforcer.publish(enforcer.replacing({}, {})), "none");
  EXPECT_TRUE(workloads().empty());
  ASSERT_EQ(enforcer.publish(enforcer.next({}, {put("10.0.0.1", identity_of(kSite), 1)})), "none");
  EXPECT_EQ(workloads().size(), 1u);
}

TEST_F(PublisherTest, GenerationThatDoesNotGrow) {
  Update again = enforcer.next({}, {});
  again.generation = 1;
  expect_refused(std::move(again), "generation 1 doesn't follow 1, which is in force");
}
TEST_F(PublisherTest, GenerationMayLeap) {
  Update far = enforcer.next({}, {});
  far.generation = uint64_t{1} << 40;
  EXPECT_EQ(enforcer.publish(std::move(far)), "none");
}
TEST_F(PublisherTest, BatchForAnotherImage) {
  Update other = enforcer.next({}, {put("10.0.0.1", identity_of(kSite))});
  other.base_image_generation = 7;
  expect_refused(std::move(other), "made for the image of generation 7, but that of 1 is in force");
}
TEST(Publisher, BatchBeforeAnyImage) {
  Enforcer fresh(1);
  EXPECT_EQ(fresh.publish(fresh.next({}, {put("10.0.0.1", kIdentityUnknown)})),
            "no policy image is in force, and none came with the update");
  EXPECT_EQ(fresh.snapshot(), nullptr);
}
TEST_F(PublisherTest, ImageWithAByteTooFew) {
  Update u = enforcer.next(image.bytes(), {});
  u.image_bytes -= 1;
  expect_refused(std::move(u), "policy image: a memfd of 896 bytes that was announced with 895");
}
TEST_F(PublisherTest, ImageThatCouldStillBeWritten) {
  Update u = enforcer.next(image.bytes(), {});
  u.image = Fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(write(u.image.get(), image.bytes().data(), image.bytes().size()),
            static_cast<ssize_t>(image.bytes().size()));
  ASSERT_EQ(fcntl(u.image.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
  expect_refused(std::move(u), "policy image: shared memory without the seals that it must have");
}
TEST_F(PublisherTest, BatchOfAnotherLength) {
  Update u = enforcer.next({}, {put("10.0.0.1", identity_of(kSite))});
  u.batch_count = 2;
  expect_refused(std::move(u), "endpoint batch: a memfd of 48 bytes that was announced with 96");
}
TEST_F(PublisherTest, ImageThatDoesNotKnowAnEndpointsIdentity) {
  MarkerImage second(kOther, "second");
  ASSERT_EQ(enforcer.publish(enforcer.replacing({}, {put("10.0.0.1", identity_of(kSite), 1)})), "none");
  expect_refused(enforcer.next(second.bytes(), {}),
                 "endpoint 10.0.0.1 has identity 100, which the policy image doesn't know");
}
TEST_F(PublisherTest, ImageThatDoesNotKnowTheIdentityOfAnEndpointThatTheBatchLeaves) {
  MarkerImage second(kOther, "second");
  ASSERT_EQ(enforcer.publish(enforcer.replacing(
                {}, {put("10.0.0.1", identity_of(kSite)), put("10.0.0.2", identity_of(kSite))})),
            "none");
  expect_refused(enforcer.next(second.bytes(), {put("10.0.0.1", identity_of(kOther))}),
                 "endpoint 10.0.0.2 has identity 100, which the policy image doesn't know");
}
TEST_F(PublisherTest, EndpointTwiceInABatch) {
  expect_refused(
      enforcer.next({}, {put("10.0.0.5", identity_of(kSite)), put("10.0.0.5", identity_of(kSite))}),
      "endpoint 10.0.0.5 occurs twice in one batch");
}
TEST_F(PublisherTest, EndpointTwiceInAReplacement) {
  expect_refused(
      enforcer.replacing({}, {put("10.0.0.5", identity_of(kSite)), put("10.0.0.5", identity_of(kSite))}),
      "endpoint 10.0.0.5 occurs twice in one batch");
}
TEST_F(PublisherTest, RemovalOfWhatIsNotThere) {
  expect_refused(enforcer.next({}, {put("10.0.0.1", identity_of(kSite), 9), removal("10.0.0.77")}),
                 "endpoint 10.0.0.77 is to be removed but isn't there");
}
TEST_F(PublisherTest, RemovalInAReplacement) {
  expect_refused(enforcer.replacing({}, {removal("10.0.0.1")}),
                 "endpoint change 0 (10.0.0.1/32): a removal in a batch that replaces everything");
}
TEST_F(PublisherTest, UnknownKindOfChange) {
  expect_change_refused([](EndpointChange& c) { c.kind = ChangeKind{3}; },
                        "endpoint change 1 (10.0.0.9/32): an unknown kind of change");
}
TEST_F(PublisherTest, UnknownIdentity) {
  expect_change_refused([](EndpointChange& c) { c.endpoint.identity = 101; },
                        "endpoint change 1 (10.0.0.9/32): an identity that the policy image doesn't know");
}
TEST_F(PublisherTest, UnknownPostureClass) {
  expect_change_refused([](EndpointChange& c) { c.endpoint.identity = identity_of(kSite, 1).value; },
                        "endpoint change 1 (10.0.0.9/32): an identity that the policy image doesn't know");
}
TEST_F(PublisherTest, NoPrefixLength) {
  expect_change_refused([](EndpointChange& c) { c.endpoint.bits = 0; },
                        "endpoint change 1 (10.0.0.9/0): a prefix length that isn't 1 to 128");
}
TEST_F(PublisherTest, PrefixLengthOverTheAddress) {
  expect_change_refused([](EndpointChange& c) { c.endpoint.bits = 129; },
                        "endpoint change 1 (10.0.0.9/33): a prefix length that isn't 1 to 128");
}
TEST_F(PublisherTest, HostBits) {
  expect_change_refused([](EndpointChange& c) { c.endpoint.bits = 127; },
                        "endpoint change 1 (10.0.0.9/31): host bits set in its prefix");
}
TEST_F(PublisherTest, PortThatDoesNotExist) {
  expect_change_refused([](EndpointChange& c) { c.endpoint.port = Enforcer::kPorts; },
                        "endpoint change 1 (10.0.0.9/32): a port that this gateway doesn't have");
}
TEST_F(PublisherTest, UnknownFlag) {
  expect_change_refused([](EndpointChange& c) { c.endpoint.flags = 8; },
                        "endpoint change 1 (10.0.0.9/32): an unknown flag");
}
TEST_F(PublisherTest, VlanOverTheRange) {
  expect_change_refused(
      [](EndpointChange& c) { c.endpoint.flags = kEndpointHasVlan, c.endpoint.vlan = 4095; },
      "endpoint change 1 (10.0.0.9/32): an impossible VLAN");
}
TEST_F(PublisherTest, VlanWithoutItsFlag) {
  expect_change_refused([](EndpointChange& c) { c.endpoint.vlan = 10; },
                        "endpoint change 1 (10.0.0.9/32): an impossible VLAN");
}
TEST_F(PublisherTest, MacWithoutItsFlag) {
  expect_change_refused([](EndpointChange& c) { c.endpoint.mac.bytes[5] = 1; },
                        "endpoint change 1 (10.0.0.9/32): a MAC address that its flags don't mention");
}
TEST_F(PublisherTest, ReservedBytes) {
  expect_change_refused([](EndpointChange& c) { c.reserved[6] = 1; },
                        "endpoint change 1 (10.0.0.9/32): reserved bytes set");
  expect_change_refused([](EndpointChange& c) { c.endpoint.reserved[4] = 1; },
                        "endpoint change 1 (10.0.0.9/32): reserved bytes set");
}

TEST_F(PublisherTest, SecondPublishWaitsForTheFirst) {
  enforcer.quiescence->online(0);
  ASSERT_TRUE(enforcer.publisher.publish(enforcer.next({}, {})));
  EXPECT_FALSE(enforcer.publisher.complete()) << "worker 0 hasn't been quiescent";
  auto second = enforcer.publisher.publish(enforcer.next({}, {}));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kUnavailable);
  enforcer.quiescence->quiescent(0);
  auto enforced = enforcer.publisher.complete();
  ASSERT_TRUE(enforced);
  EXPECT_EQ(enforced->generation, 2u);
  EXPECT_FALSE(enforced->new_image);
  EXPECT_FALSE(enforcer.publisher.complete()) << "acknowledged once";
}

TEST_F(PublisherTest, OldStateStaysUntilEveryWorkerWasQuiescent) {
  enforcer.quiescence->online(1);
  const Snapshot* old = enforcer.snapshot();
  MarkerImage second(kOther, "second");
  ASSERT_TRUE(enforcer.publisher.publish(enforcer.replacing(second.bytes(), {})));
  ASSERT_FALSE(enforcer.publisher.complete());
  EXPECT_EQ(old->image->rule_name(RuleIndex{0}), "first");
  EXPECT_EQ(old->endpoints->find(*parse_address("10.0.0.1"))->workload, 1u);
  add(old->hits[1][0].decided, 1);
  EXPECT_EQ(rule(), "second");
  enforcer.quiescence->offline(1);
  EXPECT_TRUE(enforcer.publisher.complete());
}

TEST_F(PublisherTest, TimesAreMeasured) {
  Update u = enforcer.next({}, {});
  u.arrived.ns -= 5'000'000;
  ASSERT_TRUE(enforcer.publisher.publish(std::move(u)));
  auto enforced = enforcer.publisher.complete();
  ASSERT_TRUE(enforced);
  EXPECT_GE(enforced->enforced_ns, 5'000'000u);
  EXPECT_LE(enforced->checked_ns, enforced->enforced_ns);
  EXPECT_GT(enforced->checked_ns, 0u);
}

TEST_F(PublisherTest, EachWorkerHasHitsOfItsOwnForEachRule) {
  const Snapshot* s = enforcer.snapshot();
  EXPECT_EQ(s->hits[1], s->hits[0] + 1);
  EXPECT_EQ(s->hits[2], nullptr);
  auto reader = map_read_only(enforcer.publisher.image()->hits.fd, 2 * sizeof(RuleHits));
  ASSERT_TRUE(reader);
  add(s->hits[1][0].decided, 3);
  EXPECT_EQ(read(reader->as<const RuleHits>()[1].decided), 3u);
  EXPECT_FALSE(map_read_write(enforcer.publisher.image()->hits.fd, 2 * sizeof(RuleHits)));
}

/// Every byte of an image, flipped as it is and with the checksum made right again: refused, or a state that
/// can be judged by.
TEST_F(PublisherTest, EveryFlippedByteIsRefusedOrHarmless) {
  size_t taken = 0;
  for (size_t at = 0; at < image.bytes().size(); ++at) {
    for (bool signed_again : {false, true}) {
      MarkerImage flipped(kSite, "first");
      flipped.bytes()[at] ^= std::byte{0xff};
      if (signed_again) flipped.sign();
      bool accepted = enforcer.publish(enforcer.next(flipped.bytes(), {})) == "none";
      EXPECT_TRUE(signed_again || !accepted) << at;
      taken += accepted;
      const Snapshot* s = enforcer.snapshot();
      for (const char* to : {"10.0.0.2", "fd00::1", "192.0.2.1"})
        for (uint32_t key : {0u, 0x06000050u, 0xffffffffu})
          evaluate(*s->image, *s->endpoints, {*parse_address("10.0.0.1"), kPortNone, 0, {}},
                   *parse_address(to), ServiceKey{key}, boot_now());
      for (const RuleRecord& rule : s->image->rules) s->image->text(rule.name);
    }
  }
  EXPECT_GT(taken, 0u) << "names may be flipped: the test reached what it is for";
}

}  // namespace
}  // namespace bulkhead::test
