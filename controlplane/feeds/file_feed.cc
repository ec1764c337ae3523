#include "controlplane/feeds/file_feed.h"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

namespace bulkhead {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kEvents = IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_TO |
                             IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

BootTime later(BootTime time, Nanoseconds by) {
  return BootTime{time.ns + by.count()};
}

/// `path` with every symbolic link followed; itself where that fails.
std::string resolved(const std::string& path) {
  std::error_code error;
  fs::path real = fs::canonical(path, error);
  return error ? path : real.string();
}

/// The path's directory and its name in it; "policy/" means "policy".
std::pair<std::string, std::string> directory_and_name(const std::string& path) {
  fs::path absolute = fs::absolute(path).lexically_normal();
  if (!absolute.has_filename()) absolute = absolute.parent_path();
  return {absolute.parent_path().string(), absolute.filename().string()};
}

}  // namespace

Expected<FileFeed> FileFeed::open(std::string path) {
  Fd inotify(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify)
    return fail_errno(errno, "watching " + path + ": inotify (is fs.inotify.max_user_instances used up?)");
  FileFeed feed(std::move(path), std::move(inotify));
  feed.read_anyway(boot_now());
  return feed;
}

BootTime FileFeed::next_wake() const {
  if (!first_change_) return next_look_;
  return std::min({next_look_, later(*last_change_, kQuiet), later(*first_change_, kLatest)});
}

void FileFeed::read_anyway(BootTime now) {
  first_change_ = first_change_.value_or(now);
  last_change_ = BootTime{now.ns - kQuiet.count()};
}

std::optional<PolicyReading> FileFeed::read_if_due(BootTime now, WallTime wall) {
  if (take_events()) note_change(now);
  if (now >= next_look_) look(now);
  if (!first_change_) return std::nullopt;
  bool too_late_to_wait = now >= later(*first_change_, kLatest);
  if (now < later(*last_change_, kQuiet) && !too_late_to_wait) return std::nullopt;

  watch_everything_named();  // before it is read, so that no change falls between
  traces_ = traces();
  PolicyReading reading{*first_change_, load_policy(path_, wall)};
  if (reading.loaded.policy) files_ = reading.loaded.policy->files;
  watch_everything_named();
  if (take_events() && !too_late_to_wait) {
    last_change_ = now;  // it changed while it was read: what was read may be half of each
    return std::nullopt;
  }
  first_change_.reset(), last_change_.reset();
  return reading;
}

/// True when something that matters happened.
bool FileFeed::take_events() {
  bool changed = false;
  alignas(inotify_event) char buffer[16384];
  ssize_t bytes;
  while ((bytes = ::read(inotify_.get(), buffer, sizeof buffer)) > 0) {
    for (ssize_t at = 0; at < bytes;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      at += static_cast<ssize_t>(sizeof *event + event->len);
      auto directory = directory_of_watch_.find(event->wd);
      if (event->mask & IN_Q_OVERFLOW) changed = true;
      if (directory == directory_of_watch_.end()) continue;
      const Watch& watch = watches_[directory->second];
      changed |= watch.every_name || event->len == 0 || watch.names.contains(event->name);
      if (event->mask & IN_IGNORED) directory_of_watch_.erase(directory);
    }
  }
  return changed;
}

void FileFeed::note_change(BootTime now) {
  first_change_ = first_change_.value_or(now);
  last_change_ = now;
}

/// For what inotify can't see.
void FileFeed::look(BootTime now) {
  next_look_ = later(now, kLook);
  if (!first_change_ && traces() != traces_) note_change(now);
}

/// Watches the policy's directory, where its own name stands, and where each file really is.
void FileFeed::watch_everything_named() {
  Watches wanted;
  auto want = [&](const std::string& path) {
    auto [directory, name] = directory_and_name(path);
    wanted[directory].names.insert(name);
  };
  want(path_);
  want(resolved(path_));
  std::error_code error;
  if (fs::is_directory(path_, error)) wanted[resolved(path_)].every_name = true;
  for (const std::string& file : files_) want(file), want(resolved(file));
  for (const auto& [file, trace] : traces_) want(file), want(trace.target);

  std::map<int, std::string> watched;
  for (const auto& [directory, watch] : wanted) {
    int wd = ::inotify_add_watch(inotify_.get(), directory.c_str(),
                                 kEvents);  // the same wd where it is watched already
    if (wd >= 0) watched[wd] = directory;
  }
  for (const auto& [wd, directory] : directory_of_watch_)
    if (!watched.contains(wd))
      ::inotify_rm_watch(inotify_.get(), wd);  // a directory that was replaced or isn't named any more
  directory_of_watch_ = std::move(watched);
  watches_ = std::move(wanted);
}

FileFeed::Traces FileFeed::traces() const {
  Traces all;
  auto trace = [&](const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return;
    all[path] = {resolved(path),
                 status.st_dev,
                 status.st_ino,
                 status.st_size,
                 status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec,
                 status.st_ctim.tv_sec * 1'000'000'000 + status.st_ctim.tv_nsec};
  };
  trace(path_);
  for (const std::string& file : files_) trace(file);
  std::error_code error;
  for (fs::directory_iterator entry(path_, error), end; !error && entry != end; entry.increment(error))
    if (entry->path().extension() == ".yaml") trace(entry->path().string());
  return all;
}

}  // namespace bulkhead
