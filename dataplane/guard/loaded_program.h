// A BPF program that the kernel holds, whoever loaded it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "contract/memfd.h"

namespace bulkhead {

struct LoadedProgram {
  Fd fd;
  uint32_t id = 0;
  std::string name;
  std::vector<uint32_t> map_ids;
};

/// Errors: kNotFound, kPermission, kSystem.
Expected<LoadedProgram> program_with_id(uint32_t id);

/// What the kernel knows about a program that this process has loaded.
Expected<LoadedProgram> program_with_fd(Fd fd);

/// The program's map of that name.
/// Errors: kNotFound, kPermission, kSystem.
Expected<Fd> map_of(const LoadedProgram& program, std::string_view name);

/// True for the guard's program of that name, whichever process or version of the gateway loaded it: name and
/// host address map agree.
Expected<bool> is_ours(const LoadedProgram& program, std::string_view name);

}  // namespace bulkhead
