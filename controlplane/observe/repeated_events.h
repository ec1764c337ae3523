// Keeps repeated denies and audits from flooding the flow log: the first of its kind is written at once, then
// one line stands for all that follow within a window. Nothing is left out of the counts.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "contract/events.h"
#include "controlplane/observe/flow_line.h"

namespace bulkhead {

/// Events are of one kind when what happened, source, destination, service, rule and reason are the same. An
/// event stands for as many packets as the dataplane put into it.
/// Thread: one.
class RepeatedEvents {
 public:
  static constexpr Nanoseconds kWindow{10'000'000'000};
  static constexpr size_t kMaxKinds = 16384;            ///< kinds that are remembered at a time
  static constexpr uint64_t kMaxLinesPerSecond = 1000;  ///< of first events

  /// A line to be written: an event, and how many packets it stands for.
  struct Line {
    FlowRecord record;
    Repetition repetition;
  };
  /// Packets whose events had no line of their own: too many kinds at once, here or in the dataplane.
  struct Unlisted {
    EventKind event;
    DropReason reason;
    uint64_t count;
  };

  /// Takes one event. True: write it now.
  bool note(const FlowRecord& event, BootTime now);
  /// The lines that are due: repetitions of windows that have ended; with `all`, of those still open too.
  std::vector<Line> take_due(BootTime now, bool all = false);
  /// Counts of events without a line, since the last call; at most one call a window gives something, unless
  /// `all`.
  std::vector<Unlisted> take_unlisted(BootTime now, bool all = false);
  size_t kinds() const { return kinds_.size(); }

 private:
  struct Kind {
    IpAddress source, destination;
    uint32_t service;
    uint32_t rule;
    EventKind event;
    DropReason reason;
    bool operator==(const Kind&) const = default;
  };
  struct KindHash {
    size_t operator()(const Kind& kind) const noexcept;
  };
  struct Window {
    int64_t ends_ns;
    Line line;
  };
  bool may_write(BootTime now);

  std::unordered_map<Kind, Window, KindHash> kinds_;
  std::map<std::pair<EventKind, DropReason>, uint64_t> unlisted_;
  int64_t unlisted_due_ns_ = 0;
  int64_t second_ = 0;  ///< the one that `lines_` counts for
  uint64_t lines_ = 0;
};

}  // namespace bulkhead
