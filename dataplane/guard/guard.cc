#include "dataplane/guard/guard.h"

#include <fmt/format.h>

#include <optional>
#include <span>

#include "dataplane/guard/attach_tc.h"
#include "dataplane/guard/attach_xdp.h"
#include "dataplane/guard/bpf/guard_xdp_object.h"
#include "dataplane/guard/guard_maps.h"
#include "dataplane/guard/interface.h"
#include "dataplane/guard/vlan_stripping.h"

namespace bulkhead {

struct Guard::State {
  std::vector<IpAddress> host_addresses;
  Interface interface;
  Fd claimed;
  AttachedTc tc;

  // af_xdp ports only
  DeviceFeatures switched_off;  ///< for as long as the guard stands
  Fd xdp_object;                ///< a sealed copy of our program, for the driver to load
  std::string xdp_object_path;
  std::optional<LoadedProgram> xdp_program;  ///< once adopted, as are its maps
  GuardMaps xdp_maps;
};

Guard::Guard(std::unique_ptr<State> state) : state_(std::move(state)) {}
Guard::Guard(Guard&&) noexcept = default;
Guard& Guard::operator=(Guard&&) noexcept = default;
Guard::~Guard() = default;

Expected<std::unique_ptr<Guard::State>> Guard::with_tc(const GuardSetting& setting) {
  auto state = std::make_unique<State>();
  state->host_addresses = setting.host_addresses;

  Expected<Interface> interface = find_interface(setting.interface);
  if (!interface) return std::unexpected(interface.error());
  state->interface = std::move(*interface);

  Expected<Fd> claimed = claim(state->interface);
  if (!claimed) return std::unexpected(claimed.error());
  state->claimed = std::move(*claimed);

  Expected<AttachedTc> tc = attach_tc(state->interface, state->host_addresses);
  if (!tc) return std::unexpected(tc.error());
  state->tc = std::move(*tc);
  return state;
}

/// Errors: kExists where the interface has an XDP program that isn't ours.
static Expected<> remove_leftover_xdp(const Interface& interface) {
  const Expected<std::optional<LoadedProgram>> leftover = our_xdp_on(interface);
  if (!leftover) return std::unexpected(leftover.error());
  return leftover->has_value() ? detach_xdp(interface, **leftover) : Expected<>();
}

Expected<Guard> Guard::for_af_packet(const GuardSetting& setting) {
  Expected<std::unique_ptr<State>> state = with_tc(setting);
  if (!state) return std::unexpected(state.error());
  // Of a gateway that had the interface as af_xdp: it would drop every frame before packet sockets see it.
  if (const Expected<> removed = remove_leftover_xdp((*state)->interface);
      !removed && removed.error().code != ErrorCode::kExists)
    return std::unexpected(removed.error());
  return Guard(std::move(*state));
}

Expected<Guard> Guard::before_af_xdp(const GuardSetting& setting) {
  const Expected<Interface> interface = find_interface(setting.interface);
  if (!interface) return std::unexpected(interface.error());
  if (const auto xdp = our_xdp_on(*interface); !xdp) return std::unexpected(xdp.error());

  Expected<std::unique_ptr<State>> guarded = with_tc(setting);
  if (!guarded) return std::unexpected(guarded.error());
  State& state = **guarded;
  // Only now that the tc program stands: without one of the two the kernel would have the frames.
  if (const Expected<> removed = remove_leftover_xdp(state.interface); !removed)
    return std::unexpected(removed.error());

  Expected<DeviceFeatures> switched_off = stop_vlan_stripping(state.interface);
  if (!switched_off) return std::unexpected(switched_off.error());
  state.switched_off = std::move(*switched_off);

  Expected<Fd> object = make_sealed("bulkhead_xdp", std::as_bytes(std::span(kXdpObject)));
  if (!object) return std::unexpected(object.error());
  state.xdp_object = std::move(*object);
  state.xdp_object_path = fmt::format("/proc/self/fd/{}", state.xdp_object.get());
  return Guard(std::move(*guarded));
}

const std::string& Guard::xdp_object() const {
  return state_->xdp_object_path;
}

Expected<> Guard::adopt_xdp() {
  Expected<std::optional<LoadedProgram>> program = our_xdp_on(state_->interface);
  if (!program) return std::unexpected(program.error());
  if (!program->has_value())
    return fail(ErrorCode::kNotFound,
                fmt::format("the AF_XDP driver has attached no program to interface '{}': is "
                            "the port's first receive queue set up?",
                            state_->interface.name));
  Expected<GuardMaps> maps = GuardMaps::of(**program);
  if (!maps) return std::unexpected(maps.error());
  if (const Expected<> admitted = maps->admit(state_->host_addresses, state_->interface.mac); !admitted)
    return admitted;
  state_->xdp_program = std::move(*program);
  state_->xdp_maps = std::move(*maps);
  return {};
}

GuardCounts Guard::counts() const {
  GuardCounts counts = state_->tc.maps.counts();
  // What the XDP program leaves to the kernel passes the tc program after it, and is counted there.
  if (state_->xdp_program) counts.dropped += state_->xdp_maps.counts().dropped;
  return counts;
}

Expected<> Guard::remove() {
  if (!still_exists(state_->interface)) return {};
  if (state_->xdp_program)
    if (const Expected<> detached = detach_xdp(state_->interface, *state_->xdp_program); !detached)
      return detached;
  if (const Expected<> restored = restore_vlan_stripping(state_->interface, state_->switched_off); !restored)
    return restored;
  return detach_tc(state_->interface, state_->tc.program_id);
}

}  // namespace bulkhead
