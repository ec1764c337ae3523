// Text from elsewhere, made safe to print: names, file contents, what a peer sent.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bulkhead {

/// The text with control characters, bidirectional overrides and bytes that aren't UTF-8 written as \xNN or
/// \u{NNNN}, so that nothing that a packet or a peer chose can move a cursor. UTF-8 otherwise unchanged.
std::string printable(std::string_view text);

/// 'text' in quotes, shortened where it is long, for a message.
std::string in_quotes(std::string_view text);

/// One character of UTF-8 text: its code point, and its bytes. `bytes` 1 and `valid` false: not UTF-8 there.
struct Character {
  char32_t code = 0;
  size_t bytes = 1;
  bool valid = false;
};
/// Decodes the first character (RFC 3629): no overlong forms, surrogates, or anything over U+10FFFF.
/// Input: text that isn't empty.
Character first_character(std::string_view text);

}  // namespace bulkhead
