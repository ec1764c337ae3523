#include "base/directory.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <deque>

namespace bulkhead {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;  ///< as the kernel has it (path_resolution(7))
constexpr int kNoLink = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

/// Opened: where the last name of a path lies.
struct Place {
  Fd parent;
  std::string name;
};

Expected<struct stat> status_of(const Fd& fd, const fs::path& path) {
  struct stat status{};
  if (fstat(fd.get(), &status) != 0) return fail_errno(errno, path.string());
  return status;
}

std::unexpected<Error> is_foreign(const fs::path& path, const std::string& name) {
  return fail(ErrorCode::kInvalid, path.string() + ": '" + name +
                                       "' on this path is no directory, or a link that isn't root's in a "
                                       "directory of root's alone, and may lead anywhere: remove it, or "
                                       "configure another path");
}

/// Opens an entry without following it, and makes a directory where there is none.
Expected<Fd> enter(const Fd& at, const std::string& name, const fs::path& path) {
  constexpr int kFlags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  Fd next(openat(at.get(), name.c_str(), kFlags));
  if (!next && errno == ENOENT) {
    if (mkdirat(at.get(), name.c_str(), 0755) != 0 && errno != EEXIST)
      return fail_errno(errno, path.string());
    next = Fd(openat(at.get(), name.c_str(), kFlags));
  }
  if (!next) return fail_errno(errno, path.string());
  return next;
}

/// Whether only root can have put the link there.
bool is_roots(const struct stat& link, const struct stat& directory) {
  return link.st_uid == 0 && directory.st_uid == 0 && (directory.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

void put_before(std::deque<fs::path>& names, const fs::path& more) {
  auto relative = more.relative_path();
  names.insert(names.begin(), relative.begin(), relative.end());
}

/// Walks to a directory name by name, links included, so that whose each link is can be asked.
Expected<Fd> walk_to(const fs::path& path) {
  std::deque<fs::path> names;
  put_before(names, path);
  Fd at(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at) return fail_errno(errno, "/");
  for (int links = 0; !names.empty();) {
    std::string name = names.front().string();
    names.pop_front();
    if (name.empty()) continue;
    auto next = enter(at, name, path);
    if (!next) return next;
    auto found = status_of(*next, path), here = status_of(at, path);
    if (!found || !here) return std::unexpected((!found ? found : here).error());
    if (S_ISDIR(found->st_mode)) {
      at = std::move(*next);
      continue;
    }
    char target[PATH_MAX];
    if (!S_ISLNK(found->st_mode) || !is_roots(*found, *here)) return is_foreign(path, name);
    ssize_t bytes = readlinkat(next->get(), "", target, sizeof target);
    if (bytes < 0 || ++links > kMostLinks) return fail_errno(bytes < 0 ? errno : ELOOP, path.string());
    fs::path to(std::string(target, static_cast<size_t>(bytes)));
    if (to.is_absolute()) at = Fd(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    put_before(names, to);
  }
  return at;
}

Expected<Place> place_of(const fs::path& path) {
  fs::path full = fs::absolute(path).lexically_normal();
  if (!full.has_filename()) full = full.parent_path();
  auto parent = walk_to(full.parent_path());
  if (!parent) return std::unexpected(parent.error());
  return Place{std::move(*parent), full.filename().string()};
}

Expected<OpenedDirectory> open_or_make(const Place& place, mode_t mode, const fs::path& path) {
  bool is_new = mkdirat(place.parent.get(), place.name.c_str(), mode) == 0;
  if (!is_new && errno != EEXIST) return fail_errno(errno, path.string());
  Fd fd(openat(place.parent.get(), place.name.c_str(), O_RDONLY | kNoLink));
  if (!fd && (errno == ELOOP || errno == ENOTDIR)) return is_foreign(path, place.name);
  if (!fd) return fail_errno(errno, path.string());
  return OpenedDirectory{std::move(fd), is_new};
}

bool is_empty(const Fd& directory) {
  std::error_code error;
  return fs::is_empty("/proc/self/fd/" + std::to_string(directory.get()), error) && !error;
}

/// Gives away what was made with 0700. Who owns the parent may have put something else in its place since,
/// but none that holds anything, or that somebody uses.
Expected<> give(const Fd& directory, const Account& owner, mode_t mode, const fs::path& path) {
  auto status = status_of(directory, path);
  if (!status) return std::unexpected(status.error());
  if (status->st_uid != geteuid() || (status->st_mode & 07777 & ~static_cast<mode_t>(S_ISGID)) != 0700 ||
      !is_empty(directory))
    return fail(ErrorCode::kInvalid, path.string() +
                                         ": another directory was put in place of the one that "
                                         "was made: who may write in its parent?");
  if (fchown(directory.get(), owner.user, owner.group) != 0 || fchmod(directory.get(), mode) != 0)
    return fail_errno(errno, path.string());
  return {};
}

/// Removes the directory where it holds nothing but the socket.
void remove_leftover(const Place& place, const Fd& directory, const std::string& socket) {
  struct stat status{};
  if (fstatat(directory.get(), socket.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(status.st_mode))
    unlinkat(directory.get(), socket.c_str(), 0);
  unlinkat(place.parent.get(), place.name.c_str(), AT_REMOVEDIR);
}

}  // namespace

Expected<OpenedDirectory> open_or_make_directory(const fs::path& path, mode_t mode) {
  auto place = place_of(path);
  if (!place) return std::unexpected(place.error());
  return open_or_make(*place, mode, path);
}

Expected<> make_directory_for(const Account& owner, mode_t mode, const fs::path& path) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(path, error))) return {};
  auto opened = open_or_make_directory(path, 0700);
  if (!opened) return std::unexpected(opened.error());
  if (!opened->is_new) return {};
  return give(opened->fd, owner, mode, path);
}

Expected<Fd> claim_directory(const Account& owner, mode_t mode, const fs::path& path,
                             const std::string& socket) {
  auto place = place_of(path);
  if (!place) return std::unexpected(place.error());
  for (bool is_first : {true, false}) {
    auto opened = open_or_make(*place, 0700, path);
    if (!opened) return std::unexpected(opened.error());
    if (opened->is_new) {
      if (auto given = give(opened->fd, owner, mode, path); !given) return std::unexpected(given.error());
      return std::move(opened->fd);
    }
    auto status = status_of(opened->fd, path);
    if (!status) return std::unexpected(status.error());
    if (status->st_uid == owner.user && (status->st_mode & 07777) == mode) return std::move(opened->fd);
    if (is_first) remove_leftover(*place, opened->fd, socket);
  }
  return fail(ErrorCode::kInvalid, path.string() +
                                       ": belongs to another user, or others may write to it, and "
                                       "it isn't empty: remove it, or configure another "
                                       "`controlplane.socket`");
}

}  // namespace bulkhead
