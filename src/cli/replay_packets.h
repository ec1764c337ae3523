// The packets of a replay through the pipeline.
#pragma once

#include "cli/replay_input.h"
#include "controlplane/compiler/explain.h"
#include "dataplane/fastpath/replay.h"

namespace bulkhead {

/// Feeds every packet, and tells `sink` what became of each. `policy` is compiled with UTC as its clock, as
/// the captures' times are, or nullptr: nothing is in force. Errors: of start_replay_memory() and Replay.
Expected<void> replay_packets(const ReplayInput& input, const DataplaneSettings& settings,
                              const ExplainablePolicy* policy, bool ignore_checksums, ReplaySink& sink);

}  // namespace bulkhead
