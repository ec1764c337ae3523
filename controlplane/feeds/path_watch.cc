#include "controlplane/feeds/path_watch.h"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>

#include "config/policy.h"

namespace bulkhead {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kWhole = IN_CLOSE_WRITE | IN_MOVED_TO;
constexpr uint32_t kComesOrGoes = IN_CREATE | IN_DELETE | IN_MOVED_FROM;
constexpr uint32_t kLost = IN_DELETE_SELF | IN_MOVE_SELF;
constexpr uint32_t kEvents = kWhole | kComesOrGoes | kLost | IN_MODIFY | IN_ATTRIB | IN_ONLYDIR;
constexpr int kMaxLinks = 40;  // in a row, as the kernel has it

PathEvent::Kind kind_of(uint32_t mask) {
  if (mask & kWhole) return PathEvent::Kind::kWhole;
  if (mask & kComesOrGoes) return PathEvent::Kind::kComesOrGoes;
  return mask & IN_MODIFY ? PathEvent::Kind::kWritten : PathEvent::Kind::kTouched;
}

/// Whether the path is a file that its maker has open, or had: not a link of either kind to one that was
/// there.
bool is_new_file(const std::string& path) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1;
}

/// Empty where the directory isn't there: its parent tells when it comes.
std::string why_unwatched(const std::string& directory, int error) {
  if (error == ENOENT || error == ENOTDIR) return {};
  const char* advice = error == ENOSPC   ? "; raise fs.inotify.max_user_watches"
                       : error == EACCES ? "; let the control plane's user read it"
                                         : "";
  return fail_errno(error, directory + " can't be watched").error().message + advice;
}

std::string joined(const std::string& directory, const std::string& name) {
  return directory == "/" ? directory + name : directory + "/" + name;
}

/// What a symbolic link says; nothing where it is none.
std::optional<std::string> read_link(const std::string& path) {
  char target[4096];
  ssize_t bytes = ::readlink(path.c_str(), target, sizeof target);
  if (bytes < 0) return std::nullopt;
  return std::string(target, static_cast<size_t>(bytes));
}

/// Finds the names on the way to paths. Thousands of files share a directory, which is looked into once.
class Ways {
 public:
  /// Calls want(directory, name) for each symbolic link on the way, and for the end. Output: the end.
  template <class Want>
  std::string walk(const fs::path& path, Want&& want) {
    return end_of(path, want, kMaxLinks, true);
  }

 private:
  template <class Want>
  std::string end_of(const fs::path& path, Want& want, int links_left, bool wanted) {
    std::string name = path.filename().string();
    if (!path.has_relative_path()) return path.string();
    std::string directory = directory_of(path.parent_path(), want, links_left);
    if (name.empty() || name == ".") return directory;
    if (name == "..") return fs::path(directory).parent_path().string();
    std::string here = joined(directory, name);
    auto target = links_left > 0 ? read_link(here) : std::nullopt;
    if (wanted || target) want(directory, name);
    if (!target) return here;
    return end_of(fs::path(directory) / *target, want, links_left - 1, wanted);
  }
  template <class Want>
  std::string directory_of(const fs::path& path, Want& want, int links_left) {
    auto known = ends_.find(path.string());
    if (known == ends_.end())
      known = ends_.emplace(path.string(), end_of(path, want, links_left, false)).first;
    return known->second;
  }

  std::map<std::string, std::string> ends_;  ///< of directories
};

}  // namespace

Expected<PathWatch> PathWatch::open() {
  Fd inotify(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify) return fail_errno(errno, "inotify (is fs.inotify.max_user_instances used up?)");
  return PathWatch(std::move(inotify));
}

void PathWatch::follow(const std::string& directory, const std::vector<std::string>& paths) {
  Ways ways;
  Directories wanted;
  auto want = [&](const std::string& in, const std::string& name) { wanted[in].others.insert(name); };
  auto walk = [&](const std::string& path) {
    fs::path absolute = fs::absolute(path);
    if (!absolute.has_filename()) absolute = absolute.parent_path();  // "policy/" means "policy"
    return ways.walk(absolute, want);
  };
  std::string real = walk(directory);
  std::error_code error;
  if (fs::is_directory(real, error)) wanted[real].policy_files = true;
  for (const std::string& path : paths) walk(path);

  std::map<int, std::string> watched;
  trouble_.clear();
  for (const auto& [path, names] : wanted) {
    int watch =
        ::inotify_add_watch(inotify_.get(), path.c_str(), kEvents);  // the same where there is one already
    if (watch >= 0)
      watched[watch] = path;
    else if (trouble_.empty())
      trouble_ = why_unwatched(path, errno);
  }
  for (const auto& [watch, path] : directory_of_watch_)
    if (!watched.contains(watch))
      ::inotify_rm_watch(inotify_.get(), watch);  // replaced, or not named any more
  directory_of_watch_ = std::move(watched);
  directories_ = std::move(wanted);
}

bool PathWatch::matters(const std::string& directory, const std::string& name) const {
  const Names& names = directories_.at(directory);
  return (names.policy_files && is_policy_file_name(name)) || names.others.contains(name);
}

std::vector<PathEvent> PathWatch::take() {
  std::vector<PathEvent> events;
  alignas(inotify_event) char buffer[16384];
  ssize_t bytes;
  while ((bytes = ::read(inotify_.get(), buffer, sizeof buffer)) > 0) {
    for (ssize_t at = 0; at < bytes;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      at += static_cast<ssize_t>(sizeof *event + event->len);
      if (event->mask & IN_Q_OVERFLOW) events.push_back({PathEvent::Kind::kOverflow, {}});
      auto watched = directory_of_watch_.find(event->wd);
      if (watched == directory_of_watch_.end()) continue;
      const std::string& directory = watched->second;
      if (event->mask & kLost) {
        events.push_back({PathEvent::Kind::kLost, directory});
      } else if (event->mask & IN_IGNORED) {
        directory_of_watch_.erase(watched);
      } else if (event->len == 0) {
        events.push_back({PathEvent::Kind::kTouched, directory});
      } else if (std::string name = event->name; matters(directory, name)) {
        std::string path = joined(directory, name);
        bool begun = (event->mask & IN_CREATE) != 0 && is_new_file(path);
        events.push_back({begun ? PathEvent::Kind::kWritten : kind_of(event->mask), std::move(path)});
      }
    }
  }
  return events;
}

}  // namespace bulkhead
