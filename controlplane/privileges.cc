#include "controlplane/privileges.h"

#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/directory.h"

namespace bulkhead {
namespace {

namespace fs = std::filesystem;

struct User {
  std::string name;
  uid_t uid;
  gid_t gid;
};

Expected<User> find_user(const std::string& name) {
  const passwd* entry = ::getpwnam(name.c_str());
  if (entry == nullptr)
    return fail(ErrorCode::kNotFound, "user '" + name +
                                          "' doesn't exist: make it with `useradd --system --no-create-home "
                                          "--shell /usr/sbin/nologin " +
                                          name + "`, or name another in controlplane.user or with --user");
  if (entry->pw_uid == 0)
    return fail(ErrorCode::kInvalid, "user '" + name +
                                         "' is root, which the control plane never runs as: name another in "
                                         "controlplane.user or with --user");
  return User{name, entry->pw_uid, entry->pw_gid};
}

/// Whether the directory holds nothing, or nothing but what our own dataplane put there.
bool is_ours_alone(const Fd& directory, const GatewayConfig& config) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd/" + std::to_string(directory.get()), error))
    if (entry.path().filename() != fs::path(config.contract_socket()).filename()) return false;
  return !error;
}

/// Makes a directory for `user`, parents included. One that is there already is given to the user only where
/// it is root's and nobody else can have put anything there; a link stays as it is.
Expected<void> make_directory(const fs::path& directory, mode_t mode, const User& user,
                              const GatewayConfig& config) {
  std::error_code error;
  if (directory.empty() || fs::is_symlink(directory, error)) return {};
  auto opened = open_or_make_directory(directory, mode);
  if (!opened) return std::unexpected(opened.error());
  struct stat status{};
  if (::fstat(opened->fd.get(), &status) != 0) return fail_errno(errno, directory.string());
  if (status.st_uid != 0 || (status.st_mode & S_IWOTH) != 0 || !is_ours_alone(opened->fd, config)) return {};
  if (::fchown(opened->fd.get(), user.uid, user.gid) != 0)
    return fail_errno(errno, directory.string() + ": chown");
  return {};
}

Expected<void> make_directories(const GatewayConfig& config, const User& user) {
  const ControlplaneConfig& control = config.controlplane;
  if (auto made = make_directory(fs::path(control.socket).parent_path(), 0755, user, config); !made)
    return made;
  if (auto made = make_directory(fs::path(control.state), 0700, user, config); !made) return made;
  if (control.flow_log.path.empty()) return {};
  return make_directory(fs::path(control.flow_log.path).parent_path(), 0750, user, config);
}

/// Root until here, never again after.
Expected<void> drop_root(const User& user, const std::string& socket_group) {
  std::vector<gid_t> groups{user.gid};
  const group* operators =
      ::getgrnam(socket_group.c_str());  // it takes a member to give the socket to a group
  if (operators != nullptr && operators->gr_gid != 0) groups.push_back(operators->gr_gid);
  pid_t parent = ::getppid();
  int parent_death_signal = 0;  // the kernel forgets it where the user changes (prctl(2))
  if (::prctl(PR_GET_PDEATHSIG, &parent_death_signal) != 0) return fail_errno(errno, "PR_GET_PDEATHSIG");
  if (::setgroups(groups.size(), groups.data()) != 0) return fail_errno(errno, "setgroups");
  if (::setresgid(user.gid, user.gid, user.gid) != 0)
    return fail_errno(errno, "setgid to that of " + user.name);
  if (::setresuid(user.uid, user.uid, user.uid) != 0) return fail_errno(errno, "setuid to " + user.name);
  if (::prctl(PR_SET_PDEATHSIG, parent_death_signal) != 0) return fail_errno(errno, "PR_SET_PDEATHSIG");
  if (::getppid() != parent) return fail(ErrorCode::kUnavailable, "who started this program is gone");
  if (::setuid(0) == 0)
    return fail(ErrorCode::kPermission, "root could be regained: is this kernel's setuid restricted?");
  return {};
}

}  // namespace

Expected<void> become_unprivileged(const GatewayConfig& config, const std::string& name) {
  if (::geteuid() == 0) {
    auto user = find_user(name);
    if (!user) return std::unexpected(user.error());
    if (auto made = make_directories(config, *user); !made) return made;
    if (auto dropped = drop_root(*user, config.controlplane.socket_group); !dropped) return dropped;
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno(errno, "no_new_privs");
  if (::prctl(PR_SET_DUMPABLE, 0) != 0)
    return fail_errno(errno, "keeping others out of this process's memory");
  return {};
}

}  // namespace bulkhead
