// A scenario file taken apart into statements.
#pragma once

#include <string>
#include <vector>

namespace bulkhead::test {

/// One statement: a line that begins at the margin, without its comment, joined with a "=>" line below it.
struct Statement {
  int line;  ///< from 1
  std::string text;
  std::string block;  ///< the indented lines below, as they stand, for `gateway` and `policy`
};

/// Errors: throws std::runtime_error where the file can't be read.
std::vector<Statement> read_statements(const std::string& path);

/// `text` with every {N+i} replaced by N + i, for statements that are repeated.
std::string numbered(const std::string& text, uint64_t i);

}  // namespace bulkhead::test
