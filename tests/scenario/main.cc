// Every file in cases/ is a test, run with 1, 2 and 4 workers, and once with frames in chains of buffers.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/fastpath/replay.h"
#include "script.h"
#include "statements.h"

namespace bulkhead::test {
namespace {

class Scenario : public testing::Test {
 public:
  Scenario(std::string path, unsigned workers, bool chained)
      : path_(std::move(path)), workers_(workers), chained_(chained) {}
  void TestBody() override { run_scenario(path_, workers_, chained_); }

 private:
  std::string path_;
  unsigned workers_;
  bool chained_;
};

/// Whether a file is meant for that many workers: `only N worker` is for a limit that is a worker's share.
bool is_for(const std::filesystem::path& file, unsigned workers) {
  for (const Statement& statement : read_statements(file)) {
    unsigned only = 0;
    if (std::sscanf(statement.text.c_str(), "only %u worker", &only) == 1) return only == workers;
  }
  return true;
}

struct Way {
  const char* suite;
  unsigned workers;
  bool chained;
};
constexpr Way kWays[] = {
    {"Workers1", 1, false}, {"Workers2", 2, false}, {"Workers4", 4, false}, {"Chained", 1, true}};

/// "policy/tiers" becomes test policy/tiers of suites Workers1, Workers2, Workers4 and Chained.
size_t register_scenarios(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory))
    if (entry.path().extension() == ".scenario") files.push_back(entry.path());
  std::ranges::sort(files);
  for (const Way& way : kWays) {
    for (const auto& file : files) {
      if (!is_for(file, way.workers)) continue;
      std::string name = file.lexically_relative(directory).replace_extension().string();
      testing::RegisterTest(way.suite, name.c_str(), nullptr, nullptr, file.c_str(), 1,
                            [path = file.string(), way]() -> testing::Test* {
                              return new Scenario(path, way.workers, way.chained);
                            });
    }
  }
  return files.size();
}

}  // namespace
}  // namespace bulkhead::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc != 2) {
    std::fprintf(stderr, "usage: scenario_test [--gtest_...] CASES-DIRECTORY\n");
    return 2;
  }
  if (auto started = bulkhead::start_replay_memory(256); !started) {
    std::fprintf(stderr, "%s\n", started.error().message.c_str());
    return 1;
  }
  if (bulkhead::test::register_scenarios(argv[1]) == 0) {
    std::fprintf(stderr, "%s holds no scenario\n", argv[1]);
    return 1;
  }
  return RUN_ALL_TESTS();
}
