// The examples of the users' reference are loaded, so that it can't say what the loader doesn't.
#include <fstream>
#include <sstream>

#include "tests/unit/config/load_text.h"

namespace bulkhead {
namespace {

/// The ```yaml blocks of a page.
std::vector<std::string> examples(const std::string& page) {
  std::ifstream in(std::string(BULKHEAD_DOCS) + "/" + page);
  std::vector<std::string> blocks;
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    if (line == "```yaml") {
      inside = true;
      blocks.emplace_back();
    } else if (line == "```") {
      inside = false;
    } else if (inside) {
      blocks.back() += line + "\n";
    }
  }
  return blocks;
}

TEST(Docs, EveryPolicyExample_IsAPolicyWithoutWarnings) {
  std::vector<std::string> blocks = examples("policy.md");
  ASSERT_GE(blocks.size(), 1u);
  for (const std::string& block : blocks) {
    LoadedPolicy loaded = load_policy_text({{"policy.md", block}}, kNow);
    EXPECT_TRUE(loaded.policy.has_value()) << block;
    EXPECT_THAT(told(loaded.diagnostics), testing::IsEmpty());
  }
}

TEST(Docs, EveryGatewayExample_IsAGateway) {
  std::vector<std::string> blocks = examples("configuration.md");
  ASSERT_GE(blocks.size(), 2u);  // one for each mode
  for (const std::string& block : blocks) {
    LoadedGateway loaded = load_gateway_text("configuration.md", block);
    EXPECT_TRUE(loaded.config.has_value()) << block;
    EXPECT_THAT(told(loaded.diagnostics), testing::IsEmpty());
  }
}

}  // namespace
}  // namespace bulkhead
