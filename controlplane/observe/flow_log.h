// The flow log: one JSON object a line on flow open, deny, revoke, close and audit. Opens and closes of flows
// whose rule says `log: false` are left out, all else is there.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "config/gateway.h"
#include "contract/events.h"
#include "controlplane/observe/names.h"
#include "controlplane/observe/relay_board.h"
#include "controlplane/observe/repeated_events.h"
#include "controlplane/observe/rotating_file.h"

namespace bulkhead {

/// Writes events as lines. A write that fails loses its lines, which are counted and warned of once a minute,
/// and delays nothing but the log. Thread: one, but for lost().
class FlowLog {
 public:
  /// Errors: the file can't be opened or its directory made.
  static Expected<FlowLog> open(const FlowLogConfig& config, std::vector<std::string> port_names,
                                std::shared_ptr<const NameHistory> names, RelayBoard* relay = nullptr);

  /// Writes a batch of events, and the repetitions that are due by now, in one go.
  void write(std::span<const FlowRecord> events, BootTime now, WallTime wall);
  /// Writes what was kept back for aggregation: at the end.
  void finish(BootTime now, WallTime wall);
  /// Lines that could not be written. Thread: any.
  uint64_t lost() const { return lost_->load(std::memory_order_relaxed); }

 private:
  FlowLog(RotatingFile file, std::vector<std::string> ports, std::shared_ptr<const NameHistory> names,
          RelayBoard* relay)
      : file_(std::move(file)), ports_(std::move(ports)), names_(std::move(names)), relay_(relay) {}
  void write_batch(std::span<const FlowRecord> events, BootTime now, WallTime wall, bool all);
  void append(const std::string& lines, uint64_t count, BootTime now);

  RotatingFile file_;
  std::vector<std::string> ports_;
  std::shared_ptr<const NameHistory> names_;
  RelayBoard* relay_;  ///< what the mTLS relay tells goes in here; nullptr: there is none
  RepeatedEvents repeated_;
  std::unique_ptr<std::atomic<uint64_t>> lost_ = std::make_unique<std::atomic<uint64_t>>(0);
  uint64_t lost_in_a_row_ = 0;  ///< since writing last succeeded
  std::optional<BootTime> warned_;
  BootTime next_due_{};  ///< when repetitions are looked through again
};

}  // namespace bulkhead
