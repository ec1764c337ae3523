#include "dataplane/guard/attach_xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/if_link.h>

#include <cerrno>

#include "dataplane/guard/bpf/guard_layout.h"
#include "dataplane/guard/libbpf_log.h"
#include "dataplane/guard/libbpf_options.h"

namespace bulkhead {
namespace {

struct AttachedXdp {
  uint32_t id = 0;  ///< 0: none
  uint8_t mode = XDP_ATTACHED_NONE;
};

Expected<AttachedXdp> attached_xdp(const Interface& interface) {
  const LibbpfLog log;
  bpf_xdp_query_opts query;
  clear(query);
  if (const int error = bpf_xdp_query(interface.index, 0, &query); error != 0)
    return log.fail(error, fmt::format("asking for the XDP program of interface '{}'", interface.name));
  if (query.attach_mode == XDP_ATTACHED_MULTI)
    return fail(
        ErrorCode::kExists,
        fmt::format(
            "interface '{0}' has several XDP programs: remove them (`ip link set dev {0} xdpoffload off`), "
            "or use another interface",
            interface.name));
  return AttachedXdp{.id = query.prog_id, .mode = query.attach_mode};
}

uint32_t flags_of(uint8_t mode) {
  switch (mode) {
    case XDP_ATTACHED_DRV:
      return XDP_FLAGS_DRV_MODE;
    case XDP_ATTACHED_SKB:
      return XDP_FLAGS_SKB_MODE;
    case XDP_ATTACHED_HW:
      return XDP_FLAGS_HW_MODE;
    default:
      return 0;
  }
}

const char* keyword_of(uint8_t mode) {
  switch (mode) {
    case XDP_ATTACHED_DRV:
      return "xdpdrv";
    case XDP_ATTACHED_SKB:
      return "xdpgeneric";
    case XDP_ATTACHED_HW:
      return "xdpoffload";
    default:
      return "xdp";
  }
}

}  // namespace

Expected<std::optional<LoadedProgram>> our_xdp_on(const Interface& interface) {
  const Expected<AttachedXdp> attached = attached_xdp(interface);
  if (!attached) return std::unexpected(attached.error());
  if (attached->id == 0) return std::nullopt;

  Expected<LoadedProgram> program = program_with_id(attached->id);
  if (!program) return std::unexpected(program.error());
  const Expected<bool> ours = is_ours(*program, GUARD_XDP_PROGRAM);
  if (!ours) return std::unexpected(ours.error());
  if (!*ours)
    return fail(ErrorCode::kExists,
                fmt::format("interface '{0}' already has an XDP program that isn't Bulkhead's: '{1}' (id "
                            "{2}, see `bpftool prog show id {2}`). "
                            "Remove it with `ip link set dev {0} {3} off`, or use another interface",
                            interface.name, program->name, program->id, keyword_of(attached->mode)));
  return std::move(*program);
}

Expected<> detach_xdp(const Interface& interface, const LoadedProgram& program) {
  const Expected<AttachedXdp> attached = attached_xdp(interface);
  if (!attached)
    return still_exists(interface) ? Expected<>(std::unexpected(attached.error())) : Expected<>();
  if (attached->id != program.id) return {};

  const LibbpfLog log;
  bpf_xdp_attach_opts only_this;
  clear(only_this);
  only_this.old_prog_fd = program.fd.get();
  const int error = bpf_xdp_detach(interface.index, flags_of(attached->mode), &only_this);
  if (error == 0 || error == -ENODEV) return {};
  return log.fail(error, fmt::format("detaching our XDP program from interface '{}'", interface.name));
}

}  // namespace bulkhead
