#include "controlplane/engine/deadlines.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace bulkhead {
namespace {

constexpr int kFormat = 1;

/// a + b, held between the values that mean "always" and "never".
int64_t saturating_sum(int64_t a, int64_t b) {
  int64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return a > 0 ? INT64_MAX - 1 : INT64_MIN + 1;
  return std::clamp(sum, INT64_MIN + 1, INT64_MAX - 1);
}
int64_t saturating_difference(int64_t a, int64_t b) {
  int64_t difference;
  if (__builtin_sub_overflow(a, b, &difference)) return a > b ? INT64_MAX - 1 : INT64_MIN + 1;
  return difference;
}

/// Both clocks at one instant: of several readings the one that was interrupted least.
std::pair<BootTime, WallTime> read_together(const Clocks& clocks) {
  constexpr int kReadings = 8;
  constexpr int64_t kGoodEnoughNs = 10'000;
  std::pair<BootTime, WallTime> best;
  int64_t best_gap = INT64_MAX;
  for (int i = 0; i < kReadings && best_gap > kGoodEnoughNs; ++i) {
    BootTime before = clocks.boot();
    WallTime wall = clocks.wall();
    int64_t gap = clocks.boot().ns - before.ns;
    if (gap < best_gap) best = {BootTime{before.ns + gap / 2}, wall}, best_gap = gap;
  }
  return best;
}

Expected<void> write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, path + ": write");
    text.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

/// Puts `text` in the place of the file, all of it or nothing, and on the disk.
Expected<void> replace_file(const std::string& path, std::string_view text) {
  std::string fresh = path + ".tmp";
  Fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail_errno(errno, fresh + ": create");
  if (auto written = write_all(fd.get(), text, fresh); !written) return written;
  if (::fsync(fd.get()) != 0) return fail_errno(errno, fresh + ": fsync");
  if (::rename(fresh.c_str(), path.c_str()) != 0) return fail_errno(errno, path + ": rename");
  Fd directory(::open(std::filesystem::path(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0)
    return fail_errno(errno, path + ": fsync of its directory");
  return {};
}

}  // namespace

Expected<Clocks> system_clocks() {
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string id;
  if (!(in >> id))
    return fail(ErrorCode::kSystem, "/proc/sys/kernel/random/boot_id can't be read: mount /proc");
  return Clocks{boot_now, wall_now, id};
}

Expected<Deadlines> Deadlines::open(const std::string& directory, Clocks clocks) {
  Deadlines deadlines((std::filesystem::path(directory) / "deadlines.json").string(), std::move(clocks));
  deadlines.lock_ = Fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!deadlines.lock_) return fail_errno(errno, "controlplane.state: " + directory + ": open");
  if (::flock(deadlines.lock_.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(
        ErrorCode::kExists,
        "controlplane.state: " + directory +
            " is in use by another gateway's control plane; give each gateway a directory of its own");
  if (auto done = deadlines.read(); !done) return std::unexpected(done.error());
  if (auto done = deadlines.store_mark(); !done) return std::unexpected(done.error());
  return deadlines;
}

Expected<void> Deadlines::read() {
  mark_boot_ = clocks_.boot();
  std::error_code missing;
  if (!std::filesystem::exists(file_, missing) && !missing) return {};
  std::ifstream in(file_);
  std::stringstream text;
  if (!in || !(text << in.rdbuf())) return fail_errno(errno, file_ + ": read");
  try {
    auto json = nlohmann::json::parse(text.str());
    if (json.at("format") != kFormat)
      return fail(ErrorCode::kInvalid, file_ + ": written by another version");
    mark_wall_ = WallTime{json.at("mark_wall_ns")};
    if (json.at("boot_id") != clocks_.boot_id) return {};  // another boot: its conversions mean nothing now
    mark_boot_ = BootTime{json.at("mark_boot_ns")};
    for (const auto& entry : json.at("deadlines")) {
      DeadlineKind kind = entry.at("kind") == "after" ? DeadlineKind::kAfter : DeadlineKind::kUntil;
      kept_[{entry.at("rule"), kind, entry.at("time_ns")}] = BootTime{entry.at("boot_ns")};
    }
  } catch (const nlohmann::json::exception& broken) {
    return fail(ErrorCode::kInvalid, file_ + ": damaged (" + broken.what() +
                                         "); once the system's clock is right, remove it and start again");
  }
  return {};
}

Expected<void> Deadlines::write(const Conversions& conversions) {
  WallTime now = trusted_now();
  nlohmann::json json{{"format", kFormat},
                      {"boot_id", clocks_.boot_id},
                      {"mark_wall_ns", now.ns},
                      {"mark_boot_ns", mark_boot_.ns},
                      {"deadlines", nlohmann::json::array()}};
  for (const auto& [key, boot] : conversions) {
    const auto& [rule, kind, time] = key;
    json["deadlines"].push_back({{"rule", rule},
                                 {"kind", kind == DeadlineKind::kUntil ? "until" : "after"},
                                 {"time_ns", time},
                                 {"boot_ns", boot.ns}});
  }
  return replace_file(file_, json.dump(1));
}

void Deadlines::begin() {
  pending_.clear();
}

BootTime Deadlines::convert(std::string_view rule, DeadlineKind kind, WallTime time) {
  Key key{std::string(rule), kind, time.ns};
  if (auto known = kept_.find(key); known != kept_.end()) return pending_[key] = known->second;
  if (auto known = pending_.find(key); known != pending_.end()) return known->second;
  int64_t ahead = saturating_difference(time.ns, trusted_now().ns);
  return pending_[key] = BootTime{saturating_sum(mark_boot_.ns, ahead)};
}

Expected<void> Deadlines::keep() {
  if (pending_ != kept_)
    if (auto written = write(pending_); !written) return written;
  kept_ = pending_;
  return {};
}

Expected<void> Deadlines::store_mark() {
  return write(kept_);
}

WallTime Deadlines::mark_at(BootTime boot) const {
  return WallTime{saturating_sum(mark_wall_.ns, boot.ns - mark_boot_.ns)};
}

WallTime Deadlines::trusted_now() {
  auto [boot, wall] = read_together(clocks_);
  mark_wall_ = std::max(mark_at(boot), wall);
  mark_boot_ = boot;
  return mark_wall_;
}

Nanoseconds Deadlines::behind() const {
  return Nanoseconds{
      std::max<int64_t>(0, saturating_difference(mark_at(clocks_.boot()).ns, clocks_.wall().ns))};
}

}  // namespace bulkhead
