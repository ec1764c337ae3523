#include "cli/relay_listener.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "contract/channel.h"

namespace bulkhead {

Expected<Fd> relay_listener(const std::string& path, const Account& control_plane) {
  std::filesystem::path place(path);
  std::string name = place.filename().string();
  auto directory = claim_directory({0, 0}, 0755, place.parent_path(), name);
  if (!directory) return directory;
  // By its descriptor: the name may lead elsewhere by now.
  auto listener = listen_at("/proc/self/fd/" + std::to_string(directory->get()) + "/" + name);
  if (!listener) return with_context(listener.error(), path);
  if (fchownat(directory->get(), name.c_str(), control_plane.user, control_plane.group,
               AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno(errno, path);
  return listener;
}

}  // namespace bulkhead
