#include "controlplane/observe/flow_log.h"

#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "config/policy.h"

namespace bulkhead {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kWarnEvery = 60 * kSecond;
constexpr size_t kMaxBatchBytes = size_t{1} << 20;  ///< one write: what is lost at most when it fails

std::string unlisted_line(const RepeatedEvents::Unlisted& unlisted, WallTime wall) {
  nlohmann::ordered_json line{{"time", to_string(wall)}, {"event", event_name(unlisted.event)}};
  if (unlisted.event == EventKind::kDeny) line["reason"] = name_of(unlisted.reason);
  line["count"] = unlisted.count;
  line["aggregated"] = "more kinds at once than are listed one by one";
  return line.dump() + "\n";
}

/// Whether the event is for the log at all: `log: false` silences what passes, and only that.
bool is_wanted(const FlowRecord& event) {
  bool passes =
      event.kind == EventKind::kOpen || event.kind == EventKind::kVerified || event.kind == EventKind::kClose;
  return !passes || event.log != 0;
}

}  // namespace

Expected<FlowLog> FlowLog::open(const FlowLogConfig& config, std::vector<std::string> port_names,
                                std::shared_ptr<const NameHistory> names, RelayBoard* relay) {
  auto file = RotatingFile::open(config.path, uint64_t{config.rotate_mib} << 20, config.keep);
  if (!file) return with_context(file.error(), "flow log");
  return FlowLog(std::move(*file), std::move(port_names), std::move(names), relay);
}

void FlowLog::write(std::span<const FlowRecord> events, BootTime now, WallTime wall) {
  write_batch(events, now, wall, false);
}

void FlowLog::finish(BootTime now, WallTime wall) {
  write_batch({}, now, wall, true);
}

void FlowLog::write_batch(std::span<const FlowRecord> events, BootTime now, WallTime wall, bool all) {
  std::string lines;
  uint64_t count = 0;
  auto newest = names_->newest();
  auto add = [&](std::string line) {
    lines += line;
    ++count;
    if (lines.size() >= kMaxBatchBytes) append(lines, count, now), lines.clear(), count = 0;
  };
  auto add_record = [&](const FlowRecord& record, const Repetition& repetition) {
    auto names = names_->of(record);
    std::optional<ConnectionProof> proof;
    if (relay_ != nullptr && record.flow_id != 0) proof = relay_->proof_of(record.flow_id);
    LineContext context{names.get(), newest.get(), &ports_, WallOfBoot(now, wall), proof ? &*proof : nullptr};
    add(flow_line(record, context, repetition));
  };

  for (const FlowRecord& event : events) {
    bool repeats = event.kind == EventKind::kDeny || event.kind == EventKind::kAudit;
    if (is_wanted(event) && (!repeats || repeated_.note(event, now))) add_record(event, {});
    bool is_last = event.kind == EventKind::kClose || event.kind == EventKind::kRevoke;
    if (relay_ != nullptr && is_last) relay_->forget(event.flow_id);
  }
  if (relay_ != nullptr)
    for (const ConnectionProof& news : relay_->take_news()) add(relay_line(news, WallOfBoot(now, wall)));
  if (all || now >= next_due_) {
    next_due_ = BootTime{now.ns + kSecond};
    for (const auto& due : repeated_.take_due(now, all)) add_record(due.record, due.repetition);
    for (const auto& unlisted : repeated_.take_unlisted(now, all)) add(unlisted_line(unlisted, wall));
  }
  if (count > 0) append(lines, count, now);
}

void FlowLog::append(const std::string& lines, uint64_t count, BootTime now) {
  auto written = file_.append(lines);
  if (written) {
    if (lost_in_a_row_ > 0)
      spdlog::warn("flow log {}: writing again; {} lines were lost", file_.path(), lost_in_a_row_);
    lost_in_a_row_ = 0, warned_.reset();
    return;
  }
  lost_->fetch_add(count, std::memory_order_relaxed);
  lost_in_a_row_ += count;
  if (warned_ && now.ns - warned_->ns < kWarnEvery) return;
  warned_ = now;
  spdlog::error("flow log: {}: {} lines lost so far; enforcement goes on without. Make room, or fix the path",
                written.error().message, lost_in_a_row_);
}

}  // namespace bulkhead
