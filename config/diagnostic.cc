#include "config/diagnostic.h"

#include <algorithm>
#include <cstdio>

namespace bulkhead {

/// Appends `text` so that a terminal shows it and does nothing else: C0, DEL and C1 controls as \xNN.
static void append_printable(std::string& out, const std::string& text) {
  for (size_t i = 0; i < text.size(); ++i) {
    auto byte = static_cast<unsigned char>(text[i]);
    bool c1 = byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (byte >= 0x20 && byte != 0x7f && !c1) {
      out += text[i];
      continue;
    }
    if (c1) byte = static_cast<unsigned char>(text[++i]);
    char escaped[5];
    std::snprintf(escaped, sizeof escaped, "\\x%02x", byte);
    out += escaped;
  }
}

std::string to_string(const Diagnostic& diagnostic) {
  std::string out;
  append_printable(out, diagnostic.where.file);
  if (diagnostic.where.line != 0) out += ":" + std::to_string(diagnostic.where.line);
  if (diagnostic.where.line != 0 && diagnostic.where.column != 0)
    out += ":" + std::to_string(diagnostic.where.column);
  out += diagnostic.severity == Severity::kError ? ": error: " : ": warning: ";
  append_printable(out, diagnostic.message);
  return out;
}

bool has_errors(const Diagnostics& diagnostics) {
  return std::ranges::any_of(diagnostics, [](const Diagnostic& d) { return d.severity == Severity::kError; });
}

}  // namespace bulkhead
