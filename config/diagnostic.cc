#include "config/diagnostic.h"

#include <algorithm>

#include "base/printable.h"

namespace bulkhead {

std::string to_string(const Diagnostic& diagnostic) {
  std::string out = printable(diagnostic.where.file);
  if (diagnostic.where.line != 0) out += ":" + std::to_string(diagnostic.where.line);
  if (diagnostic.where.line != 0 && diagnostic.where.column != 0)
    out += ":" + std::to_string(diagnostic.where.column);
  out += diagnostic.severity == Severity::kError ? ": error: " : ": warning: ";
  return out + printable(diagnostic.message);
}

bool has_errors(const Diagnostics& diagnostics) {
  return std::ranges::any_of(diagnostics, [](const Diagnostic& d) { return d.severity == Severity::kError; });
}

}  // namespace bulkhead
