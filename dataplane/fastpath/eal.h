// DPDK's environment: hugepages, CPUs, and what its libraries and drivers have to say.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "contract/settings.h"

namespace bulkhead {

/// The CPUs that the process may run on, ascending.
std::vector<unsigned> available_cpus();

/// Where EAL's threads run: `--lcores` with lcore 0 for the main thread and lcore 1 + i for worker i. The
/// main thread gets the CPUs that no worker has; where there are none it shares them all. Errors: kInvalid
/// for a worker's CPU that isn't available, and for no or too many workers.
Expected<std::string> lcore_map(const std::vector<unsigned>& cores, const std::vector<unsigned>& available);

/// EAL's command line. `hugepages`: whether memory_mib are to be had in hugepages. Nothing is left on disk
/// either way, so no leftover of a killed gateway can stand in the way of the next.
Expected<std::vector<std::string>> eal_arguments(const DataplaneSettings& settings,
                                                 const std::vector<unsigned>& available, bool hugepages);

/// Starts EAL: reserves the hugepages that are missing (nr_hugepages is raised, never lowered), and takes
/// ordinary pages with a warning where there aren't enough. Once in a process's life. The calling thread
/// becomes lcore 0. Errors: kInvalid (CPUs), kExhausted (memory), kPermission, kSystem; with DPDK's own words
/// where it has any.
Expected<> start_eal(const DataplaneSettings& settings);

/// Collects what DPDK logs while it lives, instead of standard error: its words become part of our own
/// messages. Thread: the main thread, one at a time.
class DpdkLog {
 public:
  DpdkLog();
  ~DpdkLog();  ///< what nobody took goes to standard error
  /// The last line logged, without DPDK's prefix of function and colon; empty if none. Takes all of it.
  std::string take_last_line();
};

}  // namespace bulkhead
