#include "dataplane/relay/log.h"

#include <unistd.h>

#include <mutex>

#include "base/clock.h"

namespace bulkhead {

namespace {

std::mutex mutex;
int64_t second = -1;
int lines_this_second = 0;
uint64_t left_out = 0;

/// How many lines were left out before this one; nothing where it is left out, too.
bool may_write(uint64_t& left_out_before) {
  std::lock_guard lock(mutex);
  int64_t now = boot_now().ns / 1'000'000'000;
  if (now != second) second = now, lines_this_second = 0;
  if (++lines_this_second > kLinesPerSecond) {
    ++left_out;
    return false;
  }
  left_out_before = left_out;
  left_out = 0;
  return true;
}

}  // namespace

void log_line(const std::string& text) {
  uint64_t before = 0;
  if (!may_write(before)) return;
  std::string line = "bulkhead-relay: " + text;
  if (before != 0) line += " (" + std::to_string(before) + " lines before it were left out)";
  line += "\n";
  // Nobody to tell when standard error is gone.
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;
}

}  // namespace bulkhead
