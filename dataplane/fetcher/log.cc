#include "dataplane/fetcher/log.h"

#include <unistd.h>

namespace bulkhead {

void log_fetcher(const std::string& text) {
  std::string line = "bulkhead-svid-fetcher: " + text + "\n";
  // Nobody to tell when standard error is gone.
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;
}

}  // namespace bulkhead
