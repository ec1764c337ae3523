// The strict YAML subset: what is refused before yaml-cpp sees the text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "config/report.h"

namespace bulkhead::yaml {

inline constexpr size_t kMaxFileBytes = 16u << 20;
inline constexpr uint32_t kMaxDepth = 32;
/// Tokens in one outermost [...] or {...}: yaml-cpp queues them all until it knows that the whole isn't a
/// key.
inline constexpr size_t kMaxFlowTokens = 300'000;

struct Problem {
  Mark mark;
  std::string message;
};

/// The text without byte order mark and with LF line ends. Neither moves a line or column.
std::string normalised(std::string_view text);

/// The first place that isn't UTF-8, or a control character.
std::optional<Problem> find_bad_byte(std::string_view text);

/// The first place that leaves the subset: a tab, anchor, alias, tag, directive, second document, complex
/// key, scalar over several lines, flow collection that isn't closed, or nesting deeper than kMaxDepth. Since
/// every scalar ends in its line, this follows yaml-cpp's own idea of where a token starts, so nothing can
/// hide from it in quotes. Input:  normalised text without bad bytes. Output: nothing where the text may be
/// given to yaml-cpp, which then nests at most kMaxDepth deep. Cost:   linear, constant memory.
std::optional<Problem> find_outside_subset(std::string_view text);

/// Columns are counted in characters.
uint32_t column_of(std::string_view text, size_t line_start, size_t at);

}  // namespace bulkhead::yaml
