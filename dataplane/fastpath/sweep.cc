#include "dataplane/fastpath/sweep.h"

#include <algorithm>

#include "dataplane/fastpath/relayed.h"

namespace bulkhead {
namespace {

constexpr Ticks kRoundMs = 1000;       ///< for the whole table
constexpr Ticks kUrgentRoundMs = 100;  ///< while what is enforced has changed
constexpr uint32_t kMostSlots = 2048;  ///< a call: some tens of microseconds

template <class Key>
void sweep_slot(PipelineState& s, uint32_t slot, const Moment& m) noexcept {
  auto& table = s.table<Key>();
  if (!table.live(slot)) return;
  FlowHot& hot = table.entry(slot).hot;
  if (is_far(hot)) return;  // lives and ends with its near one
  if (m.ticks - hot.last > s.timeout_ms[static_cast<size_t>(hot.state)]) {
    retire_flow<Key>(s, slot, EndCause::kIdle, m);
    return;
  }
  if ((hot.flags & kFlowRevoked) != 0 || (hot.checked == m.generation && !is_due(hot.deadline, m.ticks)))
    return;
  DropReason reason = rejudge<Key>(s, slot, m);
  if (reason != DropReason::kNone) revoke_idle<Key>(s, slot, reason, m);
}

}  // namespace

bool sweep_flows(PipelineState& s, const Moment& m) noexcept {
  Ticks elapsed = m.ticks - s.sweep_ticks;
  bool urgent = s.swept_generation != m.generation;
  uint64_t slots = uint64_t{s.flows4.used_end()} + s.flows6.used_end();
  if (elapsed == 0) return urgent;
  if (s.sweep4 == 0 && s.sweep6 == 0) s.sweep_generation = m.generation;
  s.sweep_ticks = m.ticks;
  uint64_t due = slots * elapsed / (urgent ? kUrgentRoundMs : kRoundMs) + 1;
  uint32_t budget = static_cast<uint32_t>(std::min<uint64_t>({due, slots, kMostSlots}));
  for (; budget != 0 && s.sweep4 < s.flows4.used_end(); --budget) sweep_slot<FlowKey4>(s, s.sweep4++, m);
  for (; budget != 0 && s.sweep6 < s.flows6.used_end(); --budget) sweep_slot<FlowKey6>(s, s.sweep6++, m);
  if (s.sweep4 >= s.flows4.used_end() && s.sweep6 >= s.flows6.used_end()) {
    s.sweep4 = s.sweep6 = 0;
    s.swept_generation = s.sweep_generation;
    add(s.counters().sweep_rounds, 1);
  }
  return s.swept_generation != m.generation;
}

}  // namespace bulkhead
