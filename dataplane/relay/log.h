// The relay's own log: lines on standard error, for a person or the journal, at most kLinesPerSecond. Never
// key material, and what a peer chose only as printable text.
#pragma once

#include <string>

namespace bulkhead {

inline constexpr int kLinesPerSecond = 20;

/// Writes "bulkhead-relay: text" as one line, in one write; or counts it, where too many came in this second.
/// What was left out is said with the next line that is written. Thread: any.
void log_line(const std::string& text);

}  // namespace bulkhead
