#include "controlplane/observe/repeated_events.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/bytes.h"

namespace bulkhead {

size_t RepeatedEvents::KindHash::operator()(const Kind& kind) const noexcept {
  static_assert(sizeof kind.source.bytes == 16);
  char bytes[16 + 16 + 4 + 4 + 1 + 1];
  std::copy(kind.source.bytes.begin(), kind.source.bytes.end(), bytes);
  std::copy(kind.destination.bytes.begin(), kind.destination.bytes.end(), bytes + 16);
  store(bytes + 32, kind.service);
  store(bytes + 36, kind.rule);
  store(bytes + 40, kind.event);
  store(bytes + 41, kind.reason);
  return std::hash<std::string_view>{}(std::string_view(bytes, sizeof bytes));
}

bool RepeatedEvents::note(const FlowRecord& event, BootTime now) {
  if (event.many_kinds == 1) {
    unlisted_[{event.kind, event.reason}] += packets_of(event);
    return false;
  }
  Kind kind{event.source, event.destination, event.service, event.rule, event.kind, event.reason};
  if (auto known = kinds_.find(kind); known != kinds_.end()) {
    Repetition& repetition = known->second.line.repetition;
    if (repetition.count == 0) repetition.first_boot_ns = event.time_boot_ns;
    repetition.count += packets_of(event);
    repetition.last_boot_ns = event.time_boot_ns;
    return false;
  }
  if (kinds_.size() >= kMaxKinds || !may_write(now)) {
    unlisted_[{event.kind, event.reason}] += packets_of(event);
    return false;
  }
  kinds_.emplace(kind, Window{now.ns + kWindow.count(), {event, {}}});
  return true;
}

bool RepeatedEvents::may_write(BootTime now) {
  int64_t second = now.ns / 1'000'000'000;
  if (second != second_) second_ = second, lines_ = 0;
  return ++lines_ <= kMaxLinesPerSecond;
}

std::vector<RepeatedEvents::Line> RepeatedEvents::take_due(BootTime now, bool all) {
  std::vector<Line> due;
  for (auto kind = kinds_.begin(); kind != kinds_.end();) {
    Window& window = kind->second;
    if (!all && now.ns < window.ends_ns) {
      ++kind;
    } else if (window.line.repetition.count == 0) {
      kind = kinds_.erase(kind);  // it was quiet for a whole window: the next one is a first again
    } else {
      due.push_back(window.line);
      window.line.repetition = {};
      window.ends_ns = now.ns + kWindow.count();
      ++kind;
    }
  }
  return due;
}

std::vector<RepeatedEvents::Unlisted> RepeatedEvents::take_unlisted(BootTime now, bool all) {
  std::vector<Unlisted> taken;
  if (!all && now.ns < unlisted_due_ns_) return taken;
  unlisted_due_ns_ = now.ns + kWindow.count();
  for (const auto& [what, count] : std::exchange(unlisted_, {}))
    taken.push_back({what.first, what.second, count});
  return taken;
}

}  // namespace bulkhead
