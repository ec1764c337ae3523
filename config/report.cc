#include "config/report.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <tuple>
#include <utility>

namespace bulkhead {

/// How many characters to insert, remove, replace or swap with the next, or more than `limit` as soon as it
/// is known to be more.
static size_t edit_distance(std::string_view a, std::string_view b, size_t limit) {
  constexpr size_t kLongest = 64;
  size_t longer = std::max(a.size(), b.size()), shorter = std::min(a.size(), b.size());
  if (longer > kLongest || longer - shorter > limit) return limit + 1;
  using Row = std::array<size_t, kLongest + 1>;
  Row before{}, above{}, row{};
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    before = std::exchange(above, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1), above[j] + 1, row[j - 1] + 1});
      bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

void Report::Nearest::consider(std::string_view candidate) {
  size_t limit = std::min(best_distance_ - 1, name_.size() < 4 ? size_t{1} : size_t{2});
  size_t distance = edit_distance(name_, candidate, limit);
  if (distance > limit) return;
  best_ = candidate;
  best_distance_ = distance;
}

std::string Report::Nearest::suggestion() const {
  return best_distance_ == SIZE_MAX ? std::string() : " (did you mean '" + best_ + "'?)";
}

void Report::add(Severity severity, Location where, std::string message) {
  if (severity == Severity::kError) ++errors_;
  auto& file = files_.try_emplace(where.file, PerFile{files_.size()}).first->second;
  auto kind = static_cast<size_t>(severity);
  if (file.told[kind] == kMaxToldPerFile) {
    ++file.untold[kind];
    return;
  }
  ++file.told[kind];
  diagnostics_.push_back({severity, std::move(where), std::move(message)});
}

Diagnostics Report::finish() {
  for (auto& [name, file] : files_)
    for (Severity severity : {Severity::kError, Severity::kWarning})
      if (size_t untold = file.untold[static_cast<size_t>(severity)])
        diagnostics_.push_back({severity, {name, UINT32_MAX, 0}, "and " + std::to_string(untold) + " more"});
  std::ranges::sort(diagnostics_, {}, [this](const Diagnostic& d) {
    return std::tuple(files_.at(d.where.file).order, d.where.line, d.where.column,
                      std::string_view(d.message));
  });
  for (Diagnostic& d : diagnostics_)
    if (d.where.line == UINT32_MAX) d.where.line = 0;
  files_.clear();
  return std::move(diagnostics_);
}

std::string to_string(const Location& location) {
  std::string out = location.file;
  if (location.line != 0) out += ":" + std::to_string(location.line);
  if (location.line != 0 && location.column != 0) out += ":" + std::to_string(location.column);
  return out;
}

}  // namespace bulkhead
