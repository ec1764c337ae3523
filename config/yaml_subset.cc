#include "config/yaml_subset.h"

#include <algorithm>
#include <array>
#include <utility>

namespace bulkhead::yaml {
namespace {

/// Reads the text line by line and token by token, as yaml-cpp's scanner will, but keeps only the nesting.
class SubsetCheck {
 public:
  explicit SubsetCheck(std::string_view text) : text_(text) {}

  std::optional<Problem> run() {
    while (!problem_ && at_ < text_.size()) check_line();
    if (!problem_ && flow_depth_ > 0)
      problem_ = Problem{flow_start_, "this bracket is never closed; write the missing ']' or '}'"};
    return problem_;
  }

 private:
  struct Block {
    uint32_t column;
    bool is_sequence;
  };
  enum class Last { kNothing, kStructure, kValue };  ///< what the last token was

  void check_line() {
    line_start_ = at_;
    skip_spaces();
    if (!at_line_end()) {
      check_column_zero();
      if (flow_depth_ > 0) {
        continue_flow();
      } else {
        begin_block_line();
      }
      entry_allowed_ = flow_depth_ == 0;
      key_allowed_ = true;
      while (!problem_ && !at_line_end()) {
        check_token();
        skip_spaces();
      }
    }
    at_ = std::min(text_.find('\n', at_), text_.size() - 1) + 1;
    ++line_;
  }

  // Tokens that mean something at the start of a line only, in brackets too.
  void check_column_zero() {
    if (at_ != line_start_) return;
    if (text_[at_] == '%') return refuse("directives can't be used; remove this line");
    std::string_view start = text_.substr(at_, 3);
    if ((start != "---" && start != "...") || !is_blank_or_end(at_ + 3)) return;
    if (start == "..." || last_ != Last::kNothing || seen_document_start_)
      return refuse("a file holds one document only; remove this line, or make two files");
    seen_document_start_ = true;
    at_ += 3;
    skip_spaces();
    if (!at_line_end()) refuse("write what follows '---' on a line of its own");
  }

  // A scalar that goes on in the next line would start with any character, a quote or bracket too: none may.
  void continue_flow() {
    char c = text_[at_];
    if (last_ == Last::kValue && c != ',' && c != ']' && c != '}')
      refuse(
          "a ',' or a closing bracket is missing before this; a value must end in the line where it starts");
  }

  void begin_block_line() {
    if (at_line_end()) return;
    uint32_t column = byte_column();
    bool continues = last_ == Last::kValue && (blocks_used_ == 0 || column > top().column);
    if (continues)
      return refuse(
          "this is indented under a value that has ended; a value must end in the line where it starts");
    while (blocks_used_ > 0 &&
           (top().column > column || (top().column == column && top().is_sequence && !is_entry())))
      --blocks_used_;
  }

  void check_token() {
    if (flow_depth_ > 0 && ++flow_tokens_ > kMaxFlowTokens)
      return refuse("too much in one pair of brackets; write it as a list of lines, or use members_file");
    if (flow_depth_ == 0 && after_flow_) return refuse("nothing may follow the closing bracket in its line");
    switch (char c = text_[at_]) {
      case '[':
      case '{':
        return open_flow(c);
      case ']':
      case '}':
        return close_flow(c);
      case ',':
        return separate();
      case '"':
      case '\'':
        return check_quoted(c);
      case '&':
        return refuse(
            "anchors can't be used; write the value out where it is needed, or put the text in quotes");
      case '*':
        return refuse("aliases can't be used; write the value out, or put the text in quotes");
      case '!':
        return refuse("tags can't be used; remove it, or put the text in quotes");
      case '|':
      case '>':
        return refuse(
            "a text over several lines can't be used; write it in one line, or put the text in quotes");
      case '%':
      case '@':
      case '`':
        return refuse("a text can't start with this character; put it in quotes");
      case '\t':
        return refuse("tabs can't be used here; write spaces");
      case '?':
        if (is_blank_or_end(at_ + 1) || flow_depth_ > 0)
          return refuse("'?' for a key can't be used; write 'key: value', or put the text in quotes");
        return check_plain();
      case ':':
        if (ends_key(at_)) return refuse("a key is missing before this ':'");
        return check_plain();
      case '-':
        return is_entry() ? begin_entry() : check_plain();
      default:
        return check_plain();
    }
  }

  void begin_entry() {
    if (flow_depth_ > 0 || !entry_allowed_)
      return refuse("a list can't start here; begin it on the next line, or write [a, b]");
    push_block(true);
    ++at_;
    last_ = Last::kStructure;
  }

  void open_flow(char bracket) {
    if (last_value_in_line_) return refuse("a ',' is missing before this bracket");
    if (flow_depth_ == 0) {
      flow_start_ = mark();
      flow_tokens_ = 0;
    }
    if (blocks_used_ + flow_depth_ >= kMaxDepth) return refuse_depth();
    flows_[flow_depth_++] = bracket;
    ++at_;
    set_last(Last::kStructure);
  }

  void close_flow(char bracket) {
    char opening = bracket == ']' ? '[' : '{';
    if (flow_depth_ == 0 || flows_[flow_depth_ - 1] != opening)
      return refuse("this bracket closes nothing; remove it, or put the text in quotes");
    --flow_depth_;
    ++at_;
    set_last(Last::kValue);
    skip_spaces();
    if (at_ < text_.size() && text_[at_] == ':') return refuse("a list or mapping can't be a key");
    after_flow_ = flow_depth_ == 0;
  }

  void separate() {
    if (flow_depth_ == 0) return refuse("a ',' can't stand here; put the text in quotes");
    if (last_ != Last::kValue && !after_key_) return refuse("a value is missing before this ','");
    ++at_;
    set_last(Last::kStructure);
  }

  void check_quoted(char quote) {
    if (last_value_in_line_) return refuse("a ',' is missing before this text");
    size_t start = at_++;
    for (; at_ < text_.size() && text_[at_] != '\n'; ++at_) {
      if (text_[at_] == '\\' && quote == '"' && at_ + 1 < text_.size() && text_[at_ + 1] != '\n') {
        ++at_;
      } else if (text_[at_] == quote) {
        if (quote != '\'' || at_ + 1 == text_.size() || text_[at_ + 1] != '\'') break;
        ++at_;
      }
    }
    if (at_ == text_.size() || text_[at_] == '\n') {
      at_ = start;
      return refuse("the closing quote is missing in this line");
    }
    ++at_;
    if (!is_blank_or_end(at_) && text_[at_] != ':' && (flow_depth_ == 0 || !is_flow_end(text_[at_])))
      return refuse("nothing may follow the closing quote directly; put the whole text in quotes");
    end_scalar(start, true);
  }

  void check_plain() {
    if (last_value_in_line_) return refuse("a ',' is missing before this text");
    size_t start = at_;
    for (; at_ < text_.size() && text_[at_] != '\n'; ++at_) {
      char c = text_[at_];
      if (c == '\t') return refuse("tabs can't be used here; write spaces");
      if (c == ':' && ends_key(at_)) break;
      if (c == ' ') {
        size_t next = std::min(text_.find_first_not_of(' ', at_), text_.size());
        if (next == text_.size() || text_[next] == '\n' || text_[next] == '#') break;
        at_ = next - 1;
        continue;
      }
      if (flow_depth_ > 0 && (is_flow_end(c) || c == '[' || c == '{' || c == '?')) break;
    }
    end_scalar(start, false);
  }

  // Decides whether the scalar was a key.
  void end_scalar(size_t start, bool was_quoted) {
    skip_spaces();
    bool json_key = was_quoted && flow_depth_ > 0;
    bool is_key = at_ < text_.size() && text_[at_] == ':' && (json_key || ends_key(at_));
    if (!is_key) {
      if (was_quoted && at_ < text_.size() && text_[at_] == ':')
        return refuse("write a space after this ':'");
      return set_last(Last::kValue);
    }
    if (flow_depth_ == 0) {
      if (!key_allowed_) return refuse("a second ':' in one line; put the text in quotes");
      size_t colon = std::exchange(at_, start);
      push_block(false);
      at_ = colon;
      key_allowed_ = false;
    }
    ++at_;
    set_last(Last::kStructure);
    after_key_ = true;
  }

  void push_block(bool is_sequence) {
    uint32_t column = byte_column();
    bool deeper = blocks_used_ == 0 || top().column < column ||
                  (top().column == column && is_sequence && !top().is_sequence);
    if (!deeper || problem_) return;
    if (blocks_used_ >= kMaxDepth) return refuse_depth();
    blocks_[blocks_used_++] = {column, is_sequence};
  }

  void set_last(Last last) {
    last_ = last;
    last_value_in_line_ = last == Last::kValue;
    after_key_ = false;
    after_flow_ = false;
    entry_allowed_ = false;
  }
  void skip_spaces() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool at_line_end() {
    bool end = at_ >= text_.size() || text_[at_] == '\n' || text_[at_] == '#';
    if (end) last_value_in_line_ = after_flow_ = false;
    return end;
  }
  bool is_blank_or_end(size_t at) const {
    return at >= text_.size() || text_[at] == ' ' || text_[at] == '\n' || text_[at] == '\t';
  }
  static bool is_flow_end(char c) { return c == ',' || c == ']' || c == '}'; }
  bool ends_key(size_t colon) const {
    return is_blank_or_end(colon + 1) || (flow_depth_ > 0 && is_flow_end(text_[colon + 1]));
  }
  bool is_entry() const { return text_[at_] == '-' && is_blank_or_end(at_ + 1); }
  const Block& top() const { return blocks_[blocks_used_ - 1]; }
  uint32_t byte_column() const { return static_cast<uint32_t>(at_ - line_start_); }
  Mark mark() const { return {line_, column_of(text_, line_start_, at_)}; }
  void refuse(std::string message) {
    if (!problem_) problem_ = Problem{mark(), std::move(message)};
  }
  void refuse_depth() { refuse("nested deeper than " + std::to_string(kMaxDepth) + " levels"); }

  std::string_view text_;
  size_t at_ = 0, line_start_ = 0;
  uint32_t line_ = 1;
  std::array<Block, kMaxDepth> blocks_;
  std::array<char, kMaxDepth> flows_;
  uint32_t blocks_used_ = 0, flow_depth_ = 0;
  Mark flow_start_;
  size_t flow_tokens_ = 0;
  Last last_ = Last::kNothing;
  bool last_value_in_line_ = false;  ///< a value ended in this line, and nothing has separated it since
  bool after_key_ = false;           ///< directly after a key's ':'
  bool after_flow_ = false;          ///< the outermost bracket was closed in this line
  bool entry_allowed_ = false;       ///< "- " may stand here
  bool key_allowed_ = false;         ///< no key in this line yet, outside brackets
  bool seen_document_start_ = false;
  std::optional<Problem> problem_;
};

/// Bytes of the UTF-8 character that starts at `at`; 0 where there is none (RFC 3629 §4).
size_t utf8_length(std::string_view text, size_t at) {
  auto byte = [&](size_t i) { return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u; };
  auto tail = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return tail(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    bool overlong = lead == 0xe0 && byte(1) < 0xa0, surrogate = lead == 0xed && byte(1) > 0x9f;
    return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    bool overlong = lead == 0xf0 && byte(1) < 0x90, beyond = lead == 0xf4 && byte(1) > 0x8f;
    return tail(1) && tail(2) && tail(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

}  // namespace

uint32_t column_of(std::string_view text, size_t line_start, size_t at) {
  uint32_t column = 1;
  for (size_t i = line_start; i < at && i < text.size(); ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) ++column;
  return column;
}

std::string normalised(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::string out(text);
  if (out.find('\r') == std::string::npos) return out;
  size_t to = 0;
  for (size_t from = 0; from < out.size(); ++from)
    if (out[from] != '\r' || from + 1 == out.size() || out[from + 1] != '\n') out[to++] = out[from];
  out.resize(to);
  return out;
}

std::optional<Problem> find_bad_byte(std::string_view text) {
  uint32_t line = 1;
  size_t line_start = 0;
  for (size_t at = 0; at < text.size();) {
    size_t length = utf8_length(text, at);
    auto byte = static_cast<unsigned char>(text[at]);
    bool c1 = byte == 0xc2 && length == 2 && static_cast<unsigned char>(text[at + 1]) < 0xa0;
    bool control = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f || c1;
    if (length == 0 || control)
      return Problem{{line, column_of(text, line_start, at)},
                     length == 0 ? "this isn't UTF-8; save the file as UTF-8"
                                 : "control characters can't be used; remove it"};
    at += length;
    if (byte == '\n') {
      ++line;
      line_start = at;
    }
  }
  return std::nullopt;
}

std::optional<Problem> find_outside_subset(std::string_view text) {
  return SubsetCheck(text).run();
}

}  // namespace bulkhead::yaml
