#include "dataplane/relay/svid_source.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>

#include "dataplane/relay/log.h"
#include "svid/svid_files.h"

namespace bulkhead {

namespace {

constexpr uint32_t kChanges =
    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ATTRIB;

/// Directories that come later are watched from then on; a watch that is there stays as it is.
Expected<> watch(int fd, const std::string& directory) {
  if (inotify_add_watch(fd, directory.c_str(), kChanges | IN_ONLYDIR) < 0)
    return fail_errno(errno, "SVID directory " + directory);
  for (const char* part : {"/bundles", "/crls", "/svids"})
    if (inotify_add_watch(fd, (directory + part).c_str(), kChanges | IN_ONLYDIR) < 0 && errno != ENOENT)
      return fail_errno(errno, directory + part);
  return {};
}

void drain(int fd) {
  alignas(inotify_event) char buffer[4096];
  while (read(fd, buffer, sizeof buffer) > 0) {
  }
}

std::shared_ptr<const SvidSet> read_files(const std::string& directory) {
  TrustFiles trust = read_trust_files(directory);
  IdentityFiles identities = read_identity_files(directory);
  for (const auto* errors : {&trust.errors, &identities.errors})
    for (const Error& error : *errors) log_line(error.message);
  auto set = std::make_shared<SvidSet>();
  set->trust = std::make_shared<const TrustStore>(std::move(trust.trust));
  for (NamedIdentity& named : identities.identities)
    add_own(*set, std::make_shared<const SvidIdentity>(std::move(named.identity)));
  return set;
}

}  // namespace

Expected<SvidSource> open_svid_files(const std::string& directory) {
  Fd fd(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd) return fail_errno(errno, "inotify");
  if (auto watched = watch(fd.get(), directory); !watched) return std::unexpected(watched.error());
  int watcher = fd.get();
  return SvidSource{.changed = std::move(fd),
                    .take =
                        [watcher, directory] {
                          drain(watcher);
                          if (auto watched = watch(watcher, directory); !watched)
                            log_line(watched.error().message);
                        },
                    .read = [directory] { return read_files(directory); }};
}

}  // namespace bulkhead
