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
constexpr Nanoseconds kTold{1'000'000'000};  ///< less of a doubt isn't worth a word: a leap second is as much

/// a - b, held between the values that mean "always" and "never".
int64_t difference(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_sub_overflow(a, b, &result)) return a > b ? INT64_MAX - 1 : INT64_MIN + 1;
  return std::clamp(result, INT64_MIN + 1, INT64_MAX - 1);
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
  Deadlines deadlines((std::filesystem::path(directory) / "clock.json").string(), std::move(clocks));
  deadlines.lock_ = Fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!deadlines.lock_) return fail_errno(errno, "controlplane.state: " + directory + ": open");
  if (::flock(deadlines.lock_.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(
        ErrorCode::kExists,
        "controlplane.state: " + directory +
            " is in use by another gateway's control plane; give each gateway a directory of its own");
  if (auto done = deadlines.read(); !done) return std::unexpected(done.error());
  deadlines.look();
  bool first = !deadlines.stored_;
  if (auto kept = deadlines.keep(); !kept && first && kept.error().code != ErrorCode::kExhausted)
    return std::unexpected(kept.error());
  return deadlines;
}

Expected<void> Deadlines::read() {
  std::error_code missing;
  if (!std::filesystem::exists(file_, missing) && !missing) return {};
  std::ifstream in(file_);
  std::stringstream text;
  if (!in || !(text << in.rdbuf())) return fail_errno(errno, file_ + ": read");
  try {
    auto json = nlohmann::json::parse(text.str());
    if (json.at("format") != kFormat)
      return fail(ErrorCode::kInvalid, file_ + ": written by another version");
    int64_t latest = json.at("latest_utc_ns"), at = json.at("boot_ns");
    if (json.at("boot_id") !=
        clocks_.boot_id) {  // it is now later than it was then; nobody knows by how much
      evidence_.latest = difference(latest, clocks_.boot().ns);
      return {};
    }
    evidence_.latest = difference(latest, at);
    if (json.contains("earliest_utc_ns")) evidence_.earliest = difference(json.at("earliest_utc_ns"), at);
    stored_ = evidence_;
  } catch (const nlohmann::json::exception& broken) {
    return fail(ErrorCode::kInvalid, file_ + ": damaged (" + broken.what() +
                                         "); once the system's clock is right, remove it and start again");
  }
  return {};
}

bool Deadlines::look() {
  auto [boot, wall] = read_together(clocks_);
  int64_t answer = difference(wall.ns, boot.ns);
  Evidence before = evidence_;
  if (answer > evidence_.latest && difference(answer, evidence_.latest) > kSame.count())
    evidence_.latest = answer;
  if (wall < kEarliest) return evidence_ != before;
  if (!evidence_.earliest || difference(*evidence_.earliest, answer) > kSame.count())
    evidence_.earliest = answer;
  return evidence_ != before;
}

BootTime Deadlines::convert(Turn turn, WallTime time) const {
  bool opens = turn == Turn::kOpens;
  if (!evidence_.earliest) return BootTime{opens ? INT64_MAX - 1 : INT64_MIN + 1};
  return BootTime{difference(time.ns, opens ? *evidence_.earliest : evidence_.latest)};
}

Expected<void> Deadlines::keep() {
  return stored_ == evidence_ ? Expected<void>{} : store();
}

Expected<void> Deadlines::store() {
  int64_t now = clocks_.boot().ns;
  nlohmann::json json{{"format", kFormat},
                      {"boot_id", clocks_.boot_id},
                      {"boot_ns", now},
                      {"latest_utc_ns", difference(evidence_.latest, -now)}};
  if (evidence_.earliest) json["earliest_utc_ns"] = difference(*evidence_.earliest, -now);
  if (auto written = replace_file(file_, json.dump(1)); !written) return written;
  stored_ = evidence_;
  return {};
}

std::string Deadlines::doubt() const {
  if (!evidence_.earliest)
    return "the clock says a time before 2025: until it is set, no rule with `after` or `until` allows "
           "anything, "
           "and denies hold";
  int64_t apart = difference(evidence_.latest, *evidence_.earliest);
  if (apart <= kTold.count()) return {};
  return "the clock was stepped: what it has said differs by " +
         std::to_string((apart + 500'000'000) / 1'000'000'000) +
         " s, so what opens by time opens as if by the earlier and what closes closes as if by the later. If "
         "the "
         "clock is right now, stop the control plane, remove " +
         file_ + " and start it again";
}

}  // namespace bulkhead
