#include "controlplane/feeds/file_feed.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <utility>

namespace bulkhead {
namespace {

namespace fs = std::filesystem;

}  // namespace

Expected<FileFeed> FileFeed::open(std::string path) {
  auto watch = PathWatch::open();
  if (!watch) return with_context(watch.error(), "watching " + path);
  FileFeed feed(std::move(path), std::move(*watch));
  feed.watch_.follow(feed.path_, {});
  feed.read_again(boot_now());
  return feed;
}

BootTime FileFeed::next_wake() const {
  if (!while_reading_.empty()) return BootTime{};
  return first_change_ ? due() : next_look_;
}

/// When what has changed is to be read; something has.
BootTime FileFeed::due() const {
  BootTime due = std::min(*last_change_ + kTogether, whole_since_ + kLatest);
  for (const auto& [path, wait] : unwhole_)
    due = std::max(due, wait.since + (hurried_ ? std::min(wait.patience, kSettled) : wait.patience));
  return due;
}

void FileFeed::read_anyway(BootTime now) {
  read_again(now);
  hurried_ = true;
}

void FileFeed::read_again(BootTime now) {
  note_change(now);
  last_change_ = now - kTogether;
}

std::string FileFeed::blind() const {
  if (watch_.trouble().empty()) return {};
  return watch_.trouble() + ". Until then its changes are looked for every " +
         std::to_string(kLook / std::chrono::seconds(1)) + " s";
}

std::optional<PolicyReading> FileFeed::read_if_due(BootTime now, WallTime wall) {
  take_events(now);
  if (now >= next_look_) look(now);
  if (!first_change_ || now < due()) return std::nullopt;
  bool patient = now < whole_since_ + kLatest;
  unwhole_.clear();

  watch_.follow(path_, files_);  // before it is read, so that no change falls between
  Traces before = traces();
  bool told = unseen_.empty() && watch_.trouble().empty();  // of whoever may be writing
  if (!told && !settled(before, now, wall)) return std::nullopt;
  PolicyReading reading{*first_change_, load_policy(path_, wall)};
  looked_.reset();
  if (reading.loaded.files != files_) {
    files_ = reading.loaded.files;
    watch_.follow(path_, files_);
    Traces named = traces();
    std::erase_if(named, [&](const auto& file) { return before.contains(file.first); });
    if (!settled(named, now, wall)) {
      unseen_.insert(path_);
      return std::nullopt;
    }
    before.merge(named);
  }
  while_reading_ = watch_.take();
  if (spoilt(patient)) return std::nullopt;  // it is due again when what happened has been taken in
  if (!watch_.trouble().empty() && traces() != before) return std::nullopt;
  traces_ = std::move(before);
  first_change_.reset(), last_change_.reset();
  unseen_.clear(), still_.clear();
  hurried_ = false;
  return reading;
}

/// Whether each of `files`, of whose writers no event told, has been as it is for kSettled; else a reading
/// waits for that. The file's own time of change tells it at once, unless the clock was stepped.
bool FileFeed::settled(const Traces& files, BootTime now, WallTime wall) {
  for (const auto& [path, trace] : files) {
    Nanoseconds age{std::max<int64_t>(0, wall.ns - trace.changed_ns)};
    if (age >= kSettled) continue;
    auto [known, is_new] = still_.try_emplace(path, Still{trace, now + (kSettled - age)});
    if (!is_new && known->second.trace != trace) known->second = {trace, now + kSettled};
    BootTime until = known->second.until;
    if (now < until) unwhole_[path] = {now, Nanoseconds{until.ns - now.ns}};
  }
  return unwhole_.empty();
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
      unwhole_[event.path] = {now, kAbandoned};
      break;
    case PathEvent::Kind::kComesOrGoes:
      unwhole_[event.path] = {now, kReplaced};
      if (!is_policy_file_name(fs::path(event.path).filename().string())) unseen_.insert(event.path);
      break;
    case PathEvent::Kind::kWhole:
      unseen_.erase(event.path);
      if (unwhole_.erase(event.path) != 0 && unwhole_.empty()) whole_since_ = now;
      break;
    case PathEvent::Kind::kLost:
      std::erase_if(unwhole_, [&](const auto& entry) { return entry.first.starts_with(event.path + "/"); });
      unwhole_[event.path] = {now, kReplaced};
      unseen_.insert(event.path);
      break;
    case PathEvent::Kind::kOverflow:  // what was known to be half stays so, and more may be
      unseen_.insert(path_);
      break;
    case PathEvent::Kind::kTouched:
      break;
  }
}

void FileFeed::note_change(BootTime now) {
  if (!first_change_) first_change_ = whole_since_ = now;
  last_change_ = now;
}

/// For what inotify can't see. Nothing tells when that is whole, but that it stays the same.
void FileFeed::look(BootTime now) {
  next_look_ = now + kLook;
  if (first_change_) return;
  if (!watch_.trouble().empty()) watch_.follow(path_, files_);  // there may be room by now
  Traces found = traces();
  if (found == traces_) {
    looked_.reset();
  } else if (looked_ == found) {
    note_change(now);
  } else {
    looked_ = std::move(found);
  }
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
