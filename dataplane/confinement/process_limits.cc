#include "dataplane/confinement/process_limits.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/fd.h"

namespace bulkhead {

namespace {

/// Of each right on files that the kernel can withhold all are withheld; the header may know fewer than the
/// kernel.
uint64_t all_file_rights(int abi) {
  constexpr std::array<int, 6> kRightsUpTo{0, 13, 14, 15, 15, 16};  // landlock(7), by ABI version
  size_t known = std::min(static_cast<size_t>(abi), kRightsUpTo.size() - 1);
  return (uint64_t{1} << kRightsUpTo[known]) - 1;
}

Expected<> allow_reading(const Fd& ruleset, const std::string& path) {
  Fd directory(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return fail_errno(errno, "SVID directory " + path);
  landlock_path_beneath_attr beneath{};
  beneath.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
  beneath.parent_fd = directory.get();
  if (syscall(SYS_landlock_add_rule, ruleset.get(), LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) != 0)
    return fail_errno(errno, "Landlock");
  return {};
}

}  // namespace

Expected<> limit_process() {
  rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) return fail_errno(errno, "forbidding core dumps");
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
    return fail_errno(errno, "keeping others out of this process's memory");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno(errno, "no_new_privs");
  return {};
}

Expected<> limit_files(const std::string& readable) {
  int abi =
      static_cast<int>(syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION));
  if (abi < 1)
    return fail(ErrorCode::kSystem,
                "this kernel has no Landlock, which keeps this process from files: "
                "use one of 5.13 or later with `landlock` in its lsm= list");
  landlock_ruleset_attr rights{};
  rights.handled_access_fs = all_file_rights(abi);
  Fd ruleset(
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &rights, sizeof rights.handled_access_fs, 0)));
  if (!ruleset) return fail_errno(errno, "Landlock");
  if (!readable.empty())
    if (auto allowed = allow_reading(ruleset, readable); !allowed) return allowed;
  if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) return fail_errno(errno, "Landlock");
  return {};
}

Expected<> limit_capabilities(uint32_t kept) {
  for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability)
    prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);  // nothing is executed any more, either
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> sets{};
  sets[0].permitted = sets[0].effective = kept;
  if (syscall(SYS_capset, &header, sets.data()) != 0) return fail_errno(errno, "dropping capabilities");
  return {};
}

bool is_refused(const char* what, const std::function<long()>& attempt) {
  errno = 0;
  bool refused = attempt() < 0 && (errno == EPERM || errno == EACCES || errno == ENOSYS);
  std::printf("%s: %s\n", what, refused ? std::strerror(errno) : "NOT REFUSED");
  return refused;
}

}  // namespace bulkhead
