#include "statements.h"

#include <cstdint>
#include <fstream>
#include <stdexcept>

namespace bulkhead::test {

/// The line without a comment: '#' outside of quotes, at the start or after a blank.
static std::string without_comment(const std::string& line) {
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"') quoted = !quoted;
    if (!quoted && line[i] == '#' && (i == 0 || line[i - 1] == ' ')) return line.substr(0, i);
  }
  return line;
}

static bool is_blank(const std::string& line) {
  return line.find_first_not_of(" \t") == std::string::npos;
}

static bool takes_block(const std::string& text) {
  return text == "gateway" || text == "policy";
}

std::vector<Statement> read_statements(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("can't be read");
  std::vector<Statement> statements;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    std::string text = without_comment(line);
    text.erase(text.find_last_not_of(" \t") + 1);
    if (line.starts_with(' ') && !statements.empty() && takes_block(statements.back().text)) {
      statements.back().block += line + "\n";
    } else if (is_blank(text)) {
      continue;
    } else if (text.starts_with(' ')) {
      if (statements.empty()) throw std::runtime_error("begins with an indented line");
      statements.back().text += text;
    } else {
      statements.push_back({number, text, {}});
    }
  }
  return statements;
}

std::string numbered(const std::string& text, uint64_t i) {
  std::string result;
  size_t at = 0;
  for (size_t open; (open = text.find('{', at)) != std::string::npos;) {
    size_t plus = text.find('+', open), close = text.find("i}", open);
    if (plus == std::string::npos || close == std::string::npos || plus > close)
      throw std::invalid_argument("'{' without '+i}'");
    uint64_t first = std::stoull(text.substr(open + 1, plus - open - 1));
    uint64_t step = close == plus + 1 ? 1 : std::stoull(text.substr(plus + 1, close - plus - 1));
    result += text.substr(at, open - at) + std::to_string(first + step * i);
    at = close + 2;
  }
  return result + text.substr(at);
}

}  // namespace bulkhead::test
