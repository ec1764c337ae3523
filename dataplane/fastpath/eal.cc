#include "dataplane/fastpath/eal.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <mutex>

#include "contract/host_lock.h"
#include "dataplane/fastpath/device.h"
#include "dataplane/fastpath/log.h"
#include "dataplane/fastpath/snapshot.h"

namespace bulkhead {
namespace {

constexpr auto kStartPatience = std::chrono::seconds(30);  // DPDK starts in one or two
constexpr size_t kHugepageBytes = size_t{2} << 20;
constexpr char kHugepagePool[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/";

uint64_t read_number(const std::string& path) {
  uint64_t value = 0;
  std::ifstream(path) >> value;
  return value;
}

uint64_t available_memory_bytes() {
  std::ifstream info("/proc/meminfo");
  for (std::string key, unit; info >> key;) {
    uint64_t value = 0;
    info >> value;
    std::getline(info, unit);
    if (key == "MemAvailable:") return value * 1024;
  }
  return 0;
}

/// Whether that many 2 MiB pages can be promised now. Asking takes a reservation and gives it back, it
/// touches no page. (munmap() wants whole pages, unlike mmap(): a part of one would leave the reservation in
/// place.)
bool hugepages_hold(size_t pages) {
  size_t bytes = pages * kHugepageBytes;
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT), -1, 0);
  if (at == MAP_FAILED) return false;
  munmap(at, bytes);
  return true;
}

/// Raises the kernel's pool until that many bytes are free in it; false where that can't be.
bool reserve_hugepages(size_t bytes) {
  size_t wanted = (bytes + kHugepageBytes - 1) / kHugepageBytes;
  if (hugepages_hold(wanted)) return true;
  std::string pool = kHugepagePool;
  uint64_t present = read_number(pool + "nr_hugepages");
  uint64_t free = read_number(pool + "free_hugepages") - read_number(pool + "resv_hugepages");
  uint64_t missing = wanted > free ? wanted - free : 1;
  // The kernel would take the last page of the machine for it, and then ordinary pages couldn't be had
  // either.
  if (available_memory_bytes() < 2 * missing * kHugepageBytes) return false;
  std::ofstream(pool + "nr_hugepages") << present + missing << std::flush;
  return hugepages_hold(wanted);
}

/// A lock between gateways that start at the same moment: each must find the hugepages that it reserved.
/// Where the lock can't be had at all (no root, a read-only /run) the start goes on without.
Expected<Fd> lock_hugepages() {
  auto lock = lock_host(HostLock::kHugepages, kStartPatience, [] {
    log_line(std::string("waiting for another gateway to start: it has ") + kHostLockFile + " locked");
  });
  if (!lock && lock.error().code != ErrorCode::kExists) return Fd();
  return lock;
}

std::string joined(const std::vector<unsigned>& numbers) {
  std::string text;
  for (unsigned number : numbers) text += (text.empty() ? "" : ",") + std::to_string(number);
  return text;
}

std::mutex log_lock;    // DPDK's own threads log as well
std::string collected;  // by the DpdkLog that is alive
bool collecting = false;

ssize_t write_log(void*, const char* text, size_t bytes) {
  std::lock_guard guard(log_lock);
  if (collecting) {
    collected.append(text, bytes);
  } else {
    std::fwrite(text, 1, bytes, stderr);
  }
  return static_cast<ssize_t>(bytes);
}

/// DPDK's log goes through us, and nowhere else (its own default is standard error and syslog both).
void take_over_log() {
  static FILE* stream = [] {
    FILE* opened =
        fopencookie(nullptr, "w", {.read = nullptr, .write = write_log, .seek = nullptr, .close = nullptr});
    if (opened != nullptr) setvbuf(opened, nullptr, _IOLBF, 0);
    return opened;
  }();
  if (stream != nullptr) rte_openlog_stream(stream);
}

}  // namespace

std::vector<unsigned> available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<unsigned> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

Expected<std::string> lcore_map(const std::vector<unsigned>& cores, const std::vector<unsigned>& available) {
  if (cores.empty()) return fail(ErrorCode::kInvalid, "cores: name at least one CPU");
  if (cores.size() > kMaxWorkers || cores.size() >= RTE_MAX_LCORE)
    return fail(ErrorCode::kInvalid, "cores: at most " + std::to_string(kMaxWorkers) + " workers");
  std::string workers;
  for (size_t i = 0; i < cores.size(); ++i) {
    if (!std::ranges::count(available, cores[i]))
      return fail(ErrorCode::kInvalid, "cores: this process can't run on CPU " + std::to_string(cores[i]) +
                                           "; it has " + joined(available));
    workers += "," + std::to_string(i + 1) + "@" + std::to_string(cores[i]);
  }
  std::vector<unsigned> rest;
  for (unsigned cpu : available)
    if (!std::ranges::count(cores, cpu)) rest.push_back(cpu);
  return "0@(" + joined(rest.empty() ? available : rest) + ")" + workers;
}

Expected<std::vector<std::string>> eal_arguments(const DataplaneSettings& settings,
                                                 const std::vector<unsigned>& available, bool hugepages) {
  auto lcores = lcore_map(settings.cores, available);
  if (!lcores) return std::unexpected(lcores.error());
  std::vector<std::string> arguments{
      "bulkhead-dataplane",
      "--lcores=" + *lcores,
      "--main-lcore=0",
      "--no-telemetry",
      "--log-level=*:warning",
      "--file-prefix=" + (settings.file_prefix.empty() ? settings.name : settings.file_prefix),
      "-m",
      std::to_string(settings.memory_mib)};
  if (hugepages) {
    arguments.push_back("--in-memory");
  } else {
    arguments.insert(arguments.end(),
                     {"--no-huge", "--no-shconf"});  // --in-memory and --no-huge exclude each other
  }
  std::vector<std::string> pci;
  for (const PortSetting& port : settings.ports) {
    auto device = parse_device(port.device);
    if (!device) return with_context(device.error(), "port '" + port.name + "'");
    if (auto allowed = pci_allow(*device)) pci.insert(pci.end(), {"-a", *allowed});
  }
  if (pci.empty()) {
    // Virtual devices alone: no device of the machine is looked at, and virtual addresses do everywhere.
    arguments.insert(arguments.end(), {"--no-pci", "--iova-mode=va"});
  } else {
    arguments.insert(arguments.end(), pci.begin(), pci.end());
  }
  return arguments;
}

Expected<> start_eal(const DataplaneSettings& settings) {
  auto lock = lock_hugepages();
  if (!lock) return with_context(lock.error(), "reserving hugepages");
  bool hugepages = reserve_hugepages(size_t{settings.memory_mib} << 20);
  if (!hugepages)
    log_line("warning: no " + std::to_string(settings.memory_mib) +
             " MiB of hugepages to be had; using ordinary pages, which is slower (sysctl vm.nr_hugepages, or "
             "a smaller memory_mib)");
  auto arguments = eal_arguments(settings, available_cpus(), hugepages);
  if (!arguments) return std::unexpected(arguments.error());
  std::vector<char*> argv;
  for (std::string& argument : *arguments) argv.push_back(argument.data());
  DpdkLog log;
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    std::string words = log.take_last_line();
    return fail(rte_errno == EACCES || rte_errno == EPERM ? ErrorCode::kPermission : ErrorCode::kSystem,
                std::string("DPDK didn't start: ") + rte_strerror(rte_errno) +
                    (words.empty() ? "" : " (" + words + ")"));
  }
  log.take_last_line();              // what it said on the way isn't news
  rmdir(rte_eal_get_runtime_dir());  // nothing is shared by files, so it is empty and stays so
  return {};
}

DpdkLog::DpdkLog() {
  take_over_log();
  std::lock_guard guard(log_lock);
  collected.clear();
  collecting = true;
}

DpdkLog::~DpdkLog() {
  std::lock_guard guard(log_lock);
  collecting = false;
  std::fwrite(collected.data(), 1, collected.size(), stderr);
  collected.clear();
}

std::string DpdkLog::take_last_line() {
  std::string all;
  {
    std::lock_guard guard(log_lock);
    all.swap(collected);
  }
  while (!all.empty() && all.back() == '\n') all.pop_back();
  std::string last = all.substr(all.rfind('\n') + 1);
  size_t prefix = last.find("(): ");
  return prefix == std::string::npos ? last : last.substr(prefix + 4);
}

}  // namespace bulkhead
