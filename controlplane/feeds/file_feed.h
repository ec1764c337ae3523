// The policy directory as a feed: says when it has changed, and what it holds then.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "config/policy.h"
#include "contract/memfd.h"

namespace bulkhead {

/// What the directory held, and when it was first seen to have changed to that.
struct PolicyReading {
  BootTime seen;
  LoadedPolicy loaded;
};

/// Watches a policy directory (or single file): files created, renamed, edited in place or deleted, the
/// directory itself replaced, symbolic links in it or to it switched (as Kubernetes does), and files outside
/// it that it names
/// (`members_file`). What inotify can't see (network file systems, a parent's parent replaced) a look every
/// two seconds finds. A change is read once it has been quiet for kQuiet, and no later than kLatest after it
/// was first seen. Thread: one. Use: poll fd() for reading and wake up at next_wake(); call read_if_due()
/// after either.
class FileFeed {
 public:
  static constexpr Nanoseconds kQuiet{20'000'000};
  static constexpr Nanoseconds kLatest{200'000'000};
  static constexpr Nanoseconds kLook{2'000'000'000};

  /// Starts watching; the first reading is due at once. `path` needn't exist yet.
  /// Errors: no inotify instance to be had.
  static Expected<FileFeed> open(std::string path);

  const std::string& path() const { return path_; }
  int fd() const { return inotify_.get(); }
  /// When read_if_due() wants to be called, whatever fd() says.
  BootTime next_wake() const;
  /// Asks for a reading now, changed or not.
  void read_anyway(BootTime now);
  /// Takes in what inotify says and, when it is time, reads the directory.
  std::optional<PolicyReading> read_if_due(BootTime now, WallTime wall);

 private:
  /// A watched directory: every name in it matters, or only these.
  struct Watch {
    bool every_name = false;
    std::set<std::string> names;
  };
  using Watches = std::map<std::string, Watch>;  ///< by directory
  /// What a file was when looked at: enough to see that it isn't the same any more.
  struct Trace {
    std::string target;
    uint64_t device = 0, inode = 0;
    int64_t bytes = 0, modified_ns = 0, changed_ns = 0;
    bool operator==(const Trace&) const = default;
  };
  using Traces = std::map<std::string, Trace>;  ///< by path

  FileFeed(std::string path, Fd inotify) : path_(std::move(path)), inotify_(std::move(inotify)) {}
  bool take_events();
  void note_change(BootTime now);
  void look(BootTime now);
  void watch_everything_named();
  Traces traces() const;

  std::string path_;
  Fd inotify_;
  std::map<int, std::string> directory_of_watch_;
  Watches watches_;
  std::vector<std::string> files_;  ///< that the last policy was read from
  Traces traces_;                   ///< as they were before the last reading
  std::optional<BootTime> first_change_, last_change_;
  BootTime next_look_{};
};

}  // namespace bulkhead
