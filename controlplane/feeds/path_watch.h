// inotify for paths: what happens to a file is seen wherever symbolic links lead to it.
#pragma once

#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/error.h"
#include "contract/memfd.h"

namespace bulkhead {

/// Something that happened to a path, as PathWatch found it: without symbolic links but the last part.
struct PathEvent {
  enum class Kind : uint8_t {
    kWritten,      ///< it was made to be written or its content changed, and who writes may not be done
    kWhole,        ///< who wrote it closed it, or it was renamed into place
    kComesOrGoes,  ///< it was made, removed or renamed away
    kTouched,      ///< its attributes changed
    kLost,         ///< the directory itself is gone, with what was known of the files in it
    kOverflow,     ///< events were lost, of whatever path
  };
  Kind kind;
  std::string path;
};

/// Thread: one.
class PathWatch {
 public:
  /// Errors: no inotify instance to be had.
  static Expected<PathWatch> open();

  int fd() const { return inotify_.get(); }
  /// From now on watches every name on the way to each path, where it is a symbolic link or the end, and,
  /// where `directory` is one, all policy files in it. What isn't there isn't watched.
  void follow(const std::string& directory, const std::vector<std::string>& paths);
  /// A directory that is there and can't be watched, why, and what to do; empty: none.
  const std::string& trouble() const { return trouble_; }
  /// What happened to those names since the last call, in order.
  std::vector<PathEvent> take();

 private:
  /// The names of a directory that matter.
  struct Names {
    bool policy_files = false;
    std::unordered_set<std::string> others;
  };
  using Directories = std::map<std::string, Names>;  ///< by path

  explicit PathWatch(Fd inotify) : inotify_(std::move(inotify)) {}
  bool matters(const std::string& directory, const std::string& name) const;

  Fd inotify_;
  Directories directories_;
  std::map<int, std::string> directory_of_watch_;
  std::string trouble_;
};

}  // namespace bulkhead
