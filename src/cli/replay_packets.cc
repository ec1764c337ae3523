#include "cli/replay_packets.h"

#include <algorithm>

namespace bulkhead {

static constexpr uint32_t kLeastMemoryMib = 512;  // address space; what isn't used costs nothing

Expected<void> replay_packets(const ReplayInput& input, const DataplaneSettings& settings,
                              const ExplainablePolicy* policy, bool ignore_checksums, ReplaySink& sink) {
  const std::vector<InputPacket>& packets = input.packets;
  Snapshot snapshot;
  if (policy != nullptr) {
    snapshot.image = &policy->view;
    snapshot.endpoints = &policy->endpoints;
    snapshot.generation = snapshot.image_generation = 1;
  }
  ReplayOptions options;
  options.start = BootTime{packets.empty() ? 0 : packets[0].time.ns};
  options.longest_frame = input.longest_frame;
  options.packets = packets.size();
  options.ignore_checksums = ignore_checksums;
  if (auto started = start_replay_memory(std::max(settings.memory_mib, kLeastMemoryMib)); !started)
    return started;
  auto replay = Replay::create(settings, policy != nullptr ? &snapshot : nullptr, options, sink);
  if (!replay) return std::unexpected(replay.error());
  for (const InputPacket& packet : packets)
    if (auto fed = (*replay)->feed({BootTime{packet.time.ns}, packet.port, packet.frame}); !fed) return fed;
  return (*replay)->finish();
}

}  // namespace bulkhead
