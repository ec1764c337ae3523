// Starts a gateway's processes, prefixes what they say, restarts those that die, and stops them in order.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "contract/memfd.h"

namespace bulkhead {

/// A program to keep running.
struct ChildProgram {
  std::string name;                    ///< before its lines: "dataplane"
  std::vector<std::string> arguments;  ///< [0]: the executable's path
  std::vector<int> inherited_fds;      ///< kept open in it, under the same numbers
  bool gets_hangup = false;            ///< SIGHUP is passed on to it
  std::function<bool()>
      may_start;  ///< asked before its first start, until it says yes or kPatience is over; empty: at once
  int stop_signal = SIGTERM;  ///< what ends it when everything is stopped
  uid_t user = 0;             ///< that it runs as; 0: this process's
  gid_t group = 0;
};

/// Where lines and events go. `from`: the child's name, or empty for the supervisor's own words.
using LineSink = std::function<void(const std::string& from, const std::string& line)>;

/// Runs the programs until SIGTERM or SIGINT, then stops them, the last one first. A program that dies is
/// started again after 100 ms, doubled each time up to 5 s; one that dies within kEarly of its very first
/// start ends everything. Errors: kSystem, kInvalid for a program that couldn't be started or died early,
/// saying how. Thread: the process's only one. SIGTERM, SIGINT, SIGHUP and SIGCHLD are the supervisor's while
/// it runs.
Expected<void> supervise(const std::vector<ChildProgram>& programs, const LineSink& sink);

}  // namespace bulkhead
