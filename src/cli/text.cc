#include "cli/text.h"

#include <clocale>
#include <cwchar>

#include <fmt/format.h>

namespace bulkhead {
namespace {

/// One character of UTF-8 text: its code point, and its bytes. `bytes` 1 and `valid` false: not UTF-8 there.
struct Character {
  char32_t code = 0;
  size_t bytes = 1;
  bool valid = false;
};

/// Decodes the first character (RFC 3629): no overlong forms, surrogates, or anything over U+10FFFF.
Character first_character(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
  if (length == 0 || lead > 0xf4 || text.size() < length) return {};
  char32_t code = lead & (0x7f >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3f);
  }
  constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < kLeast[length] || surrogate || code > 0x10ffff) return {};
  return {code, length, true};
}

/// Characters that show nothing and change how others show: C0, C1, line separators, bidirectional controls,
/// BOM.
bool is_control(char32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x200b && code <= 0x200f) ||
         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) || code == 0xfeff;
}

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

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    Character c = first_character(text);
    if (!c.valid) {
      out += fmt::format("\\x{:02x}", static_cast<uint8_t>(text[0]));
    } else if (is_control(c.code)) {
      out += c.code < 0x80 ? fmt::format("\\x{:02x}", static_cast<uint32_t>(c.code))
                           : fmt::format("\\u{{{:x}}}", static_cast<uint32_t>(c.code));
    } else {
      out += text.substr(0, c.bytes);
    }
    text.remove_prefix(c.bytes);
  }
  return out;
}

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
