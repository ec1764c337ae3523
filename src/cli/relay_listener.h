// Where the control plane attaches to the mTLS relay.
#pragma once

#include <string>

#include "base/directory.h"
#include "base/fd.h"

namespace bulkhead {

/// Listens at `path`, which `control_plane` alone can open (0600), in a directory that is made for it,
/// root's. That one's parent may be the control plane's own: by renaming there it can cut itself off from the
/// relay, and put a socket of its own where only it looks. Must be root, which follows no link of others.
/// Errors: those of claim_directory() and listen_at().
Expected<Fd> relay_listener(const std::string& path, const Account& control_plane);

}  // namespace bulkhead
