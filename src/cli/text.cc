#include "cli/text.h"

#include <algorithm>
#include <clocale>
#include <cwchar>

#include <fmt/format.h>

namespace bulkhead {
namespace {

/// Columns of one character; the C library's table, whatever locale the caller has.
size_t columns(char32_t code) {
  static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (utf8 == nullptr) return 1;
  locale_t before = uselocale(utf8);
  int width = wcwidth(static_cast<wchar_t>(code));
  uselocale(before);
  return width < 0 ? 1 : static_cast<size_t>(width);
}

/// Three digits that count, and the unit.
std::string scaled(double value, double step, const char* const* units) {
  while (value >= 999.5 && units[1] != nullptr) {
    value /= step;
    ++units;
  }
  return fmt::format(fmt::runtime(value < 9.995   ? "{:.2f} {}"
                                  : value < 99.95 ? "{:.1f} {}"
                                                  : "{:.0f} {}"),
                     value, *units);
}

}  // namespace

size_t display_width(std::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    Character c = first_character(text);
    width += c.valid ? columns(c.code) : 1;
    text.remove_prefix(c.bytes);
  }
  return width;
}

std::string cut(std::string_view text, size_t width) {
  if (display_width(text) <= width) return std::string(text);
  if (width == 0) return {};
  std::string_view rest = text;
  for (size_t used = 0; !rest.empty();) {
    Character c = first_character(rest);
    used += c.valid ? columns(c.code) : 1;
    if (used > width - 1) break;
    rest.remove_prefix(c.bytes);
  }
  return std::string(text.substr(0, text.size() - rest.size())) + "…";
}

std::string cut_middle(std::string_view text, size_t width) {
  if (display_width(text) <= width || width < 3) return cut(text, width);
  std::string begin = cut(text, (width + 1) / 2);  // with the ellipsis
  std::string_view end = text;
  for (size_t left = width - display_width(begin); display_width(end) > left;)
    end.remove_prefix(first_character(end).bytes);
  return begin + std::string(end);
}

std::string wrapped(std::string_view text, size_t width, size_t indent) {
  std::string out(text.substr(0, text.find(' ')));
  size_t used = display_width(out);
  text.remove_prefix(out.size());
  while (!text.empty()) {  // a blank and the word after it
    std::string_view word = text.substr(1, text.find(' ', 1) - 1);
    size_t word_width = display_width(word);
    bool fits = used + 1 + word_width <= width;
    out += fits ? " " : '\n' + std::string(indent, ' ');
    out += word;
    used = (fits ? used + 1 : indent) + word_width;
    text.remove_prefix(1 + word.size());
  }
  return out;
}

std::string count_text(uint64_t count) {
  static constexpr const char* kUnits[] = {"k", "M", "G", "T", "P", "E", nullptr};
  if (count < 10'000) return std::to_string(count);
  return scaled(static_cast<double>(count) / 1000, 1000, kUnits);
}

std::string bytes_text(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", nullptr};
  if (bytes < 1000) return std::to_string(bytes) + " B";
  return scaled(static_cast<double>(bytes) / 1024, 1024, kUnits);
}

std::string duration_text(int64_t ns) {
  static constexpr const char* kUnits[] = {"ns", "us", "ms", "s", nullptr};
  if (ns < 0) return "-" + duration_text(ns == INT64_MIN ? INT64_MAX : -ns);
  if (ns < 1000) return std::to_string(ns) + " ns";
  if (ns < 59'950'000'000) return scaled(static_cast<double>(ns), 1000, kUnits);
  int64_t s = (ns + 500'000'000) / 1'000'000'000;
  if (s < 3600) return fmt::format("{}m {}s", s / 60, s % 60);
  if (s < 86'400) return fmt::format("{}h {}m", s / 3600, s % 3600 / 60);
  return fmt::format("{}d {}h", s / 86'400, s % 86'400 / 3600);
}

}  // namespace bulkhead
