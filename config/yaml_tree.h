// A YAML document of the strict subset as a tree with places, for the readers of configuration and policy.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/yaml_subset.h"

namespace bulkhead::yaml {

enum class Kind : uint8_t { kNull, kScalar, kSequence, kMapping };

/// A value. A mapping's items are key, value, key, value, ...; its keys are scalars.
struct Node {
  Kind kind = Kind::kNull;
  bool quoted = false;  ///< a scalar in quotes: text, never a number or truth value
  Mark mark;            ///< where it starts
  std::string text;     ///< a scalar's, without quotes
  std::vector<Node> items;

  bool is_scalar() const { return kind == Kind::kScalar; }
  size_t entries() const { return items.size() / 2; }
  const Node& key(size_t entry) const { return items[2 * entry]; }
  const Node& value(size_t entry) const { return items[2 * entry + 1]; }
  /// The value of that key, or null.
  const Node* find(std::string_view key) const;
};

struct Document {
  Node root;                      ///< kNull where the file is empty or broken
  std::vector<Problem> problems;  ///< empty where the text is of the subset
  bool no_memory = false;         ///< that is the problem, and the text may be as it should
};

/// Parses a file's text. Errors are among the problems; no exception leaves. Duplicate keys are problems that
/// leave the rest usable: the first value stays. Cost: linear; memory bounded by kMaxFileBytes, nesting by
/// kMaxDepth.
Document parse(std::string_view text);

}  // namespace bulkhead::yaml
