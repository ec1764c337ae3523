// A file of lines that starts anew when it has grown to its limit: PATH, then PATH.1 (the last one), PATH.2,
// ...
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "contract/memfd.h"

namespace bulkhead {

/// Appends whole lines, never torn ones. A failed write loses its lines and nothing else; the next may
/// succeed again. Where somebody else moved, removed or cut the file, the next lines are in a file at the
/// path all the same. Only regular files are rotated. Thread: one.
class RotatingFile {
 public:
  /// Opens for appending, mode 0640. Makes the directory where it is missing.
  /// Errors: why it can't be.
  static Expected<RotatingFile> open(std::string path, uint64_t limit_bytes, uint32_t keep);

  /// Appends `lines`, each ending in a newline, rotating before it where they would pass the limit.
  /// Errors: kExhausted for a full disk and the like; then none of the lines is in the file.
  Expected<void> append(std::string_view lines);
  const std::string& path() const { return path_; }

 private:
  RotatingFile(std::string path, uint64_t limit_bytes, uint32_t keep)
      : path_(std::move(path)), limit_bytes_(limit_bytes), keep_(keep) {}
  Expected<void> follow_path();
  Expected<void> reopen();
  Expected<void> rotate();

  std::string path_;
  uint64_t limit_bytes_;
  uint32_t keep_;
  Fd fd_;
  dev_t device_ = 0;  ///< which file `fd_` is
  ino_t inode_ = 0;
  bool rotates_ = true;  ///< it is a regular file
  uint64_t size_ = 0;
  bool torn_ = false;  ///< the last line is incomplete and couldn't be taken back
};

}  // namespace bulkhead
