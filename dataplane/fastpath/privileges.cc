#include "dataplane/fastpath/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <rte_alarm.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <string>
#include <thread>

namespace bulkhead {
namespace {

constexpr uint64_t bit(int capability) {
  return uint64_t{1} << capability;
}
constexpr uint64_t kReserve = bit(CAP_NET_ADMIN) | bit(CAP_NET_RAW) | bit(CAP_BPF) | bit(CAP_PERFMON) |
                              bit(CAP_SYS_ADMIN) | bit(CAP_IPC_LOCK);

/// Leaves the calling thread `reserve` of what it may have, and `effective` of that in effect. The kernel
/// keeps capabilities by thread. Output: 0 or an error number.
int limit_this_thread(uint64_t reserve, uint64_t effective) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> sets{};
  if (syscall(SYS_capget, &header, sets.data()) != 0) return errno;
  for (size_t half = 0; half < sets.size(); ++half) {
    sets[half].permitted &= static_cast<uint32_t>(reserve >> (32 * half));
    sets[half].effective = sets[half].permitted & static_cast<uint32_t>(effective >> (32 * half));
    sets[half].inheritable = 0;
  }
  return syscall(SYS_capset, &header, sets.data()) != 0 ? errno : 0;
}

std::atomic<int> interrupt_thread_result{-1};

void limit_interrupt_thread(void*) {
  interrupt_thread_result.store(limit_this_thread(0, 0));
}

/// EAL's own thread, which was made with all that we had, runs alarms.
Expected<> limit_eal() {
  if (int status = rte_eal_alarm_set(1, limit_interrupt_thread, nullptr); status != 0)
    return fail_errno(-status, "asking DPDK's thread to drop its capabilities");
  for (int tries = 0; tries < 1000 && interrupt_thread_result.load() < 0; ++tries)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  int result = interrupt_thread_result.load();
  if (result < 0) return fail(ErrorCode::kSystem, "DPDK's thread doesn't answer");
  if (result > 0) return fail_errno(result, "dropping capabilities of DPDK's thread");
  return {};
}

}  // namespace

Expected<> forbid_new_privileges() {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno(errno, "no_new_privs");
  for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability)
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EPERM)  // EPERM: not started as root
      return fail_errno(errno, "limiting what a program started from here may have");
  return {};
}

Expected<> become(uid_t user) {
  pid_t parent = getppid();
  int parent_death_signal = 0;  // the kernel forgets it where the user changes (prctl(2))
  if (prctl(PR_GET_PDEATHSIG, &parent_death_signal) != 0) return fail_errno(errno, "PR_GET_PDEATHSIG");
  // The C library changes all threads. The group is nobody's whoever the user is.
  std::string whom = " to become user " + std::to_string(user);
  if (setgroups(0, nullptr) != 0) return fail_errno(errno, "giving up groups" + whom);
  if (setresgid(kNobody, kNobody, kNobody) != 0)
    return fail_errno(errno, "becoming group " + std::to_string(kNobody) + whom);
  if (setresuid(user, user, user) != 0) return fail_errno(errno, "becoming user " + std::to_string(user));
  if (prctl(PR_SET_PDEATHSIG, parent_death_signal) != 0) return fail_errno(errno, "PR_SET_PDEATHSIG");
  if (getppid() != parent) return fail(ErrorCode::kUnavailable, "who started this program is gone");
  return {};
}

Expected<> forbid_inspection() {
  if (prctl(PR_SET_DUMPABLE, 0) != 0) return fail_errno(errno, "keeping others out of this process's memory");
  return {};
}

Expected<> drop_privileges(bool keep_reserve) {
  if (auto limited = limit_eal(); !limited) return limited;
  if (int failed = limit_this_thread(keep_reserve ? kReserve : 0, 0); failed != 0)
    return fail_errno(failed, "dropping capabilities");
  return {};
}

Expected<> drop_all_privileges() {
  if (int failed = limit_this_thread(0, 0); failed != 0)
    return fail_errno(failed, "dropping a worker's capabilities");
  return {};
}

// What doesn't work here shows in what is tried next, with a message of its own.
RaisedPrivileges::RaisedPrivileges() {
  limit_this_thread(kReserve, kReserve);
}
RaisedPrivileges::~RaisedPrivileges() {
  limit_this_thread(kReserve, 0);
}

}  // namespace bulkhead
