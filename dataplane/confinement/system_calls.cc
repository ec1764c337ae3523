#include "dataplane/confinement/system_calls.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>

namespace bulkhead {

namespace {

// In groups: connections; events and time; memory and threads; the end.
constexpr int kAlways[] = {
    SCMP_SYS(getsockname),   SCMP_SYS(getpeername),     SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),    SCMP_SYS(shutdown),        SCMP_SYS(read),
    SCMP_SYS(write),         SCMP_SYS(recvfrom),        SCMP_SYS(recvmsg),
    SCMP_SYS(sendmsg),       SCMP_SYS(close),           SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),     SCMP_SYS(epoll_wait),      SCMP_SYS(epoll_pwait),
    SCMP_SYS(poll),          SCMP_SYS(ppoll),           SCMP_SYS(eventfd2),
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),  SCMP_SYS(fstat),           SCMP_SYS(newfstatat),
    SCMP_SYS(brk),           SCMP_SYS(futex),           SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),          SCMP_SYS(sched_yield),     SCMP_SYS(sched_getaffinity),
    SCMP_SYS(gettid),        SCMP_SYS(getpid),          SCMP_SYS(geteuid),
    SCMP_SYS(getrandom),     SCMP_SYS(rt_sigprocmask),  SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigreturn),  SCMP_SYS(sigaltstack),     SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),          SCMP_SYS(exit_group),
};

/// fcntl() could have the kernel send signals, too.
constexpr scmp_datum_t kFileCommands[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GET_SEALS};

}  // namespace

SystemCallFilter::SystemCallFilter() : filter_(seccomp_init(SCMP_ACT_ERRNO(EPERM)), seccomp_release) {
  if (!filter_) failed_ = -ENOMEM;
  for (int call : kAlways) allow(call);
  for (scmp_datum_t command : kFileCommands) allow(SCMP_SYS(fcntl), {is(1, command)});
  allow(SCMP_SYS(clone), {has(0, CLONE_THREAD | CLONE_NEWUSER, CLONE_THREAD)});
  allow(SCMP_SYS(prctl), {is(0, PR_SET_NAME)});
  // Other processes of the same user have keys, too.
  allow(SCMP_SYS(prlimit64), {is(0, 0), is(2, 0)});
  allow(SCMP_SYS(tgkill), {is(0, static_cast<scmp_datum_t>(getpid()))});
  // Its flags lie in memory, where no filter sees them: the C library takes clone() instead.
  if (failed_ == 0) failed_ = seccomp_rule_add(filter_.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

void SystemCallFilter::allow(int call) {
  allow(call, {});
}

void SystemCallFilter::allow(int call, std::initializer_list<scmp_arg_cmp> when) {
  if (failed_ == 0)
    failed_ = seccomp_rule_add_array(filter_.get(), SCMP_ACT_ALLOW, call, static_cast<unsigned>(when.size()),
                                     when.begin());
}

Expected<> SystemCallFilter::load() {
  if (failed_ == 0) failed_ = seccomp_load(filter_.get());
  if (failed_ != 0) return fail_errno(-failed_, "seccomp");
  return {};
}

}  // namespace bulkhead
