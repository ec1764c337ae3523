// The dataplane's own log: lines on standard error, for a person or the journal. Never from a worker's loop.
#pragma once

#include <string>

namespace bulkhead {

/// Writes "bulkhead-dataplane: text" as one line, in one write. Thread: any but workers.
void log_line(const std::string& text);

}  // namespace bulkhead
