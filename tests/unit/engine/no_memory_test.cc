// Where memory runs out between a policy's directory and its acceptance, the policy is refused: at whichever
// allocation it does.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <utility>

#include "controlplane/engine/accept.h"
#include "tests/unit/engine/temporary_directory.h"

namespace {
/// How many more allocations of this thread succeed before one fails.
thread_local size_t allocations_left = SIZE_MAX;

void* allocate(size_t bytes) {
  if (allocations_left != SIZE_MAX && allocations_left-- == 0) throw std::bad_alloc();
  if (void* at = std::malloc(bytes)) return at;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(size_t bytes) {
  return allocate(bytes);
}
void operator delete(void* at) noexcept {
  std::free(at);
}
void operator delete(void* at, size_t) noexcept {
  std::free(at);
}

namespace bulkhead::test {
namespace {

constexpr WallTime kNow{1'800'000'000'000'000'000};

struct NoMemoryTest : testing::Test {
  TemporaryDirectory directory;

  void SetUp() override {
    std::filesystem::create_directories(directory.path("state"));
    directory.write("policy/a.yaml", R"(
segments:
  web: {tag: 100, members: [10.1.0.0/24, {prefix: 10.1.0.7, workload: web-7}], labels: {tier: frontend}}
  db: {tag: 200, members_file: ../db.csv}
)");
    directory.write("policy/b.yaml", R"(
policies:
  - {name: web-calls-db, from: {labels: {tier: frontend}}, to: [db], allow: [tcp/5432, tcp/8000-8099], until: 2100-01-01T00:00:00Z}
  - {name: no-telnet, tier: guardrail, from: any, to: any, deny: [tcp/23], on_deny: reject}
tests:
  - {from: web, to: db, service: tcp/5432, expect: allow}
)");
    directory.write("db.csv", "prefix,workload\n10.2.0.0/24,\n10.2.0.9,db-9\n");
  }
};

TEST_F(NoMemoryTest, WhereverItRunsOut_ThePolicyIsWholeOrRefused) {
  const std::string path = directory.path("policy");
  auto deadlines = Deadlines::open(directory.path("state"), *system_clocks());
  ASSERT_TRUE(deadlines) << deadlines.error().message;
  size_t refused = 0;
  bool ran_out = true;
  for (size_t allocations = 0; ran_out; ++allocations) {
    SCOPED_TRACE(allocations);
    allocations_left = allocations;
    AcceptedPolicy result = accept_policy(load_policy(path, kNow), {}, *deadlines, kNow, nullptr);
    ran_out = std::exchange(allocations_left, SIZE_MAX) == SIZE_MAX;
    if (result.policy) {  // it can do without what it didn't get
      EXPECT_TRUE(result.diagnostics.empty());
      EXPECT_EQ(result.policy->endpoints.size(), 4u);
      EXPECT_EQ(result.policy->policy.rules.size(), 2u);
      continue;
    }
    ++refused;
    ASSERT_FALSE(result.diagnostics.empty());
    EXPECT_TRUE(result.machine_short)
        << "the policy is as good as it was: " << to_string(result.diagnostics[0]);
    EXPECT_NE(to_string(result.diagnostics[0]).find("memory"), std::string::npos)
        << to_string(result.diagnostics[0]);
  }
  EXPECT_GT(refused, 500u);
}

}  // namespace
}  // namespace bulkhead::test
