// The fetcher's log: lines on standard error. Never key material, and what the agent says only as printable
// text.
#pragma once

#include <string>

namespace bulkhead {

/// Writes "bulkhead-svid-fetcher: text" as one line, in one write. Thread: any.
void log_fetcher(const std::string& text);

}  // namespace bulkhead
