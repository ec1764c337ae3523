#include "contract/relay_identities.h"

#include <algorithm>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

IdentitySet sample() {
  return {.generation = 3,
          .segments = {{SegmentTag{200}, "db", {"spiffe://corp.example/db/*"}, ""},
                       {SegmentTag{100},
                        "web",
                        {"spiffe://corp.example/web/*", "spiffe://corp.example/edge"},
                        "spiffe://corp.example/web/relay"}},
          .workloads = {{9, "spiffe://corp.example/db/9"}, {7, "spiffe://corp.example/web/7"}}};
}

/// Identities that are read, of which each test changes one thing.
struct IdentitiesTest : testing::Test {
  std::vector<std::byte> bytes = write_identities(sample()).value();

  IdentitiesHeader& header() { return *reinterpret_cast<IdentitiesHeader*>(bytes.data()); }
  SegmentIdentities* segments() { return reinterpret_cast<SegmentIdentities*>(&header() + 1); }
  StringRef* patterns() { return reinterpret_cast<StringRef*>(segments() + header().segment_count); }
  WorkloadIdentity* workloads() {
    return reinterpret_cast<WorkloadIdentity*>(patterns() + header().pattern_count);
  }
  std::string error() const {
    auto read = read_identities(bytes);
    return read ? "none" : read.error().message;
  }
  void expect(const char* message) const {
    EXPECT_EQ(error(), std::string("identities refused: ") + message);
  }
  void SetUp() override { ASSERT_EQ(error(), "none"); }
};

TEST_F(IdentitiesTest, ComeOutAsTheyWentIn) {
  auto view = read_identities(bytes).value();
  EXPECT_EQ(view.generation, 3u);
  const SegmentIdentities* web = view.segment(SegmentTag{100});
  ASSERT_NE(web, nullptr);
  EXPECT_EQ(view.text(web->name), "web");
  EXPECT_EQ(view.text(web->relay_id), "spiffe://corp.example/web/relay");
  ASSERT_EQ(view.patterns_of(*web).size(), 2u);
  EXPECT_EQ(view.text(view.patterns_of(*web)[1]), "spiffe://corp.example/edge");
  EXPECT_EQ(view.text(view.segment(SegmentTag{200})->relay_id), "");
  EXPECT_EQ(view.segment(SegmentTag{150}), nullptr);
  EXPECT_EQ(view.segment(SegmentTag{65535}), nullptr);
  EXPECT_EQ(view.workload_id(7), "spiffe://corp.example/web/7");
  EXPECT_EQ(view.workload_id(9), "spiffe://corp.example/db/9");
  for (uint32_t number : {0u, 8u, 10u, UINT32_MAX}) EXPECT_EQ(view.workload_id(number), "");
}
TEST_F(IdentitiesTest, NoneAtAll) {
  auto view = read_identities(write_identities({.generation = 1, .segments = {}, .workloads = {}}).value());
  ASSERT_TRUE(view) << view.error().message;
  EXPECT_EQ(view->segment(SegmentTag{100}), nullptr);
  EXPECT_EQ(view->workload_id(1), "");
}
TEST_F(IdentitiesTest, ShorterThanTheHeader) {
  bytes.resize(sizeof(IdentitiesHeader) - 1);
  expect("shorter than their header");
}
TEST_F(IdentitiesTest, AnotherMagicOrFormat) {
  header().magic ^= 1;
  expect("not identities");
  header().magic ^= 1;
  header().format = 2;
  expect("of another format version; run the same version of the control plane and the relay");
}
TEST_F(IdentitiesTest, AnotherSize) {
  bytes.push_back({});
  expect("their size is not the one in their header");
}
TEST_F(IdentitiesTest, NoGeneration) {
  header().generation = 0;
  expect("without a generation");
}
TEST_F(IdentitiesTest, SectionsLongerThanTheWhole) {
  for (uint64_t* count : {&header().segment_count, &header().pattern_count, &header().workload_count}) {
    uint64_t before = std::exchange(*count, UINT64_MAX / 2);
    expect("their sections are longer than the whole");
    *count = before;
  }
}
TEST_F(IdentitiesTest, SegmentsOutOfOrder) {
  segments()[0].tag = 200;
  expect("segments are not by ascending tag");
}
TEST_F(IdentitiesTest, TextsOutside) {
  auto size = static_cast<uint32_t>(read_identities(bytes)->strings.size());
  auto outside = [&](StringRef& ref, const char* message) {
    StringRef before = ref;
    ref = {size, 1};
    expect(message);
    ref = {1, UINT32_MAX};
    expect(message);
    ref = before;
  };
  outside(segments()[0].name, "a segment's name lies outside the strings");
  outside(segments()[0].relay_id, "a relay_id lies outside the strings, or is too long");
  outside(patterns()[1], "a pattern lies outside the strings, or is empty or too long");
  outside(workloads()[1].id, "a workload's ID lies outside the strings, or is empty or too long");
}
TEST_F(IdentitiesTest, EmptyTexts) {
  patterns()[0].length = 0;
  expect("a pattern lies outside the strings, or is empty or too long");
  patterns()[0].length = 1;
  workloads()[0].id.length = 0;
  expect("a workload's ID lies outside the strings, or is empty or too long");
}
TEST_F(IdentitiesTest, PatternsOutside) {
  segments()[1].pattern_first = 4;
  expect("a segment's patterns lie outside their section");
  segments()[1].pattern_first = 3;
  segments()[1].pattern_count = UINT32_MAX;
  expect("a segment's patterns lie outside their section");
}
TEST_F(IdentitiesTest, WorkloadsOutOfOrderOrZero) {
  workloads()[1].number = workloads()[0].number;
  expect("workloads are not by ascending number");
  workloads()[0].number = 0;
  expect("workloads are not by ascending number");
}
TEST_F(IdentitiesTest, WriterRefusesWhatTheReaderWould) {
  IdentitySet set = sample();
  set.segments[1].tag = set.segments[0].tag;
  EXPECT_EQ(write_identities(set).error().message, "identities refused: segments are not by ascending tag");
  set = sample();
  set.workloads[0].id.assign(2049, 'x');
  EXPECT_EQ(write_identities(set).error().message,
            "identities refused: a workload's ID lies outside the strings, or is empty or too long");
}

/// Whatever set is written is read as that set; the seed is in the message.
TEST(IdentitiesProperty, WhatIsWrittenIsRead) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
    auto text = [&] {
      return "spiffe://td/" + std::string(1 + below(20), static_cast<char>('a' + below(3)));
    };
    IdentitySet set{.generation = 1 + below(1000), .segments = {}, .workloads = {}};
    for (uint32_t tag = 2 + below(5); tag < 60000 && set.segments.size() < 30; tag += 1 + below(3000)) {
      IdentitySet::Segment segment{
          SegmentTag{static_cast<uint16_t>(tag)}, text(), {}, below(2) ? text() : ""};
      for (uint32_t n = below(4); n > 0; --n) segment.patterns.push_back(text());
      set.segments.push_back(std::move(segment));
    }
    for (uint32_t number = 1 + below(9); number < 500; number += 1 + below(40))
      set.workloads.push_back({number, text()});
    std::ranges::shuffle(set.segments, random);
    std::ranges::shuffle(set.workloads, random);

    auto bytes = write_identities(set);
    ASSERT_TRUE(bytes) << seed << bytes.error().message;
    auto view = read_identities(*bytes);
    ASSERT_TRUE(view) << seed << view.error().message;
    EXPECT_EQ(view->segments.size(), set.segments.size());
    for (const IdentitySet::Segment& segment : set.segments) {
      const SegmentIdentities* found = view->segment(segment.tag);
      ASSERT_NE(found, nullptr) << seed;
      EXPECT_EQ(view->text(found->name), segment.name) << seed;
      EXPECT_EQ(view->text(found->relay_id), segment.relay_id) << seed;
      std::vector<std::string> patterns;
      for (StringRef ref : view->patterns_of(*found)) patterns.emplace_back(view->text(ref));
      EXPECT_EQ(patterns, segment.patterns) << seed;
    }
    for (uint32_t number = 0; number < 510; ++number) {
      auto at = std::ranges::find(set.workloads, number, &IdentitySet::Workload::number);
      EXPECT_EQ(view->workload_id(number), at == set.workloads.end() ? "" : at->id) << seed;
    }
  }
}

}  // namespace
}  // namespace bulkhead
