// Loading from text, with what was told as lines to compare.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "config/gateway.h"
#include "config/policy.h"

namespace bulkhead {

inline constexpr WallTime kNow{1'800'000'000'000'000'000};  // 2027-01-15T08:00:00Z

inline std::vector<std::string> told(const Diagnostics& diagnostics) {
  std::vector<std::string> lines;
  for (const Diagnostic& d : diagnostics) lines.push_back(to_string(d));
  return lines;
}

inline std::vector<std::string> policy_errors(const std::string& text) {
  LoadedPolicy loaded = load_policy_text({{"p.yaml", text}}, kNow);
  EXPECT_EQ(loaded.policy.has_value(), !has_errors(loaded.diagnostics));
  return told(loaded.diagnostics);
}

/// Matches one line of output: where it is, and words of the message.
MATCHER_P2(IsAt, where, words, "") {
  return arg.starts_with(std::string(where) + ": ") && arg.find(words) != std::string::npos;
}

}  // namespace bulkhead
