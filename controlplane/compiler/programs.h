// From coverages to the image's programs: disjoint intervals of services, each with the rules that can decide
// it.
#pragma once

#include <vector>

#include "base/error.h"
#include "controlplane/compiler/coverage.h"
#include "policy/image.h"

namespace bulkhead {

/// A pair of selectors and its program, of Programs::programs.
struct PairProgram {
  uint32_t source_selector;
  uint32_t destination_selector;
  uint32_t program;
};

struct Programs {
  std::vector<PairProgram> pairs;  ///< by (source, destination)
  std::vector<ProgramRecord> programs;
  std::vector<IntervalRecord> intervals;
  std::vector<EntryRecord> entries;
};

/// Input:  coverages as cover() sorts them; `rule_entries`: each rule's entry, by RuleIndex.
/// Output: equal programs and equal lists of entries stand once. Rules that can never change a pair's
/// decision are left out of it. Errors: kExhausted when so many rules overlap that the entries pass the
/// format's bound.
Expected<Programs> make_programs(const std::vector<Coverage>& coverages,
                                 const std::vector<EntryRecord>& rule_entries);

}  // namespace bulkhead
