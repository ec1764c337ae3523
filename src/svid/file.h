// Small files that are whole or not there.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace bulkhead {

enum class Secrecy : uint8_t { kPublic, kPrivate };

/// A regular file's content. Errors name the file, and what to do.
/// Errors: as the operating system says; kInvalid: no regular file, or more than `limit` bytes;
/// kPermission: kPrivate, and others than its owner may read or write it, or its owner is neither root nor
/// this process's user.
Expected<std::string> read_whole(const std::string& path, size_t limit, Secrecy secrecy = Secrecy::kPublic);

/// Puts `content` at `path`, in place of what is there: written beside it, synced, renamed, and the
/// directory synced. Whatever happens, kill -9 and a full disk included, the one or the other is there,
/// whole. Writers of the same file exclude each other (".NAME.tmp" is what they write). Output: mode 0644, or
/// 0600 for kPrivate.
Expected<> write_whole(const std::string& path, std::string_view content, Secrecy secrecy = Secrecy::kPublic);

/// Makes a directory, and those above it; one that is there is fine. kPrivate: mode 0700 for what is made.
Expected<> make_directory(const std::string& path, Secrecy secrecy = Secrecy::kPublic);

/// The names in a directory, sorted, without those that begin with a dot.
Expected<std::vector<std::string>> names_in(const std::string& directory);

bool is_there(const std::string& path);

/// Wipes what may have held a key.
void wipe(std::string& secret);

}  // namespace bulkhead
