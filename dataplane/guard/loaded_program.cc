#include "dataplane/guard/loaded_program.h"

#include <bpf/bpf.h>
#include <fmt/format.h>

#include "dataplane/guard/bpf/guard_layout.h"
#include "dataplane/guard/libbpf_log.h"

namespace bulkhead {

Expected<LoadedProgram> program_with_id(uint32_t id) {
  const LibbpfLog log;
  const int fd = bpf_prog_get_fd_by_id(id);
  if (fd < 0) return log.fail(fd, fmt::format("looking up BPF program {}", id));
  return program_with_fd(Fd(fd));
}

Expected<LoadedProgram> program_with_fd(Fd fd) {
  const LibbpfLog log;
  LoadedProgram program{.fd = std::move(fd)};
  bpf_prog_info info{};
  uint32_t length = sizeof info;
  if (const int error = bpf_obj_get_info_by_fd(program.fd.get(), &info, &length); error != 0)
    return log.fail(error, "reading what a BPF program is");
  program.id = info.id;
  program.name = info.name;

  program.map_ids.resize(info.nr_map_ids);
  info = {.nr_map_ids = info.nr_map_ids, .map_ids = reinterpret_cast<uintptr_t>(program.map_ids.data())};
  length = sizeof info;
  if (const int error = bpf_obj_get_info_by_fd(program.fd.get(), &info, &length); error != 0)
    return log.fail(error, fmt::format("reading the maps of BPF program {}", program.id));
  return program;
}

Expected<Fd> map_of(const LoadedProgram& program, std::string_view name) {
  const LibbpfLog log;
  for (const uint32_t id : program.map_ids) {
    const int fd = bpf_map_get_fd_by_id(id);
    if (fd < 0) return log.fail(fd, fmt::format("looking up BPF map {}", id));
    Fd map(fd);
    bpf_map_info info{};
    uint32_t length = sizeof info;
    if (const int error = bpf_obj_get_info_by_fd(map.get(), &info, &length); error != 0)
      return log.fail(error, fmt::format("reading what BPF map {} is", id));
    if (info.name == name) return map;
  }
  return fail(ErrorCode::kNotFound,
              fmt::format("BPF program '{}' (id {}) has no map '{}'", program.name, program.id, name));
}

Expected<bool> is_ours(const LoadedProgram& program, std::string_view name) {
  if (program.name != name) return false;
  const Expected<Fd> hosts = map_of(program, GUARD_HOSTS_MAP);
  if (hosts) return true;
  if (hosts.error().code == ErrorCode::kNotFound) return false;
  return std::unexpected(hosts.error());
}

}  // namespace bulkhead
