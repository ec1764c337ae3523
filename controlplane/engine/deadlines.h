// When a rule's `after` and `until` are, on a clock that nobody can step.
//
// An absolute time is converted to CLOCK_BOOTTIME once and kept, with the boot's id, in a file. An unchanged
// (rule, kind, time) keeps its first conversion across reloads and restarts. What is converted anew counts
// from the later of the wall clock and the high-water mark: the latest time ever seen, moved on by
// CLOCK_BOOTTIME and stored across boots. So no step of the wall clock makes a grant live longer, or one that
// was converted before open earlier; an `after` that is new once the clock ran ahead does open early. A clock
// that is behind the mark ends grants early, and is warned of.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <tuple>

#include "base/clock.h"
#include "base/error.h"
#include "contract/memfd.h"
#include "controlplane/compiler/compile.h"

namespace bulkhead {

/// The clocks that deadlines stand on; tests give their own.
struct Clocks {
  std::function<BootTime()> boot;
  std::function<WallTime()> wall;
  std::string boot_id;  ///< changes with every boot of the machine
};
/// The system's own. Errors: /proc/sys/kernel/random/boot_id can't be read.
Expected<Clocks> system_clocks();

/// The conversions in force, and those of the policy that is being compiled. Thread: one.
class Deadlines {
 public:
  /// Reads `directory`/deadlines.json, and writes it to see that it can be. A file that isn't there is a
  /// first start. Errors: kExists while another control plane has the directory; kInvalid for a file that is
  /// damaged or of another format; else why it can't be read or written.
  static Expected<Deadlines> open(const std::string& directory, Clocks clocks);

  /// Starts on another policy: forgets conversions that were made and not kept.
  void begin();
  /// The instant at which (rule, kind, time) is: as it was first converted, where it is known.
  BootTime convert(std::string_view rule, DeadlineKind kind, WallTime time);
  /// Keeps what was converted since begin(), on disk, and forgets everything else: the policy is accepted.
  /// Errors: the file can't be written; what was kept before stays.
  Expected<void> keep();
  /// Moves the stored high-water mark on: called every now and then, and at the end.
  Expected<void> store_mark();

  /// UTC as deadlines see it now: never before what was seen earlier.
  WallTime trusted_now();
  /// How far the wall clock is behind trusted_now(); 0 where it isn't.
  Nanoseconds behind() const;
  const std::string& file() const { return file_; }

 private:
  using Key = std::tuple<std::string, DeadlineKind, int64_t>;
  using Conversions = std::map<Key, BootTime>;

  Deadlines(std::string file, Clocks clocks) : file_(std::move(file)), clocks_(std::move(clocks)) {}
  Expected<void> read();
  Expected<void> write(const Conversions& conversions);
  WallTime mark_at(BootTime boot) const;

  std::string file_;
  Clocks clocks_;
  Fd lock_;  ///< the directory, held by flock(2)
  Conversions kept_;
  Conversions pending_;
  WallTime mark_wall_{INT64_MIN};  ///< the latest UTC that was seen ...
  BootTime mark_boot_{};           ///< ... and when that was
};

}  // namespace bulkhead
