// From policy to what a dataplane enforces: an image and a set of endpoints.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "config/policy.h"
#include "contract/settings.h"
#include "controlplane/compiler/workload_names.h"
#include "policy/endpoint_table.h"
#include "policy/image_view.h"

namespace bulkhead {

/// The gateway that it is compiled for: bindings `GATEWAY/PORT` hold on that gateway only, and its own
/// addresses become segment `gateway`.
struct CompileTarget {
  std::string gateway;
  std::vector<std::string> port_names;  ///< by PortId
  std::vector<IpAddress> own_addresses;
};
CompileTarget target_of(const DataplaneSettings& settings);

/// What a rule's instant does to what may pass. A clock that is in doubt must not open early or close late,
/// so it has to know.
enum class Turn : uint8_t { kOpens, kCloses };
/// Turns an instant of a rule into BootTime. The control plane's errs to the safe side of each turn; replay's
/// is the identity.
using DeadlineClock = std::function<BootTime(Turn turn, WallTime time)>;
/// UTC taken as boot time as it is: for replay, explain and tests, whose `now` is UTC too.
BootTime wall_as_boot(Turn turn, WallTime time);

/// When a rule holds, on the clock that it is compiled for.
struct Validity {
  BootTime after{INT64_MIN};
  BootTime until = kNever;
};
/// An allow opens at its `after` and closes at its `until`; what denies does the opposite, an ask (which
/// nobody answers in this version) and a rule in audit mode among them, each as its action.
Validity validity_of(const Rule& rule, const DeadlineClock& deadlines);

/// Image bytes, 64-byte aligned wherever it is copied or moved; position-independent, as image.h says.
struct ImageBuffer {
  struct alignas(kImageAlignment) Line {
    std::byte bytes[kImageAlignment];
  };
  std::vector<Line> lines;
  std::span<const std::byte> span() const { return std::as_bytes(std::span(lines)); }
};

struct CompiledPolicy {
  ImageBuffer image;
  std::vector<Endpoint> endpoints;                 ///< sorted by (address, bits)
  std::shared_ptr<const WorkloadNames> workloads;  ///< by Endpoint::workload
};

/// The image alone, which asks for no members. Errors: as compile()'s, but std::bad_alloc is thrown.
Expected<ImageBuffer> compile_image(const Policy& policy, const DeadlineClock& deadlines);

/// Compiles. The same policy and target give the same bytes.
/// Errors: kInvalid where allows of one (pair, service, tier) ask for both end_to_end and relay, naming both,
/// for a member's port that the gateway doesn't have, a prefix that stands twice, a member that is the
/// gateway's own address; kExhausted over the format's limits, saying which; kSystem where memory ran out.
/// Cost: O(n log n) in rules and members; no product of segments is ever formed, but of lists up to 64 pairs
/// a rule.
Expected<CompiledPolicy> compile(const Policy& policy, const CompileTarget& target,
                                 const DeadlineClock& deadlines);

}  // namespace bulkhead
