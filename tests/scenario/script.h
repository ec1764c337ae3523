// A scenario's text, run line by line. The language: README.md.
#pragma once

#include <string>

namespace bulkhead::test {

/// Runs a scenario file with that many workers; `chained`: frames arrive in chains of buffers. What differs
/// from what it says is a failure of the current test, with file and line.
void run_scenario(const std::string& path, unsigned workers, bool chained = false);

}  // namespace bulkhead::test
