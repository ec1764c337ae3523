// What is wrong with a file, where, and what to write instead.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bulkhead {

/// A place in a file; line and column count from 1. Line 0: the file as a whole.
struct Location {
  std::string file;
  uint32_t line = 0;
  uint32_t column = 0;
};

enum class Severity : uint8_t { kError, kWarning };

struct Diagnostic {
  Severity severity;
  Location where;
  std::string message;
};
using Diagnostics = std::vector<Diagnostic>;

/// `FILE:LINE:COLUMN: error: message`, printable().
std::string to_string(const Diagnostic& diagnostic);
bool has_errors(const Diagnostics& diagnostics);

}  // namespace bulkhead
