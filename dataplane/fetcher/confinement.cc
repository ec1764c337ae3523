#include "dataplane/fetcher/confinement.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "dataplane/confinement/process_limits.h"
#include "dataplane/confinement/system_calls.h"

namespace bulkhead {

namespace {

/// None of its bits that `mask` has is set.
scmp_arg_cmp lacks(unsigned argument, scmp_datum_t mask) {
  return has(argument, mask, 0);
}
scmp_datum_t address_of(const void* at) {
  return reinterpret_cast<scmp_datum_t>(at);
}

void allow_connecting(SystemCallFilter& filter, const Destinations& destinations) {
  constexpr scmp_datum_t kKind = ~static_cast<scmp_datum_t>(SOCK_NONBLOCK | SOCK_CLOEXEC);
  for (scmp_datum_t kind : {SOCK_STREAM, SOCK_SEQPACKET})
    filter.allow(SCMP_SYS(socket), {is(0, AF_UNIX), has(1, kKind, kind)});
  for (const sockaddr_un* to : {&destinations.agent, &destinations.relay})
    filter.allow(SCMP_SYS(connect), {is(1, address_of(to)), is(2, sizeof *to)});
}

/// All but what is executable, or touches the page of the destinations.
void allow_memory(SystemCallFilter& filter, const Destinations& destinations) {
  scmp_arg_cmp is_above{0, SCMP_CMP_GE, address_of(&destinations) + kDestinationsBytes, 0};
  filter.allow(SCMP_SYS(mmap), {lacks(2, PROT_EXEC), lacks(3, MAP_FIXED)});
  filter.allow(SCMP_SYS(mprotect), {is_above, lacks(2, PROT_EXEC)});
  filter.allow(SCMP_SYS(mremap), {is_above, lacks(3, MREMAP_FIXED)});
  filter.allow(SCMP_SYS(munmap), {is_above});
  filter.allow(SCMP_SYS(madvise), {is_above});
}

Expected<> limit_system_calls(const Destinations& destinations) {
  SystemCallFilter filter;
  allow_connecting(filter, destinations);
  allow_memory(filter, destinations);
  for (int call : {SCMP_SYS(memfd_create), SCMP_SYS(ftruncate), SCMP_SYS(pwrite64), SCMP_SYS(uname)})
    filter.allow(call);
  filter.allow(SCMP_SYS(fcntl), {is(1, F_ADD_SEALS)});
  return filter.load();
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
