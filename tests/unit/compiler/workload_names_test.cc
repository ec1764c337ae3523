#include "controlplane/compiler/workload_names.h"

#include <gtest/gtest.h>

#include <unordered_set>

namespace bulkhead {
namespace {

TEST(WorkloadNames, NamesAreKeptOnceAndFound) {
  WorkloadNames names;
  uint32_t web = names.add("web-1"), db = names.add("db-1");
  EXPECT_NE(web, db);
  EXPECT_NE(web, 0u);
  EXPECT_EQ(names.add("web-1"), web);
  EXPECT_EQ(names.name(web), "web-1");
  EXPECT_EQ(names.name(db), "db-1");
}

TEST(WorkloadNames, TheEmptyNameIsNumberZero) {
  WorkloadNames names;
  EXPECT_EQ(names.name(0), "");
  EXPECT_EQ(names.name(7), "");
  EXPECT_EQ(names.add(""), 0u);
  names.add("web-1");
  EXPECT_EQ(names.name(0), "");
}

TEST(WorkloadNames, ANumberDoesNotDependOnTheOtherNames) {
  WorkloadNames few, more;
  for (int i = 0; i < 100; ++i) more.add("another-" + std::to_string(i));
  for (int i = 0; i < 100; ++i) {
    std::string name = "w" + std::to_string(i);
    EXPECT_EQ(few.add(name), more.add(name)) << name;
  }
}

/// So many that a dozen have the 32-bit hash of another.
TEST(WorkloadNames, NamesThatCollideHaveNumbersOfTheirOwn) {
  WorkloadNames names;
  std::unordered_set<uint32_t> numbers;
  for (int i = 0; i < 300'000; ++i)
    ASSERT_TRUE(numbers.insert(names.add("w" + std::to_string(i))).second) << i;
  for (int i = 0; i < 300'000; ++i) {
    std::string name = "w" + std::to_string(i);
    ASSERT_EQ(names.name(names.add(name)), name);
  }
}

}  // namespace
}  // namespace bulkhead
