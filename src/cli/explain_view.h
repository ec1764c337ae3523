// An explanation as people and programs read it, wherever it comes from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/console.h"
#include "cli/json.h"
#include "controlplane/compiler/explain.h"

namespace bulkhead {

/// What `explain` shows, in words: made from a compiled policy here, or sent by the running gateway.
struct ExplainView {
  struct End {
    std::string address, segment, source, binding, workload, spiffe;
    uint32_t tag = 0;
  };
  struct Lost {
    std::string rule, tier, why;
  };
  std::string verdict, reason, rule, rule_file, tier, mtls;
  uint32_t rule_line = 0;
  bool reject = false;
  std::vector<std::string> sni;  ///< mtls end_to_end: the server names that pass; empty: any
  std::string until;             ///< RFC 3339; empty: no deadline
  End source, destination;
  std::string service;
  std::vector<Lost> lost;
  uint64_t generation = 1;
};

ExplainView view_of(const Explanation& explanation);
/// As docs/cli.md gives it: the keys in their order.
Json to_json(const ExplainView& view);
/// A few lines for a person; `indent` blanks before each.
std::string to_text(const ExplainView& view, const Screen& screen, size_t indent = 0);

}  // namespace bulkhead
