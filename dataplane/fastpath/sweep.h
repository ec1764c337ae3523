// The sweep: idle flows are judged again and timed out in the background, a bounded piece at a time.
#pragma once

#include "dataplane/fastpath/pipeline_state.h"

namespace bulkhead {

/// Looks at the next slots of both tables, at a pace that sees the whole of them once a second, ten times as
/// fast while flows of an older generation may be left. True: such a round is under way.
bool sweep_flows(PipelineState& s, const Moment& m) noexcept;

}  // namespace bulkhead
