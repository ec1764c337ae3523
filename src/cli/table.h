// Tables that fit a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace bulkhead {

enum class Align : uint8_t { kLeft, kRight };

struct Column {
  std::string title;
  Align align = Align::kLeft;
  size_t least = 4;        ///< columns under which it isn't cut
  bool may_shrink = true;  ///< false: numbers and the like, never cut
  unsigned spare = 0;      ///< left out where there is no room, the highest first; 0: never
  bool keep_end = false;   ///< cut in the middle
  size_t comfort = 0;      ///< spare columns go before it is cut to less than this
};

/// Rows under titles. Two blanks between columns; where the whole is too wide, spare columns are left out
/// until the rest fits when cut to its comfort, and then the widest columns that may shrink are cut.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// Adds a row: one cell for each column; made printable here.
  void add(std::vector<std::string> cells);
  size_t rows() const { return rows_.size(); }
  /// The lines, none wider than `width` where shrinking can achieve it, without blanks at their ends. `bold`:
  /// titles stand out.
  std::string render(size_t width, bool bold = false) const;

 private:
  std::vector<size_t> natural_widths() const;
  std::vector<size_t> widths_within(size_t width) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace bulkhead
