#include "controlplane/feeds/file_feed.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <utility>

namespace bulkhead {
namespace {

namespace fs = std::filesystem;

/// File systems stamp files with a clock that ticks this coarsely.
constexpr int64_t kFileClockTickNs = 20'000'000;

BootTime later(BootTime time, Nanoseconds by) {
  return BootTime{time.ns + by.count()};
}

}  // namespace

Expected<FileFeed> FileFeed::open(std::string path) {
  auto watch = PathWatch::open();
  if (!watch) return with_context(watch.error(), "watching " + path);
  FileFeed feed(std::move(path), std::move(*watch));
  feed.read_anyway(boot_now());
  return feed;
}

BootTime FileFeed::next_wake() const {
  if (!while_reading_.empty()) return BootTime{};
  return first_change_ ? due() : next_look_;
}

/// When what has changed is to be read; something has.
BootTime FileFeed::due() const {
  BootTime due = std::min(later(*last_change_, kTogether), later(whole_since_, kLatest));
  for (const auto& [path, until] : unwhole_) due = std::max(due, until);
  return due;
}

void FileFeed::read_anyway(BootTime now) {
  note_change(now);
  last_change_ = BootTime{now.ns - kTogether.count()};
  unwhole_.clear();
}

std::optional<PolicyReading> FileFeed::read_if_due(BootTime now, WallTime wall) {
  take_events(now);
  if (now >= next_look_) look(now);
  if (!first_change_ || now < due()) return std::nullopt;
  bool patient = now < later(whole_since_, kLatest);
  unwhole_.clear();

  watch_.follow(path_, files_);  // before it is read, so that no change falls between
  Traces before = traces();
  PolicyReading reading{*first_change_, load_policy(path_, wall)};
  traces_ = std::move(before);
  looked_.reset();
  if (reading.loaded.files != files_) {
    files_ = reading.loaded.files;
    watch_.follow(path_, files_);
    remember_new_files(wall);
  }
  while_reading_ = watch_.take();
  if (spoilt(patient)) return std::nullopt;  // it is due again when what happened has been taken in
  first_change_.reset(), last_change_.reset();
  return reading;
}

/// Whether what was just read may be half of each, because it changed meanwhile. One file from before and one
/// from after are taken when they can't be had otherwise; half a file, or none in the place of one, never is.
bool FileFeed::spoilt(bool patient) const {
  return std::ranges::any_of(while_reading_, [&](const PathEvent& event) {
    bool whole = event.kind == PathEvent::Kind::kWhole || event.kind == PathEvent::Kind::kTouched;
    return patient || !whole;
  });
}

std::string FileFeed::waiting_for(BootTime time) const {
  bool long_ago = first_change_ && *first_change_ < time;
  return long_ago && !unwhole_.empty() ? unwhole_.begin()->first : std::string();
}

void FileFeed::take_events(BootTime now) {
  for (const PathEvent& event : std::exchange(while_reading_, {})) take_event(event, now);
  for (const PathEvent& event : watch_.take()) take_event(event, now);
}

/// The last thing that happened to a path says whether it is whole.
void FileFeed::take_event(const PathEvent& event, BootTime now) {
  note_change(now);
  switch (event.kind) {
    case PathEvent::Kind::kWritten:
      unwhole_[event.path] = later(now, kAbandoned);
      break;
    case PathEvent::Kind::kComesOrGoes:
      unwhole_[event.path] = later(now, kReplaced);
      break;
    case PathEvent::Kind::kWhole:
      if (unwhole_.erase(event.path) != 0 && unwhole_.empty()) whole_since_ = now;
      break;
    case PathEvent::Kind::kLost:
      std::erase_if(unwhole_, [&](const auto& entry) { return entry.first.starts_with(event.path + "/"); });
      unwhole_[event.path] = later(now, kReplaced);
      break;
    case PathEvent::Kind::kTouched:
    case PathEvent::Kind::kOverflow:  // what was known to be half stays so
      break;
  }
}

void FileFeed::note_change(BootTime now) {
  if (!first_change_) first_change_ = whole_since_ = now;
  last_change_ = now;
}

/// For what inotify can't see. Nothing tells when that is whole, but that it stays the same.
void FileFeed::look(BootTime now) {
  next_look_ = later(now, kLook);
  if (first_change_) return;
  Traces found = traces();
  if (found == traces_) {
    looked_.reset();
  } else if (looked_ == found) {
    note_change(now);
  } else {
    looked_ = std::move(found);
  }
}

/// What nobody knew of before it was read counts as it is now, unless it changed since the reading began:
/// then the next looks find it.
void FileFeed::remember_new_files(WallTime begun) {
  for (const auto& [path, trace] : traces())
    if (trace.changed_ns < begun.ns - kFileClockTickNs) traces_.try_emplace(path, trace);
}

FileFeed::Traces FileFeed::traces() const {
  Traces all;
  auto trace = [&](const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return;
    Trace& seen = all[path] = {.device = status.st_dev, .inode = status.st_ino};
    if (S_ISDIR(status.st_mode)) return;  // files that aren't policy come and go in it, too
    seen.bytes = status.st_size;
    seen.modified_ns = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
    seen.changed_ns = status.st_ctim.tv_sec * 1'000'000'000 + status.st_ctim.tv_nsec;
  };
  trace(path_);
  for (const std::string& file : files_) trace(file);
  std::error_code error;
  for (fs::directory_iterator entry(path_, error), end; !error && entry != end; entry.increment(error))
    if (is_policy_file_name(entry->path().filename().string())) trace(entry->path().string());
  return all;
}

}  // namespace bulkhead
