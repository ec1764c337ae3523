// Where the relay's SVIDs come from, as plain functions: another source needs no more than another one of
// these.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "contract/memfd.h"
#include "dataplane/relay/policy.h"

namespace bulkhead {

/// Thread: one, the main one.
struct SvidSource {
  Fd changed;                  ///< readable when there may be something new
  std::function<void()> take;  ///< takes what made it readable
  /// All that there is now: each identity and trust domain that is whole. Reports what isn't in the log.
  std::function<std::shared_ptr<const SvidSet>()> read;
};

/// The files of svid/svid_files.h, watched by inotify. Where two SVIDs have one ID, the one that ends last is
/// shown. Errors: kNotFound, kPermission.
Expected<SvidSource> open_svid_files(const std::string& directory);

/// What the fetcher hands over at the socket `path`, which is made here and open to the relay's own user
/// alone. Nothing is there until it has come (SvidSet::awaited), and nothing changes while it is away. A
/// response that isn't right changes nothing either; the log says why. Errors: as listen_at(). Thread: it is
/// opened before confinement, and listens, in a thread of its own, from the first read() on.
Expected<SvidSource> open_svid_inbox(const std::string& path);

}  // namespace bulkhead
