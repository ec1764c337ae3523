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
#include "controlplane/feeds/path_watch.h"

namespace bulkhead {

/// What the directory held, and when it was first seen to have changed to that.
struct PolicyReading {
  BootTime seen;
  LoadedPolicy loaded;
};

/// Watches a policy directory (or single file): files created, renamed, edited in place or deleted, the
/// directory itself replaced, symbolic links in it or to it switched (as Kubernetes does), and files outside
/// it that it names (`members_file`).
///
/// A file that somebody writes is never read before its writer closes it: half a policy may be valid, and
/// lack the denies at its end. A file that is whole (renamed into place, or closed after writing) is read
/// kTogether later, so that files that are replaced one right after the other, as by a checkout, are read as
/// one change. A file that goes is given kReplaced to come back, since git and editors remove it before they
/// write it anew, and reading in between would cut every flow that it allows. While renames into place follow
/// each other without end they are read after kLatest all the same.
///
/// What inotify can't see (network file systems, a parent's parent replaced, what there were no watches left
/// for) a look every kLook finds, and it is read when the next look finds the same.
///
/// Of a file that somebody may have been writing since before it was watched (at the start, in a directory
/// that was made anew, a `members_file` that is named for the first time) no event tells whether it is whole.
/// It is taken for whole when it has not changed for kSettled; a writer who pauses for longer can't be told
/// from one who is done, nor one who died from one who closed. Thread: one. Use: poll fd() for reading and
/// wake up at next_wake(); call read_if_due() after either.
class FileFeed {
 public:
  static constexpr Nanoseconds kTogether{2'000'000};
  static constexpr Nanoseconds kReplaced{20'000'000};
  static constexpr Nanoseconds kLatest{200'000'000};
  static constexpr Nanoseconds kSettled{1'000'000'000};
  static constexpr Nanoseconds kAbandoned{30'000'000'000};  ///< a writer that neither writes nor closes
  static constexpr Nanoseconds kLook{2'000'000'000};

  /// Starts watching; the first reading is due when what is there is whole. `path` needn't exist yet.
  /// Errors: no inotify instance to be had.
  static Expected<FileFeed> open(std::string path);

  const std::string& path() const { return path_; }
  int fd() const { return watch_.fd(); }
  /// When read_if_due() wants to be called, whatever fd() says.
  BootTime next_wake() const;
  /// Asks for a reading, changed or not, as soon as what is there is whole.
  void read_again(BootTime now);
  /// The same, and waits no longer than kSettled for a writer that neither writes nor closes: someone who
  /// knows asks. A file that is being written isn't read all the same.
  void read_anyway(BootTime now);
  /// Takes in what inotify says and, when it is time, reads the directory.
  std::optional<PolicyReading> read_if_due(BootTime now, WallTime wall);
  /// A file that isn't whole, for which a reading has been waiting since before `time`; empty: none.
  std::string waiting_for(BootTime time) const;
  /// Whether nothing has been read yet.
  bool is_first() const { return traces_.empty(); }
  /// What inotify couldn't be made to watch, so that changes of it are found by looks; empty: nothing.
  std::string blind() const;

 private:
  /// What a file was when looked at: enough to see that it isn't the same any more.
  struct Trace {
    uint64_t device = 0, inode = 0;
    int64_t bytes = 0, modified_ns = 0, changed_ns = 0;
    bool operator==(const Trace&) const = default;
  };
  using Traces = std::map<std::string, Trace>;  ///< by path
  /// Why a path isn't whole, by when its reading may go on without a word that it is.
  struct Wait {
    BootTime since;  ///< the last that was heard of it
    Nanoseconds patience;
  };
  /// A file that no event tells of, since when it is known to be as it is.
  struct Still {
    Trace trace;
    BootTime until;  ///< when it has been so for kSettled
  };

  FileFeed(std::string path, PathWatch watch)
      : path_(std::move(path)), watch_(std::move(watch)), unseen_{path_} {}
  BootTime due() const;
  void take_events(BootTime now);
  void take_event(const PathEvent& event, BootTime now);
  void note_change(BootTime now);
  void look(BootTime now);
  bool spoilt(bool patient) const;
  bool settled(const Traces& files, BootTime now, WallTime wall);
  Traces traces() const;

  std::string path_;
  PathWatch watch_;
  std::vector<std::string> files_;                      ///< that the last reading wanted
  Traces traces_;                                       ///< as they were when they were last read
  std::optional<Traces> looked_;                        ///< of the last look, where it found something else
  std::vector<PathEvent> while_reading_;                ///< not taken in yet
  std::map<std::string, Wait> unwhole_;                 ///< by path
  std::set<std::string> unseen_;                        ///< paths to what was there before it was watched
  std::map<std::string, Still> still_;                  ///< by path
  bool hurried_ = false;                                ///< by read_anyway()
  std::optional<BootTime> first_change_, last_change_;  ///< since the last reading
  BootTime whole_since_{};                              ///< what has changed since; where nothing is unwhole
  BootTime next_look_{};
};

}  // namespace bulkhead
