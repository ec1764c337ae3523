#include "cli/table.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "cli/text.h"

namespace bulkhead {

static constexpr size_t kGap = 2;

void Table::add(std::vector<std::string> cells) {
  BULKHEAD_CHECK(cells.size() == columns_.size());
  for (std::string& cell : cells) cell = printable(cell);
  rows_.push_back(std::move(cells));
}

/// What each column needs, then the widest narrowed one column at a time until the sum fits.
std::vector<size_t> Table::widths_within(size_t width) const {
  std::vector<size_t> widths(columns_.size());
  for (size_t i = 0; i < columns_.size(); ++i) {
    widths[i] = display_width(columns_[i].title);
    for (const auto& row : rows_) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  size_t total = std::accumulate(widths.begin(), widths.end(), kGap * (widths.size() - 1));
  while (total > width) {
    size_t widest = widths.size();
    for (size_t i = 0; i < widths.size(); ++i)
      if (columns_[i].may_shrink && widths[i] > columns_[i].least && (widest == widths.size() || widths[i] > widths[widest]))
        widest = i;
    if (widest == widths.size()) break;
    --widths[widest];
    --total;
  }
  return widths;
}

std::string Table::render(size_t width, bool bold) const {
  std::vector<size_t> widths = widths_within(width);
  auto line_of = [&](auto cell_of) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      std::string cell = cut(cell_of(i), widths[i]);
      std::string blanks(widths[i] - display_width(cell), ' ');
      if (i > 0) line.append(kGap, ' ');
      line += columns_[i].align == Align::kRight ? blanks + cell : cell + blanks;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return line;
  };
  std::string titles = line_of([&](size_t i) { return columns_[i].title; });
  std::string out = (bold ? "\033[1m" + titles + "\033[0m" : titles) + "\n";
  for (const auto& row : rows_) out += line_of([&](size_t i) { return row[i]; }) + "\n";
  return out;
}

}  // namespace bulkhead
