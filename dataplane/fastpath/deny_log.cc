#include "dataplane/fastpath/deny_log.h"

namespace bulkhead {

void DenyLog::write(Place& place, Ticks now, EventWriter& events) noexcept {
  events.write(place.record);
  place.record.packets[0] = place.record.bytes[0] = 0;
  place.since = now;
}

void DenyLog::note(uint64_t kind_hash, const FlowRecord& record, Ticks now, EventWriter& events) noexcept {
  kind_hash |= 1;
  Place& place = places_[kind_hash >> 56];
  if (place.kind == kind_hash && !is_due(place.since + kWindow, now)) {
    uint64_t packets = place.record.packets[0] + record.packets[0],
             bytes = place.record.bytes[0] + record.bytes[0];
    place.record = record;
    place.record.packets[0] = packets;
    place.record.bytes[0] = bytes;
    return;
  }
  if (place.kind == kind_hash) {
    uint64_t packets = place.record.packets[0], bytes = place.record.bytes[0];
    place.record = record;
    place.record.packets[0] += packets;
    place.record.bytes[0] += bytes;
  } else {
    if (place.kind != 0 && place.record.packets[0] != 0) write(place, now, events);  // another kind moves in
    place.kind = kind_hash;
    place.record = record;
  }
  write(place, now, events);
}

void DenyLog::flush(Ticks now, EventWriter& events) noexcept {
  for (int i = 0; i < 4; ++i) {
    Place& place = places_[cursor_++ % places_.size()];
    if (place.kind == 0 || !is_due(place.since + kWindow, now)) continue;
    if (place.record.packets[0] != 0)
      write(place, now, events);
    else
      place.kind = 0;
  }
}

}  // namespace bulkhead
