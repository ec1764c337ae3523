#include "dataplane/fastpath/telemetry.h"

namespace bulkhead {

Expected<Telemetry> Telemetry::create(unsigned worker_count, unsigned port_count, uint64_t tsc_hz) {
  Telemetry telemetry;
  auto counters = make_shared_memory("bulkhead-counters", counters_bytes(worker_count));
  if (!counters) return std::unexpected(counters.error());
  telemetry.counters_ = std::move(*counters);
  CountersHeader& header = telemetry.header();
  header.magic = kCountersMagic;
  header.format = kCountersFormat;
  header.worker_count = worker_count;
  header.worker_bytes = sizeof(WorkerCounters);
  header.port_count = port_count;
  header.tsc_hz = tsc_hz;
  if (auto sealed = seal_against_readers(telemetry.counters_.fd); !sealed)
    return std::unexpected(sealed.error());

  for (unsigned worker = 0; worker < worker_count; ++worker) {
    auto ring = make_ring();
    if (!ring) return std::unexpected(ring.error());
    telemetry.rings_.push_back(std::move(*ring));
  }
  return telemetry;
}

Expected<Telemetry::Ring> Telemetry::make_ring() {
  auto records = make_shared_memory("bulkhead-events", kEventRingBytes);
  if (!records) return std::unexpected(records.error());
  auto* header = records->mapping.as<EventRingHeader>();
  header->magic = kEventRingMagic;
  header->slots = kEventRingSlots;
  header->record_bytes = sizeof(FlowRecord);
  if (auto sealed = seal_against_readers(records->fd); !sealed) return std::unexpected(sealed.error());

  auto tail = make_shared_memory("bulkhead-events-read", sizeof(EventRingTail));
  if (!tail) return std::unexpected(tail.error());
  if (auto sealed = seal_as_writable(tail->fd); !sealed) return std::unexpected(sealed.error());
  return Ring{std::move(*records), std::move(*tail)};
}

EventWriter Telemetry::events(unsigned worker) const {
  const Ring& ring = rings_[worker];
  return EventWriter(ring.records.mapping.as<EventRingHeader>(), ring.tail.mapping.as<const EventRingTail>());
}

std::vector<int> Telemetry::fds() const {
  std::vector<int> fds{counters_.fd.get()};
  for (const Ring& ring : rings_) {
    fds.push_back(ring.records.fd.get());
    fds.push_back(ring.tail.fd.get());
  }
  return fds;
}

}  // namespace bulkhead
