// How much a policy may hold in all.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/unit/config/load_text.h"

namespace bulkhead {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Files = std::vector<std::pair<std::string, std::string>>;

/// A file of so many bytes that says nothing.
std::string comment(size_t bytes) {
  constexpr size_t kLine = 1024;
  std::string text;
  while (text.size() < bytes) {
    size_t line = std::min(kLine, bytes - text.size());
    text += "#" + std::string(line - 2, 'x') + "\n";
  }
  return text;
}

TEST(PolicySize, YamlOverAllFiles_IsBounded) {
  constexpr size_t kEach = kMaxPolicyBytes / 4;
  Files files;
  for (const char* name : {"a.yaml", "b.yaml", "c.yaml", "d.yaml"}) files.emplace_back(name, comment(kEach));
  EXPECT_THAT(told(load_policy_text(files, kNow).diagnostics), IsEmpty());
  files.emplace_back("e.yaml", comment(2));
  files.emplace_back("f.yaml", comment(2));
  LoadedPolicy loaded = load_policy_text(files, kNow);
  EXPECT_FALSE(loaded.policy);
  EXPECT_THAT(told(loaded.diagnostics), ElementsAre(IsAt("e.yaml", "more than 64 MiB of YAML")));
}

TEST(PolicySize, SegmentOfAFileThatIsNotReadAnyMore_IsNotToldAsMissing) {
  Files files;
  for (const char* name : {"b.yaml", "c.yaml", "d.yaml", "e.yaml"})
    files.emplace_back(name, comment(kMaxPolicyBytes / 4));
  files.emplace_back("a.yaml", "policies: [{name: r, from: web, to: web, allow: [any]}]\n");
  files.emplace_back("f.yaml", "segments: {web: {tag: 2, members: [10.1.0.0/24]}}\n");
  EXPECT_THAT(told(load_policy_text(files, kNow).diagnostics),
              ElementsAre(IsAt("e.yaml", "more than 64 MiB of YAML")));
}

TEST(PolicySize, Files_AreBounded) {
  std::string pattern = testing::TempDir() + "policy.XXXXXX";
  std::string directory = ::mkdtemp(pattern.data());
  auto name = [&](size_t number) { return directory + "/" + std::to_string(number) + ".yaml"; };
  for (size_t i = 0; i <= kMaxPolicyFiles; ++i) std::ofstream{name(i)};
  LoadedPolicy over = load_policy(directory, kNow);
  std::filesystem::remove(name(0));
  LoadedPolicy most = load_policy(directory, kNow);
  std::filesystem::remove_all(directory);
  EXPECT_FALSE(over.policy);
  EXPECT_THAT(told(over.diagnostics), ElementsAre(IsAt(directory, "more than 65,536 *.yaml")));
  EXPECT_TRUE(most.policy);
}

}  // namespace
}  // namespace bulkhead
