#include "dataplane/relay/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "contract/memfd.h"

namespace bulkhead {

namespace {

Expected<> write_file(const char* path, const std::string& text) {
  Fd fd(open(path, O_WRONLY | O_CLOEXEC));
  if (!fd || write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return fail_errno(errno, path);
  return {};
}

Expected<> enter(const std::string& path, int kind) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || setns(fd.get(), kind) != 0) return fail_errno(errno, "entering namespace " + path);
  return {};
}

/// A user namespace's map (user_namespaces(7)): whether the number `user` in it stands for somebody.
bool is_in_map(std::FILE* map, uid_t user) {
  unsigned inside, outside, count;
  while (std::fscanf(map, "%u %u %u", &inside, &outside, &count) == 3)
    if (user >= inside && user - inside < count) return true;
  return false;
}

Expected<> check_user_is_mapped(uid_t user) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> map(std::fopen("/proc/self/uid_map", "re"), std::fclose);
  if (!map) return fail_errno(errno, "/proc/self/uid_map");
  if (is_in_map(map.get(), user)) return {};
  return fail(ErrorCode::kInvalid, "user " + std::to_string(user) +
                                       " isn't mapped in the relay's user namespace: add it to its uid_map");
}

}  // namespace

Expected<> enter_new_namespaces() {
  uid_t user = geteuid();
  gid_t group = getegid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
    return fail_errno(errno, "making a user and a network namespace (sysctl user.max_user_namespaces)");
  if (auto done = write_file("/proc/self/setgroups", "deny"); !done) return done;
  if (auto done = write_file("/proc/self/uid_map", "0 " + std::to_string(user) + " 1"); !done) return done;
  return write_file("/proc/self/gid_map", "0 " + std::to_string(group) + " 1");
}

Expected<> enter_namespaces(const std::string& user_namespace, const std::string& network_namespace) {
  if (auto entered = enter(user_namespace, CLONE_NEWUSER); !entered) return entered;
  if (auto entered = enter(network_namespace, CLONE_NEWNET); !entered) return entered;
  return check_user_is_mapped(geteuid());
}

}  // namespace bulkhead
