#include "controlplane/observe/repeated_denies.h"

#include <algorithm>
#include <string_view>

#include "base/bytes.h"

namespace bulkhead {

size_t RepeatedDenies::KindHash::operator()(const Kind& kind) const noexcept {
  static_assert(sizeof kind.source.bytes == 16);
  char bytes[16 + 16 + 4 + 1];
  std::copy(kind.source.bytes.begin(), kind.source.bytes.end(), bytes);
  std::copy(kind.destination.bytes.begin(), kind.destination.bytes.end(), bytes + 16);
  store(bytes + 32, kind.service);
  store(bytes + 36, kind.reason);
  return std::hash<std::string_view>{}(std::string_view(bytes, sizeof bytes));
}

bool RepeatedDenies::note(const FlowRecord& deny, BootTime now) {
  Kind kind{deny.source, deny.destination, deny.service, deny.reason};
  if (auto known = kinds_.find(kind); known != kinds_.end()) {
    Repetition& repetition = known->second.line.repetition;
    if (repetition.count++ == 0) repetition.first_boot_ns = deny.time_boot_ns;
    repetition.last_boot_ns = deny.time_boot_ns;
    return false;
  }
  if (kinds_.size() >= kMaxKinds || !may_write(now)) {
    if (static_cast<size_t>(deny.reason) < kDropReasonCount) ++unlisted_[static_cast<size_t>(deny.reason)];
    return false;
  }
  kinds_.emplace(kind, Window{now.ns + kWindow.count(), {deny, {}}});
  return true;
}

bool RepeatedDenies::may_write(BootTime now) {
  int64_t second = now.ns / 1'000'000'000;
  if (second != second_) second_ = second, lines_ = 0;
  return ++lines_ <= kMaxLinesPerSecond;
}

std::vector<RepeatedDenies::Line> RepeatedDenies::take_due(BootTime now, bool all) {
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

std::vector<RepeatedDenies::Unlisted> RepeatedDenies::take_unlisted(BootTime now, bool all) {
  std::vector<Unlisted> taken;
  if (!all && now.ns < unlisted_due_ns_) return taken;
  unlisted_due_ns_ = now.ns + kWindow.count();
  for (size_t i = 0; i < kDropReasonCount; ++i)
    if (unlisted_[i] > 0) taken.push_back({static_cast<DropReason>(i), std::exchange(unlisted_[i], 0)});
  return taken;
}

}  // namespace bulkhead
