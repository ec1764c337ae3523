// Collects what is wrong with the files of one load, so that all of it is told in one go.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/printable.h"
#include "config/diagnostic.h"

namespace bulkhead {

/// A place in the file that is being read; line and column count from 1, columns in characters.
struct Mark {
  uint32_t line = 0;
  uint32_t column = 0;
};

/// At most this many errors, and as many warnings, are told of one file; the rest is counted.
inline constexpr size_t kMaxToldPerFile = 100;

/// The diagnostics of one load. One thread.
class Report {
 public:
  void error(Location where, std::string message) {
    add(Severity::kError, std::move(where), std::move(message));
  }
  void warning(Location where, std::string message) {
    add(Severity::kWarning, std::move(where), std::move(message));
  }
  /// A file that can't be read, and why.
  void unreadable(Location where, Error why) {
    machine_short_ = machine_short_ || is_shortage(why.code);
    error(std::move(where), std::move(why.message));
  }
  /// Whether a file couldn't be read for a reason that may pass.
  bool machine_short() const { return machine_short_; }
  /// " (did you mean 'x'?)" for the candidate nearest to `name`, or nothing where none is near. The search is
  /// over all candidates, so only as many are made as would be told.
  template <class Names>
  std::string did_you_mean(std::string_view name, const Names& candidates) {
    if (suggestions_left_ == 0) return {};
    --suggestions_left_;
    Nearest nearest(name);
    for (const auto& candidate : candidates) nearest.consider(candidate);
    return nearest.suggestion();
  }
  bool has_errors() const { return errors_ > 0; }
  /// Everything, by file in the order in which they were first reported, then by place.
  Diagnostics finish();

 private:
  struct PerFile {
    size_t order;
    size_t told[2] = {0, 0};  ///< by Severity
    size_t untold[2] = {0, 0};
  };
  /// The candidate with the smallest edit distance, if that is small for the name's length.
  class Nearest {
   public:
    explicit Nearest(std::string_view name) : name_(name) {}
    void consider(std::string_view candidate);
    std::string suggestion() const;

   private:
    std::string_view name_;
    std::string best_;
    size_t best_distance_ = SIZE_MAX;
  };
  void add(Severity severity, Location where, std::string message);

  Diagnostics diagnostics_;
  std::unordered_map<std::string, PerFile> files_;
  size_t errors_ = 0;
  bool machine_short_ = false;
  size_t suggestions_left_ = 2 * kMaxToldPerFile;
};

/// One file of a load, as its reader reports on it.
class Source {
 public:
  Source(Report& report, std::string file) : report_(report), file_(std::move(file)) {}
  const std::string& file() const { return file_; }
  Report& report() { return report_; }
  Location at(Mark mark) const { return {file_, mark.line, mark.column}; }
  void error(Mark mark, std::string message) { report_.error(at(mark), std::move(message)); }
  void warning(Mark mark, std::string message) { report_.warning(at(mark), std::move(message)); }

 private:
  Report& report_;
  std::string file_;
};

/// "FILE:LINE:COLUMN" of something named in another place's message.
std::string to_string(const Location& location);

}  // namespace bulkhead
