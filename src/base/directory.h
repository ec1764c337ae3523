// Directories that root makes for others, where those others may rename, replace and link what lies about.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace bulkhead {

struct Account {
  uid_t user;
  gid_t group;
};

struct OpenedDirectory {
  Fd fd;
  bool is_new;  ///< made just now, and nobody's but this process's
};

/// Opens the directory at `path`, and makes it with `mode` where nothing is there, its parents with 0755. On
/// the way no link is followed but one of root's that nobody else can have put there; none at its end.
/// Errors: kInvalid for another link, and for what is no directory; the system's, with the path.
Expected<OpenedDirectory> open_or_make_directory(const std::filesystem::path& path, mode_t mode);

/// Makes the directory at `path` and gives it to `owner`. One that is there, or a link, stays as it is.
/// Must be root. Errors: those of open_or_make_directory().
Expected<> make_directory_for(const Account& owner, mode_t mode, const std::filesystem::path& path);

/// Opens the directory at `path`, which is `owner`'s and exactly of `mode`, to hold the socket `socket`.
/// What lies there otherwise is replaced where it holds nothing but a socket of that name. Must be root. Who
/// owns the parent can still rename what it gets, and put something else there; what is opened stays this.
/// Errors: kInvalid for what can't be replaced; those of open_or_make_directory().
Expected<Fd> claim_directory(const Account& owner, mode_t mode, const std::filesystem::path& path,
                             const std::string& socket);

}  // namespace bulkhead
