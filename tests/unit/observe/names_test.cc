#include "controlplane/observe/names.h"

#include <gtest/gtest.h>

#include "config/policy.h"
#include "record.h"

namespace bulkhead::test {
namespace {

/// A policy whose only rule has that name.
std::unique_ptr<ExplainablePolicy> policy_with(const std::string& rule) {
  auto loaded = load_policy_text({{"p.yaml",
                                   "segments: {web: {tag: 100, members: [10.1.0.0/24]}}\n"
                                   "policies: [{name: " +
                                       rule + ", from: web, to: web, allow: [tcp]}]\n"}},
                                 WallTime{0});
  if (!loaded.policy) return nullptr;
  auto policy = make_explainable(std::move(*loaded.policy), {}, wall_as_boot);
  return policy ? std::move(*policy) : nullptr;
}

class Names : public testing::Test {
 protected:
  void SetUp() override {
    auto old_policy = policy_with("old"), new_policy = policy_with("new");
    ASSERT_TRUE(old_policy && new_policy);
    names.add(5, 5, *old_policy);
    names.add(6, 5, *old_policy);  // endpoints only
    names.add(7, 7, *new_policy);
  }
  std::string rule_of(uint64_t generation, uint32_t image_generation) const {
    FlowRecord r = record(EventKind::kClose);
    r.generation = generation, r.image_generation = image_generation;
    auto found = names.of(r);
    return found ? std::string(found->rule(0)) : "nobody knows";
  }
  NameHistory names;
};

TEST_F(Names, FlowJudgedUnderThePresentImage_HasItsRule) {
  EXPECT_EQ(rule_of(7, 7), "new");
}
TEST_F(Names, FlowThatEndsBeforeItIsJudgedUnderTheNewImage_HasTheRuleThatAllowedIt) {
  EXPECT_EQ(rule_of(7, 5), "old");
}
TEST_F(Names, RecordWrittenUnderEndpointsOfAnImage_HasThatImagesRule) {
  EXPECT_EQ(rule_of(6, 5), "old");
}
TEST_F(Names, ImageThatWasNeverPublished_HasNoNames) {
  EXPECT_EQ(rule_of(7, 6), "nobody knows");
}

}  // namespace
}  // namespace bulkhead::test
