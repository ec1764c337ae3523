// When a rule's `after` and `until` are, on a clock that nobody can step.
//
// The dataplane judges by CLOCK_BOOTTIME. What UTC it was at boot time 0 is all that a conversion takes, and
// each look at the two clocks says it: their difference, which only a step of the wall clock changes (NTP's
// slewing moves both). Nothing tells which of several differing answers is right, so both ends are kept:
//
//   latest    the highest answer of this boot, and never less than the latest UTC seen in earlier boots.
//             What closes (an allow's `until`, a deny's `after`) counts from it: early rather than late.
//   earliest  the lowest answer of this boot. What opens (an allow's `after`, a deny's `until`) counts from
//             it: late rather than early. Earlier boots say nothing here: their time may have been ahead.
//
// The highest only rises and the lowest only falls, so each instant that was ever converted can move, as the
// clock shows that it was wrong, but only to the safe side; no conversion has to be kept for itself. Both
// ends are kept on disk with the boot's id, so a restart knows what the clock once said. An answer from
// before this program was written is no evidence: as long as a boot has no other, nothing opens and all that
// closes is closed.
//
// What is left: a clock that is ahead from the first look on opens early until it is put right, and one that
// is behind closes late; the engine looks every second and converts all anew. After a step the two ends stay
// apart, for openings until the next boot, for closings until time has caught up; the operator is told how to
// forget that.
#pragma once

#include <functional>
#include <optional>
#include <string>

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

/// What the clocks have said, and what follows for deadlines. Thread: one.
class Deadlines {
 public:
  /// Two answers that differ by less are the same.
  static constexpr Nanoseconds kSame{1'000'000};
  /// 2025-01-01: no clock that says less is right.
  static constexpr WallTime kEarliest{1'735'689'600'000'000'000};

  /// Reads `directory`/clock.json, and looks at the clocks. A file that isn't there is a first start. The
  /// full disk is no error here, and once something of this boot is on disk nothing that hinders writing is:
  /// keep() and store() tell. Errors: kExists while another control plane has the directory; kInvalid for a
  /// file that is damaged or of another format; else why it can't be read or written.
  static Expected<Deadlines> open(const std::string& directory, Clocks clocks);

  /// Looks at the clocks. Output: whether conversions differ from now on.
  bool look();
  /// The boot time of an instant, by the latest look. "Never" and "long ago" where no clock can be believed.
  BootTime convert(Turn turn, WallTime time) const;
  /// What convert() counts from is on disk afterwards; writes only what isn't there already.
  /// Errors: the file can't be written; what it held stays.
  Expected<void> keep();
  /// Writes it anyway, with the time that it is now, for the boots to come: every now and then, and at the
  /// end.
  Expected<void> store();

  /// What is wrong with the clock, what follows and what to do; empty: nothing.
  std::string doubt() const;
  const std::string& file() const { return file_; }

 private:
  /// UTC at boot time 0, in ns, as clocks have said.
  struct Evidence {
    int64_t latest = INT64_MIN;
    std::optional<int64_t> earliest;
    bool operator==(const Evidence&) const = default;
  };

  Deadlines(std::string file, Clocks clocks) : file_(std::move(file)), clocks_(std::move(clocks)) {}
  Expected<void> read();

  std::string file_;
  Clocks clocks_;
  Fd lock_;  ///< the directory, held by flock(2)
  Evidence evidence_;
  std::optional<Evidence> stored_;  ///< on disk, for this boot
};

}  // namespace bulkhead
