#include "cli/relay_namespaces.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace bulkhead {
namespace {

/// In the child: becomes the relay's user, makes the namespaces, says how that went (an errno; 0: done), and
/// waits for its end.
[[noreturn]] void hold_namespaces(const Account& relay, int report, pid_t parent) {
  int error = 0;
  if (setgroups(0, nullptr) != 0 || setresgid(relay.group, relay.group, relay.group) != 0 ||
      setresuid(relay.user, relay.user, relay.user) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 ||
      unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
    error = errno;
  // Not before the user has changed, which makes the kernel forget it (prctl(2)).
  if (getppid() != parent) _exit(1);
  [[maybe_unused]] ssize_t told = write(report, &error, sizeof error);
  pause();
  _exit(0);
}

Expected<> write_map(pid_t process, const char* name, unsigned id) {
  std::string path = "/proc/" + std::to_string(process) + "/" + name;
  std::string text = std::to_string(id) + " " + std::to_string(id) + " 1\n";
  Fd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file || write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return fail_errno(errno, path);
  return {};
}

Expected<Fd> open_namespace(pid_t process, const char* kind) {
  std::string path = "/proc/" + std::to_string(process) + "/ns/" + kind;
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno(errno, path);
  return fd;
}

Expected<RelayNamespaces> take_namespaces(pid_t holder, const Account& relay) {
  if (auto done = write_map(holder, "gid_map", relay.group); !done) return std::unexpected(done.error());
  if (auto done = write_map(holder, "uid_map", relay.user); !done) return std::unexpected(done.error());
  auto user = open_namespace(holder, "user");
  if (!user) return std::unexpected(user.error());
  auto network = open_namespace(holder, "net");
  if (!network) return std::unexpected(network.error());
  return RelayNamespaces{std::move(*user), std::move(*network)};
}

}  // namespace

Expected<RelayNamespaces> make_relay_namespaces(const Account& relay) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "a pipe");
  Fd reading(ends[0]), writing(ends[1]);
  pid_t parent = getpid();
  pid_t holder = fork();
  if (holder < 0) return fail_errno(errno, "making the relay's namespaces");
  if (holder == 0) hold_namespaces(relay, writing.get(), parent);
  writing = Fd();
  int error = EPIPE;
  [[maybe_unused]] ssize_t heard = read(reading.get(), &error, sizeof error);
  Expected<RelayNamespaces> namespaces =
      error == 0 ? take_namespaces(holder, relay)
                 : Expected<RelayNamespaces>(fail_errno(
                       error, "making the relay's namespaces (is sysctl user.max_user_namespaces 0?)"));
  kill(holder, SIGKILL);
  waitpid(holder, nullptr, 0);
  return namespaces;
}

}  // namespace bulkhead
