#include "dataplane/fastpath/log.h"

#include <unistd.h>

namespace bulkhead {

void log_line(const std::string& text) {
  std::string line = "bulkhead-dataplane: " + text + "\n";
  // Nobody to tell when standard error is gone.
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;
}

}  // namespace bulkhead
