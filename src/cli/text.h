// Text for people: as wide as it says, numbers in units.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/printable.h"

namespace bulkhead {

/// How many columns a terminal gives it. Input: printable() text.
size_t display_width(std::string_view text);

/// The text itself where it fits into `width` columns, else its beginning and "…". Input: printable() text.
std::string cut(std::string_view text, size_t width);

/// The same, but what is left out is in the middle: of an address the end tells as much as the beginning.
std::string cut_middle(std::string_view text, size_t width);

/// The text broken at blanks into lines of at most `width` columns, where its words allow that; all but the
/// first begin with `indent` blanks, which count. Input: printable() text.
std::string wrapped(std::string_view text, size_t width, size_t indent);

std::string count_text(uint64_t count);  ///< 9999, 12.3 k, 4.56 M
std::string bytes_text(uint64_t bytes);  ///< 980 B, 1.45 KiB, 12.3 GiB
std::string duration_text(int64_t ns);   ///< 870 us, 1.25 s, 3m 12s, 2h 5m, 4d 3h

}  // namespace bulkhead
