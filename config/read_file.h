// Files that configuration names.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace bulkhead {

/// A regular file's whole content.
/// Errors: as the operating system says; kInvalid where it is no regular file or larger than `limit` bytes.
Expected<std::string> read_file(const std::string& path, size_t limit);

/// Reads a regular file chunk by chunk. `take` gets each chunk, and returns whether it wants more.
/// Errors: as read_file's.
Expected<> read_chunks(const std::string& path, const std::function<bool(std::string_view)>& take);

/// Gives `take` the name of each entry of a directory, in no order, until it wants no more. The standard
/// library's iterator ends the program where memory runs out. Errors: as the operating system says.
Expected<> read_names(const std::string& directory, const std::function<bool(std::string_view)>& take);

/// `path` as the file `naming_file` means it: relative to the directory that file is in.
std::string resolve(const std::string& naming_file, const std::string& path);

}  // namespace bulkhead
