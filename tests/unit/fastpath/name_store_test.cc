#include "dataplane/fastpath/name_store.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace bulkhead {
namespace {

constexpr HashSeed kSeed{{1, 2}};

TEST(NameStore, Name_IsKeptOnceUntilItsLastUseIsOver) {
  NameStore names(2, kSeed);
  uint32_t a = names.keep("a.example");
  EXPECT_EQ(names.keep("a.example"), a);
  EXPECT_EQ(names.size(), 1u);
  uint32_t b = names.keep("b.example");
  EXPECT_NE(a, b);
  EXPECT_EQ(names.keep("c.example"), kNoIndex) << "no room";
  EXPECT_EQ(names.keep("a.example"), a) << "what is there needs none";
  names.release(a);
  names.release(a);
  EXPECT_EQ(names.keep("c.example"), kNoIndex) << "used once still";
  EXPECT_EQ(names.text(a), "a.example");
  names.release(a);
  uint32_t c = names.keep("c.example");
  EXPECT_EQ(names.text(c), "c.example");
  EXPECT_EQ(names.text(b), "b.example");
}

TEST(NameStore, NoName_TakesNoRoom) {
  NameStore names(1, kSeed);
  EXPECT_EQ(names.keep(""), kNoIndex);
  names.release(kNoIndex);
  EXPECT_EQ(names.text(kNoIndex), "");
  EXPECT_EQ(names.size(), 0u);
}

TEST(NameStore, ManyNames_OfEveryLength_StayApart) {
  constexpr uint32_t kNames = 1000;
  NameStore names(kNames, kSeed);
  std::set<uint32_t> places;
  auto name = [](uint32_t i) {
    return std::string(1 + i % 253, 'a').replace(0, 0, std::to_string(i)).substr(0, 253);
  };
  for (uint32_t i = 0; i < kNames; ++i) places.insert(names.keep(name(i)));
  EXPECT_EQ(places.size(), kNames);
  for (uint32_t i = 0; i < kNames; ++i) EXPECT_EQ(names.text(names.keep(name(i))), name(i));
}

}  // namespace
}  // namespace bulkhead
