#include "dataplane/guard/attach_tc.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <iterator>
#include <memory>
#include <utility>

#include "dataplane/guard/bpf/guard_layout.h"
#include "dataplane/guard/bpf/guard_tc_object.h"
#include "dataplane/guard/libbpf_log.h"
#include "dataplane/guard/libbpf_options.h"
#include "dataplane/guard/loaded_program.h"

namespace bulkhead {
namespace {

/// Before every other filter, under a number of our own.
constexpr uint32_t kPriority = 1;
constexpr uint32_t kHandle = 0xb01c;

bpf_tc_hook ingress_of(const Interface& interface) {
  bpf_tc_hook hook;
  clear(hook);
  hook.ifindex = interface.index;
  hook.attach_point = BPF_TC_INGRESS;
  return hook;
}

bpf_tc_opts our_place() {
  bpf_tc_opts place;
  clear(place);
  place.handle = kHandle;
  place.priority = kPriority;
  return place;
}

/// The program of the filter in our place, or 0 where there is no such filter.
Expected<uint32_t> program_in_our_place(const Interface& interface) {
  const LibbpfLog log;
  const bpf_tc_hook hook = ingress_of(interface);
  bpf_tc_opts query = our_place();
  const int error = bpf_tc_query(&hook, &query);
  if (error == 0) return query.prog_id;
  // No filter; no qdisc that could have one, or a filter of another kind; no interface.
  if (error == -ENOENT || error == -EINVAL || error == -ENODEV) return 0;
  return log.fail(error, fmt::format("asking for the tc filters of interface '{}'", interface.name));
}

/// True where a filter of ours is there to be replaced.
/// Errors: kExists (the filter in our place is somebody else's), kPermission, kSystem.
Expected<bool> has_leftover(const Interface& interface) {
  const Expected<uint32_t> id = program_in_our_place(interface);
  if (!id) return std::unexpected(id.error());
  if (*id == 0) return false;
  const Expected<LoadedProgram> program = program_with_id(*id);
  if (!program) return std::unexpected(program.error());
  const Expected<bool> ours = is_ours(*program, GUARD_TC_PROGRAM);
  if (!ours || *ours) return ours;
  return fail(
      ErrorCode::kExists,
      fmt::format("interface '{0}' has a tc ingress filter that isn't Bulkhead's in its place (pref {1} "
                  "handle {2:#x}): program '{3}' (id {4}). Remove it with `tc filter del dev {0} ingress "
                  "pref {1} handle {2:#x} bpf`, or move it to another pref",
                  interface.name, kPriority, kHandle, program->name, program->id));
}

/// Programs attached by the kernel's newer way (tcx, Linux 6.6) run before every filter, and may let a frame
/// pass that ours would drop.
Expected<> refuse_tcx_programs(const Interface& interface) {
  // BPF_TCX_INGRESS, which Debian 12's headers don't have.
  constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);
  uint32_t ids[64];
  uint32_t count = std::size(ids);
  const LibbpfLog log;
  const int error = bpf_prog_query(interface.index, kTcxIngress, 0, nullptr, ids, &count);
  if (error == -EINVAL) return {};  // a kernel without tcx
  if (error != 0 && error != -ENOSPC)
    return log.fail(error, fmt::format("asking for the tcx programs of interface '{}'", interface.name));
  if (count == 0) return {};
  return fail(
      ErrorCode::kExists,
      fmt::format(
          "interface '{0}' has a tcx ingress program (id {1}), which comes before Bulkhead's tc filter: "
          "detach it (`bpftool net show dev {0}` and `bpftool link` say whose it is), or use "
          "another interface",
          interface.name, ids[0]));
}

Expected<LoadedProgram> load_tc_program() {
  const LibbpfLog log;
  bpf_object_open_opts options;
  clear(options);
  options.object_name = GUARD_TC_PROGRAM;
  const std::unique_ptr<bpf_object, decltype(&bpf_object__close)> object(
      bpf_object__open_mem(kTcObject, sizeof kTcObject, &options), bpf_object__close);
  if (!object) return log.fail(-errno, "opening the guard's tc program");
  if (const int error = bpf_object__load(object.get()); error != 0)
    return log.fail(error, "loading the guard's tc program");
  const bpf_program* program = bpf_object__find_program_by_name(object.get(), GUARD_TC_PROGRAM);
  return program_with_fd(Fd(fcntl(bpf_program__fd(program), F_DUPFD_CLOEXEC, 0)));  // `object` closes its own
}

Expected<> make_hook(const Interface& interface) {
  const LibbpfLog log;
  bpf_tc_hook hook = ingress_of(interface);
  const int error = bpf_tc_hook_create(&hook);
  if (error == 0 || error == -EEXIST) return {};
  return log.fail(error, fmt::format("adding a clsact qdisc to interface '{}'", interface.name));
}

Expected<> put_in_place(const Interface& interface, const LoadedProgram& program, bool replace) {
  const LibbpfLog log;
  const bpf_tc_hook hook = ingress_of(interface);
  bpf_tc_opts filter = our_place();
  filter.prog_fd = program.fd.get();
  filter.flags = replace ? uint32_t{BPF_TC_F_REPLACE} : 0;
  const int error = bpf_tc_attach(&hook, &filter);
  if (error == 0) return {};
  std::unexpected<Error> failed =
      log.fail(error, fmt::format("attaching the guard's tc filter to interface '{}'", interface.name));
  if (error == -EINVAL || error == -EEXIST) {  // a filter of another kind or protocol under our priority
    failed.error().code = ErrorCode::kExists;
    failed.error().message += fmt::format(
        "; it needs pref {0} for itself: `tc filter show dev {1} ingress` lists what is there, "
        "`tc filter del dev {1} ingress pref {0}` frees it",
        kPriority, interface.name);
  }
  return failed;
}

}  // namespace

Expected<AttachedTc> attach_tc(const Interface& interface, std::span<const IpAddress> host_addresses) {
  if (const Expected<> alone = refuse_tcx_programs(interface); !alone) return std::unexpected(alone.error());

  const Expected<LoadedProgram> program = load_tc_program();
  if (!program) return std::unexpected(program.error());
  Expected<GuardMaps> maps = GuardMaps::of(*program);
  if (!maps) return std::unexpected(maps.error());
  if (const Expected<> admitted = maps->admit(host_addresses, interface.mac); !admitted)
    return std::unexpected(admitted.error());

  if (const Expected<> made = make_hook(interface); !made) return std::unexpected(made.error());
  const Expected<bool> leftover = has_leftover(interface);
  if (!leftover) return std::unexpected(leftover.error());
  if (const Expected<> attached = put_in_place(interface, *program, *leftover); !attached)
    return std::unexpected(attached.error());
  return AttachedTc{.program_id = program->id, .maps = std::move(*maps)};
}

Expected<> detach_tc(const Interface& interface, uint32_t program_id) {
  const Expected<uint32_t> in_place = program_in_our_place(interface);
  if (!in_place) return std::unexpected(in_place.error());
  if (*in_place != program_id) return {};

  const LibbpfLog log;
  const bpf_tc_hook hook = ingress_of(interface);
  const bpf_tc_opts ours = our_place();
  const int error = bpf_tc_detach(&hook, &ours);
  if (error == 0 || error == -ENODEV || error == -ENOENT) return {};
  return log.fail(error, fmt::format("detaching the guard's tc filter from interface '{}'", interface.name));
}

}  // namespace bulkhead
