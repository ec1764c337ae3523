#include "dataplane/relay/confinement.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>

#include "dataplane/confinement/process_limits.h"
#include "dataplane/confinement/system_calls.h"

namespace bulkhead {

namespace {

constexpr uint32_t kKeptCapabilities = uint32_t{1} << CAP_NET_ADMIN;

// Beyond what every such process needs, in groups: connections; time; files under the directory; memory.
constexpr int kAllowed[] = {
    SCMP_SYS(accept4),
    SCMP_SYS(bind),
    SCMP_SYS(connect),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(sendto),
    SCMP_SYS(time),
    SCMP_SYS(openat),
    SCMP_SYS(statx),
    SCMP_SYS(lseek),
    SCMP_SYS(pread64),
    SCMP_SYS(getdents64),
    SCMP_SYS(inotify_add_watch),
    SCMP_SYS(inotify_rm_watch),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(getuid),
    SCMP_SYS(getrlimit),
};

Expected<> limit_system_calls() {
  SystemCallFilter filter;
  for (int call : kAllowed) filter.allow(call);
  constexpr scmp_datum_t kKind = ~static_cast<scmp_datum_t>(SOCK_NONBLOCK | SOCK_CLOEXEC);
  for (scmp_datum_t family : {AF_INET, AF_INET6})
    filter.allow(SCMP_SYS(socket), {is(0, family), has(1, kKind, SOCK_STREAM)});
  filter.allow(SCMP_SYS(mmap), {has(2, PROT_EXEC, 0)});
  filter.allow(SCMP_SYS(mprotect), {has(2, PROT_EXEC, 0)});
  filter.allow(SCMP_SYS(fcntl), {is(1, F_DUPFD_CLOEXEC)});
  return filter.load();
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
