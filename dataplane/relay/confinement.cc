#include "dataplane/relay/confinement.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <memory>

#include "dataplane/confinement/process_limits.h"

namespace bulkhead {

namespace {

constexpr uint32_t kKeptCapabilities = uint32_t{1} << CAP_NET_ADMIN;

// In groups: connections; events and time; files under the directory; memory and threads; the end.
constexpr int kAllowed[] = {
    SCMP_SYS(accept4),
    SCMP_SYS(bind),
    SCMP_SYS(connect),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(shutdown),
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendto),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmsg),
    SCMP_SYS(close),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(eventfd2),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(openat),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(lseek),
    SCMP_SYS(pread64),
    SCMP_SYS(getdents64),
    SCMP_SYS(inotify_add_watch),
    SCMP_SYS(inotify_rm_watch),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getuid),
    SCMP_SYS(getrandom),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(getrlimit),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/// fcntl() could have the kernel send signals, too.
constexpr scmp_datum_t kFileCommands[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_GET_SEALS};

scmp_arg_cmp is(unsigned argument, scmp_datum_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}
/// Of its bits that `mask` has, exactly those of `value` are set.
scmp_arg_cmp has(unsigned argument, scmp_datum_t mask, scmp_datum_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}

/// Those of which only some arguments are harmless. Output: 0, or an error number below 0.
int allow_by_argument(scmp_filter_ctx filter) {
  int failed = 0;
  auto allow = [&](int call, std::initializer_list<scmp_arg_cmp> when) {
    if (failed == 0)
      failed = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, static_cast<unsigned>(when.size()),
                                      when.begin());
  };
  constexpr scmp_datum_t kKind = ~static_cast<scmp_datum_t>(SOCK_NONBLOCK | SOCK_CLOEXEC);
  for (scmp_datum_t family : {AF_INET, AF_INET6})
    allow(SCMP_SYS(socket), {is(0, family), has(1, kKind, SOCK_STREAM)});
  allow(SCMP_SYS(mmap), {has(2, PROT_EXEC, 0)});
  allow(SCMP_SYS(mprotect), {has(2, PROT_EXEC, 0)});
  allow(SCMP_SYS(clone), {has(0, CLONE_THREAD | CLONE_NEWUSER, CLONE_THREAD)});
  allow(SCMP_SYS(prctl), {is(0, PR_SET_NAME)});
  for (scmp_datum_t command : kFileCommands) allow(SCMP_SYS(fcntl), {is(1, command)});
  // The fetcher is a process of the same user.
  allow(SCMP_SYS(prlimit64), {is(0, 0), is(2, 0)});
  allow(SCMP_SYS(tgkill), {is(0, static_cast<scmp_datum_t>(getpid()))});
  // Its flags lie in memory, where no filter sees them: the C library takes clone() instead.
  if (failed == 0) failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  return failed;
}

Expected<> limit_system_calls() {
  std::unique_ptr<void, decltype(&seccomp_release)> filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)),
                                                           seccomp_release);
  if (!filter) return fail(ErrorCode::kExhausted, "seccomp");
  for (int call : kAllowed)
    if (int failed = seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, 0); failed != 0)
      return fail_errno(-failed, "seccomp");
  if (int failed = allow_by_argument(filter.get()); failed != 0) return fail_errno(-failed, "seccomp");
  if (int failed = seccomp_load(filter.get()); failed != 0) return fail_errno(-failed, "seccomp");
  return {};
}

}  // namespace

Expected<> confine(const std::string& readable) {
  if (auto limited = limit_process(); !limited) return limited;
  if (auto limited = limit_files(readable); !limited) return limited;
  if (auto limited = limit_capabilities(kKeptCapabilities); !limited) return limited;
  return limit_system_calls();
}

bool check_confinement(const std::string& readable) {
  char* const arguments[] = {const_cast<char*>("true"), nullptr};
  std::string inside = (readable.empty() ? "/tmp" : readable) + "/.relay-check";
  bool all = true;
  auto refused = [&all](const char* what, const std::function<long()>& attempt) {
    all = is_refused(what, attempt) && all;
  };
  refused("open /etc/passwd", [] { return open("/etc/passwd", O_RDONLY | O_CLOEXEC); });
  refused("open /proc/self/mem", [] { return open("/proc/self/mem", O_RDWR | O_CLOEXEC); });
  refused("make a file", [&] { return open(inside.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600); });
  refused("execve", [&] { return execve("/bin/true", arguments, nullptr); });
  refused("fork", [] { return syscall(SYS_fork); });
  refused("clone into a new process", [] { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); });
  refused("ptrace", [] { return ptrace(PTRACE_SEIZE, getpid(), nullptr, nullptr); });
  refused("process_vm_readv",
          [] { return syscall(SYS_process_vm_readv, getpid(), nullptr, 0, nullptr, 0, 0); });
  refused("kill", [] { return syscall(SYS_kill, 1, 0); });
  refused("signal another process", [] { return syscall(SYS_tgkill, 1, 1, 0); });
  refused("have the kernel signal another", [] { return fcntl(0, F_SETOWN, 1); });
  refused("limit another process", [] { return syscall(SYS_prlimit64, 1, 0, nullptr, nullptr); });
  refused("packet socket", [] { return socket(AF_PACKET, SOCK_RAW, 0); });
  refused("raw socket", [] { return socket(AF_INET, SOCK_RAW, IPPROTO_TCP); });
  refused("datagram socket", [] { return socket(AF_INET, SOCK_DGRAM, 0); });
  refused("unix socket", [] { return socket(AF_UNIX, SOCK_STREAM, 0); });
  refused("netlink socket", [] { return socket(AF_NETLINK, SOCK_RAW, 0); });
  refused("new namespace", [] { return unshare(CLONE_NEWUSER); });
  refused("executable memory", [] {
    void* at = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? -1L : 0L;
  });
  refused("bpf", [] { return syscall(SYS_bpf, 0, nullptr, 0); });
  refused("io_uring", [] { return syscall(SYS_io_uring_setup, 1, nullptr); });
  return all;
}

}  // namespace bulkhead
