// Whole files in which everything is wrong: all of it is told in one go, each where it stands and in these
// words. wrong/NAME.told is what `bulkhead check NAME.yaml` writes to standard error in that directory.
#include <fstream>
#include <sstream>

#include "tests/unit/config/load_text.h"

namespace bulkhead {
namespace {

std::string content(const std::string& name) {
  std::ifstream in(std::string(BULKHEAD_WRONG) + "/" + name);
  std::ostringstream text;
  text << in.rdbuf();
  EXPECT_GT(text.str().size(), 0u) << name;
  return text.str();
}

std::string joined(const Diagnostics& diagnostics) {
  std::string lines;
  for (const std::string& line : told(diagnostics)) lines += line + "\n";
  return lines;
}

TEST(WrongFiles, Policy_EverythingIsToldAtOnce) {
  LoadedPolicy loaded = load_policy_text({{"policy.yaml", content("policy.yaml")}}, kNow);
  EXPECT_FALSE(loaded.policy);
  EXPECT_EQ(joined(loaded.diagnostics), content("policy.told"));
}

TEST(WrongFiles, GatewayInWireMode_EverythingIsToldAtOnce) {
  LoadedGateway loaded = load_gateway_text("wire.yaml", content("wire.yaml"));
  EXPECT_FALSE(loaded.config);
  EXPECT_EQ(joined(loaded.diagnostics), content("wire.told"));
}

TEST(WrongFiles, GatewayInRouteMode_EverythingIsToldAtOnce) {
  LoadedGateway loaded = load_gateway_text("route.yaml", content("route.yaml"));
  EXPECT_FALSE(loaded.config);
  EXPECT_EQ(joined(loaded.diagnostics), content("route.told"));
}

}  // namespace
}  // namespace bulkhead
