#include <fstream>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "contract/relay_end.h"

namespace bulkhead {
namespace {

TEST(RelayDocs, EveryEndHasItsLine) {
  std::ifstream in(std::string(BULKHEAD_DOCS) + "/relay.md");
  std::stringstream text;
  text << in.rdbuf();
  for (size_t i = 0; i < kRelayEndCount; ++i) {
    auto end = static_cast<RelayEnd>(i);
    std::string line = "| `" + std::string(name_of(end)) + "` | " + std::string(help_of(end)) + " |";
    EXPECT_NE(text.str().find(line), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace bulkhead
