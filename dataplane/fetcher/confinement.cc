#include "dataplane/fetcher/confinement.h"

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <initializer_list>
#include <memory>

#include "dataplane/confinement/process_limits.h"

namespace bulkhead {

namespace {

// In groups: connections; events and time; memory and threads; the end.
constexpr int kAllowed[] = {
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(shutdown),
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(recvfrom),
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
    SCMP_SYS(memfd_create),
    SCMP_SYS(ftruncate),
    SCMP_SYS(pwrite64),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getrandom),
    SCMP_SYS(uname),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/// fcntl() could have the kernel send signals, too.
constexpr scmp_datum_t kFileCommands[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS, F_GET_SEALS};

scmp_arg_cmp is(unsigned argument, scmp_datum_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}
/// None of its bits that `mask` has is set.
scmp_arg_cmp lacks(unsigned argument, scmp_datum_t mask) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, 0};
}
scmp_datum_t address_of(const void* at) {
  return reinterpret_cast<scmp_datum_t>(at);
}

/// Rules about arguments, until one fails.
struct ArgumentRules {
  scmp_filter_ctx filter;
  int failed = 0;  ///< an error number below 0

  void allow(int call, std::initializer_list<scmp_arg_cmp> when) {
    if (failed == 0)
      failed = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, static_cast<unsigned>(when.size()),
                                      when.begin());
  }
};

void allow_connecting(ArgumentRules& rules, const Destinations& destinations) {
  constexpr scmp_datum_t kKind = ~static_cast<scmp_datum_t>(SOCK_NONBLOCK | SOCK_CLOEXEC);
  for (scmp_datum_t kind : {SOCK_STREAM, SOCK_SEQPACKET})
    rules.allow(SCMP_SYS(socket), {is(0, AF_UNIX), {1, SCMP_CMP_MASKED_EQ, kKind, kind}});
  for (const sockaddr_un* to : {&destinations.agent, &destinations.relay})
    rules.allow(SCMP_SYS(connect), {is(1, address_of(to)), is(2, sizeof *to)});
}

/// All but what is executable, or touches the page of the destinations.
void allow_memory(ArgumentRules& rules, const Destinations& destinations) {
  scmp_arg_cmp is_above{0, SCMP_CMP_GE, address_of(&destinations) + kDestinationsBytes, 0};
  rules.allow(SCMP_SYS(mmap), {lacks(2, PROT_EXEC), lacks(3, MAP_FIXED)});
  rules.allow(SCMP_SYS(mprotect), {is_above, lacks(2, PROT_EXEC)});
  rules.allow(SCMP_SYS(mremap), {is_above, lacks(3, MREMAP_FIXED)});
  rules.allow(SCMP_SYS(munmap), {is_above});
  rules.allow(SCMP_SYS(madvise), {is_above});
}

/// Output: 0, or an error number below 0.
int allow_by_argument(scmp_filter_ctx filter, const Destinations& destinations) {
  ArgumentRules rules{filter};
  allow_connecting(rules, destinations);
  allow_memory(rules, destinations);
  for (scmp_datum_t command : kFileCommands) rules.allow(SCMP_SYS(fcntl), {is(1, command)});
  rules.allow(SCMP_SYS(clone), {{0, SCMP_CMP_MASKED_EQ, CLONE_THREAD | CLONE_NEWUSER, CLONE_THREAD}});
  rules.allow(SCMP_SYS(prctl), {is(0, PR_SET_NAME)});
  rules.allow(SCMP_SYS(prlimit64), {is(0, 0), is(2, 0)});
  rules.allow(SCMP_SYS(tgkill), {is(0, static_cast<scmp_datum_t>(getpid()))});
  // Its flags lie in memory, where no filter sees them: the C library takes clone() instead.
  if (rules.failed == 0) rules.failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  return rules.failed;
}

Expected<> limit_system_calls(const Destinations& destinations) {
  std::unique_ptr<void, decltype(&seccomp_release)> filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)),
                                                           seccomp_release);
  if (!filter) return fail(ErrorCode::kExhausted, "seccomp");
  int failed = 0;
  for (int call : kAllowed)
    if (failed == 0) failed = seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, 0);
  if (failed == 0) failed = allow_by_argument(filter.get(), destinations);
  if (failed == 0) failed = seccomp_load(filter.get());
  return failed == 0 ? Expected<>{} : fail_errno(-failed, "seccomp");
}

/// As connect_to(), with a copy of the address.
long connect_elsewhere(sockaddr_un address, int type) {
  Fd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd) return 0;  // not what is tried here
  return connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

}  // namespace

Expected<> confine_fetcher(const Destinations& destinations) {
  if (auto limited = limit_process(); !limited) return limited;
  if (auto limited = limit_files({}); !limited) return limited;
  if (auto limited = limit_capabilities(0); !limited) return limited;
  return limit_system_calls(destinations);
}

bool check_fetcher_confinement(const Destinations& destinations) {
  char* const arguments[] = {const_cast<char*>("true"), nullptr};
  void* page = const_cast<Destinations*>(&destinations);
  bool all = true;
  auto refused = [&all](const char* what, const std::function<long()>& attempt) {
    all = is_refused(what, attempt) && all;
  };
  refused("open /etc/passwd", [] { return open("/etc/passwd", O_RDONLY | O_CLOEXEC); });
  refused("make a file", [] { return open("/tmp/.fetcher-check", O_CREAT | O_WRONLY | O_CLOEXEC, 0600); });
  refused("connect elsewhere", [&] { return connect_elsewhere(destinations.relay, SOCK_SEQPACKET); });
  refused("write the addresses", [&] { return mprotect(page, 1, PROT_READ | PROT_WRITE); });
  refused("write what begins below them",
          [] { return mprotect(nullptr, size_t{1} << 30, PROT_READ | PROT_WRITE); });
  refused("unmap the addresses", [&] { return munmap(page, kDestinationsBytes); });
  refused("empty the addresses", [&] { return madvise(page, kDestinationsBytes, MADV_DONTNEED); });
  refused("map over the addresses", [&] {
    void* at = mmap(page, kDestinationsBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return at == MAP_FAILED ? -1L : 0L;
  });
  refused("listen", [] { return syscall(SYS_listen, 0, 1); });
  refused("bind", [] { return syscall(SYS_bind, 0, nullptr, 0); });
  refused("datagram socket", [] { return socket(AF_UNIX, SOCK_DGRAM, 0); });
  refused("TCP socket", [] { return socket(AF_INET, SOCK_STREAM, 0); });
  refused("netlink socket", [] { return socket(AF_NETLINK, SOCK_RAW, 0); });
  refused("execve", [&] { return execve("/bin/true", arguments, nullptr); });
  refused("fork", [] { return syscall(SYS_fork); });
  refused("clone into a new process", [] { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); });
  refused("kill", [] { return syscall(SYS_kill, getppid(), 0); });
  refused("signal another process", [] { return syscall(SYS_tgkill, 1, 1, 0); });
  refused("have the kernel signal another", [] { return fcntl(0, F_SETOWN, 1); });
  refused("limit another process", [] { return syscall(SYS_prlimit64, 1, 0, nullptr, nullptr); });
  refused("process_vm_readv", [] { return syscall(SYS_process_vm_readv, 1, nullptr, 0, nullptr, 0, 0); });
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
