#include "cli/table.h"

#include <algorithm>

#include "base/check.h"
#include "cli/text.h"

namespace bulkhead {

static constexpr size_t kGap = 2;

void Table::add(std::vector<std::string> cells) {
  BULKHEAD_CHECK(cells.size() == columns_.size());
  for (std::string& cell : cells) cell = printable(cell);
  rows_.push_back(std::move(cells));
}

/// What each column needs to show all of its cells.
std::vector<size_t> Table::natural_widths() const {
  std::vector<size_t> widths(columns_.size());
  for (size_t i = 0; i < columns_.size(); ++i) {
    widths[i] = display_width(columns_[i].title);
    for (const auto& row : rows_) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  return widths;
}

/// The columns' widths; 0: left out.
std::vector<size_t> Table::widths_within(size_t width) const {
  std::vector<size_t> widths = natural_widths();
  auto least = [&](size_t i) {
    return columns_[i].may_shrink ? std::min(widths[i], columns_[i].least) : widths[i];
  };
  auto comfort = [&](size_t i) { return std::max(least(i), std::min(widths[i], columns_[i].comfort)); };
  auto sum = [&](auto width_of) {
    size_t total = 0;
    for (size_t i = 0; i < widths.size(); ++i)
      if (widths[i] > 0) total += width_of(i) + (total > 0 ? kGap : 0);
    return total;
  };
  while (sum(comfort) > width) {
    size_t out = 0;
    for (size_t i = 1; i < widths.size(); ++i)
      if (widths[i] > 0 && (widths[out] == 0 || columns_[i].spare > columns_[out].spare)) out = i;
    if (columns_[out].spare == 0 || widths[out] == 0) break;
    widths[out] = 0;
  }
  size_t total = sum([&](size_t i) { return widths[i]; });
  auto cut_to = [&](const std::vector<size_t>& floor) {
    for (; total > width; --total) {
      size_t widest = widths.size();
      for (size_t i = 0; i < widths.size(); ++i)
        if (widths[i] > floor[i] && (widest == widths.size() || widths[i] > widths[widest])) widest = i;
      if (widest == widths.size()) return;
      --widths[widest];
    }
  };
  std::vector<size_t> comforts(widths.size()), leasts(widths.size());
  for (size_t i = 0; i < widths.size(); ++i) comforts[i] = comfort(i), leasts[i] = least(i);
  cut_to(comforts);
  cut_to(leasts);
  return widths;
}

std::string Table::render(size_t width, bool bold) const {
  std::vector<size_t> widths = widths_within(width);
  auto line_of = [&](auto cell_of) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (widths[i] == 0) continue;
      std::string cell =
          columns_[i].keep_end ? cut_middle(cell_of(i), widths[i]) : cut(cell_of(i), widths[i]);
      std::string blanks(widths[i] - display_width(cell), ' ');
      if (!line.empty()) line.append(kGap, ' ');
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
