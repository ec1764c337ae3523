#include "dataplane/relay/identities.h"

#include <gtest/gtest.h>

#include "dataplane/relay/policy.h"

namespace bulkhead {
namespace {

IdentitySet sample() {
  return {.generation = 3,
          .segments = {{SegmentTag{100}, "web", {"spiffe://td/web/*"}, "spiffe://td/relay/web"},
                       {SegmentTag{200}, "db", {"spiffe://td/db/*"}, ""},
                       {SegmentTag{300}, "bare", {}, ""}},
          .workloads = {{1, "spiffe://td/special"}, {9, "spiffe://td/db/9"}}};
}

std::shared_ptr<const Identities> read(const IdentitySet& set) {
  auto identities = Identities::read(write_identities(set).value());
  EXPECT_TRUE(identities) << identities.error().message;
  return identities.value_or(nullptr);
}

RelayAnnouncement web_to_db(RelayRole role) {
  RelayAnnouncement flow = make_relay_announcement();
  flow.role = role;
  flow.source_tag = 100, flow.source_workload = 1;
  flow.destination_tag = 200, flow.destination_workload = 9;
  return flow;
}

bool may_be(const Identities& identities, const RelayAnnouncement& flow, const char* id) {
  return identities.peer_may_be(flow, parse_spiffe_id(id).value());
}

using Ids = std::vector<std::string_view>;

TEST(Identities, TheWorkloadsOwnIdComesBeforeItsSegments) {
  auto identities = read(sample());
  auto flow = web_to_db(RelayRole::kOriginate);
  EXPECT_EQ(identities->own_ids(flow), (Ids{"spiffe://td/special", "spiffe://td/relay/web"}));
  flow.source_workload = 0;
  EXPECT_EQ(identities->own_ids(flow), (Ids{"spiffe://td/relay/web"}));
  flow.source_tag = 300;
  EXPECT_EQ(identities->own_ids(flow), Ids{});
  flow.source_tag = 400;
  EXPECT_EQ(identities->own_ids(flow), Ids{});
}
TEST(Identities, TheOwnSideIsTheServersWhereTlsIsTerminated) {
  auto identities = read(sample());
  EXPECT_EQ(identities->own_ids(web_to_db(RelayRole::kTerminate)), (Ids{"spiffe://td/db/9"}));
}
TEST(Identities, ThePeerBelongsToTheOtherSidesSegment) {
  auto identities = read(sample());
  auto out = web_to_db(RelayRole::kOriginate), in = web_to_db(RelayRole::kTerminate);
  EXPECT_TRUE(may_be(*identities, out, "spiffe://td/db/9"));
  EXPECT_TRUE(may_be(*identities, out, "spiffe://td/db/8"));  // by its segment's pattern
  EXPECT_FALSE(may_be(*identities, out, "spiffe://td/web/1"));
  EXPECT_FALSE(may_be(*identities, out, "spiffe://td/special"));
  EXPECT_FALSE(may_be(*identities, out, "spiffe://other/db/9"));

  EXPECT_TRUE(may_be(*identities, in, "spiffe://td/web/1"));
  EXPECT_TRUE(may_be(*identities, in, "spiffe://td/special"));    // the workload's own
  EXPECT_TRUE(may_be(*identities, in, "spiffe://td/relay/web"));  // its segment's relay
  EXPECT_FALSE(may_be(*identities, in, "spiffe://td/db/9"));
  EXPECT_EQ(identities->peer_segment(in), "web");
}
TEST(Identities, ASegmentWithoutPatterns_AdmitsNobodyButTheWorkload) {
  auto identities = read(sample());
  auto flow = web_to_db(RelayRole::kTerminate);
  flow.source_tag = 300, flow.source_workload = 9;
  EXPECT_TRUE(may_be(*identities, flow, "spiffe://td/db/9"));
  EXPECT_FALSE(may_be(*identities, flow, "spiffe://td/web/1"));
  flow.source_workload = 0;
  EXPECT_FALSE(may_be(*identities, flow, "spiffe://td/db/9"));
}
TEST(Identities, ASegmentThatIsNotThere_AdmitsNobody) {
  auto identities = read(sample());
  auto flow = web_to_db(RelayRole::kTerminate);
  flow.source_tag = 400;
  EXPECT_FALSE(may_be(*identities, flow, "spiffe://td/special"));
  EXPECT_EQ(identities->peer_segment(flow), "");
}
TEST(Identities, TextsThatAreNoSpiffeIds_AreRefused) {
  auto refused = [](auto change) {
    IdentitySet set = sample();
    change(set);
    return !Identities::read(write_identities(set).value());
  };
  EXPECT_FALSE(refused([](IdentitySet&) {}));
  EXPECT_TRUE(refused([](IdentitySet& set) { set.segments[0].patterns[0] = "spiffe://TD/web/*"; }));
  EXPECT_TRUE(refused([](IdentitySet& set) { set.segments[0].relay_id = "spiffe://td/web/*"; }));
  EXPECT_TRUE(refused([](IdentitySet& set) { set.workloads[0].id = "spiffe://td"; }));
  EXPECT_TRUE(refused([](IdentitySet& set) { set.workloads[0].id = "https://td/a"; }));
}
TEST(Identities, BytesThatWereChanged_AreRefused) {
  auto bytes = write_identities(sample()).value();
  bytes[0] ^= std::byte{1};
  EXPECT_FALSE(Identities::read(bytes));
}

std::shared_ptr<const Identities> of(uint64_t generation) {
  return read({.generation = generation, .segments = {}, .workloads = {}});
}

TEST(RelayPolicy, IdentitiesBefore_AreKnownWhileGenerationsGoUp) {
  RelayPolicy policy;
  auto first = of(1), second = of(2), fifth = of(5);
  policy.take(first);
  EXPECT_EQ(policy.of_generation(1), first.get());
  policy.take(second);
  policy.take(fifth);
  EXPECT_EQ(policy.of_generation(5), fifth.get());
  EXPECT_EQ(policy.of_generation(2), second.get());
  EXPECT_EQ(policy.of_generation(1), nullptr);
}
/// A number of the time before mustn't be taken for one that is given out anew.
TEST(RelayPolicy, GenerationsThatBeginAnew_LeaveNothingOfBefore) {
  RelayPolicy policy;
  policy.take(of(4)), policy.take(of(5));
  auto anew = of(1), second = of(2);
  policy.take(anew);
  EXPECT_EQ(policy.of_generation(1), anew.get());
  EXPECT_EQ(policy.of_generation(5), nullptr);
  EXPECT_EQ(policy.of_generation(4), nullptr);
  policy.take(second);
  EXPECT_EQ(policy.of_generation(2), second.get());
  EXPECT_EQ(policy.of_generation(1), anew.get());
}
TEST(RelayPolicy, TheSameGenerationOnceMore_IsTheLaterOne) {
  RelayPolicy policy;
  auto later = of(1);
  policy.take(of(1)), policy.take(later);
  EXPECT_EQ(policy.of_generation(1), later.get());
  EXPECT_EQ(policy.before, nullptr);
}
TEST(RelayPolicy, WhatWasForgotten_StandsForNothing) {
  RelayPolicy policy;
  policy.take(of(1)), policy.take(of(2));
  policy.forget();
  EXPECT_EQ(policy.of_generation(1), nullptr);
  EXPECT_EQ(policy.of_generation(2), nullptr);
  auto anew = of(3);
  policy.take(anew);
  EXPECT_EQ(policy.of_generation(3), anew.get());
  EXPECT_EQ(policy.before, nullptr);
}

}  // namespace
}  // namespace bulkhead
