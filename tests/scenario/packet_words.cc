#include "packet_words.h"

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace bulkhead::test {

std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool quoted = false;
  for (char c : text) {
    if (c == '"') quoted = !quoted;
    if (!quoted && (c == ' ' || c == '\t')) {
      if (!word.empty()) words.push_back(std::move(word));
      word.clear();
    } else {
      word += c;
    }
  }
  if (quoted) throw std::invalid_argument("a quote isn't closed in: " + std::string(text));
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

static std::string trimmed(std::string_view text) {
  size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(" \t") - first + 1));
}

std::vector<std::string> split_layers(std::string_view text, std::string_view separator) {
  std::vector<std::string> layers;
  bool quoted = false;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') quoted = !quoted;
    if (quoted || text.substr(i, separator.size()) != separator) continue;
    layers.push_back(trimmed(text.substr(begin, i - begin)));
    begin = i + separator.size();
    i = begin - 1;
  }
  layers.push_back(trimmed(text.substr(begin)));
  return layers;
}

uint64_t number_of(std::string_view word) {
  int base = word.starts_with("0x") ? 16 : 10;
  std::string_view digits = base == 16 ? word.substr(2) : word;
  uint64_t value = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc{} || end != digits.data() + digits.size())
    throw std::invalid_argument("'" + std::string(word) + "' isn't a number");
  return value;
}

template <class T>
static T checked(Expected<T> parsed) {
  if (!parsed) throw std::invalid_argument(parsed.error().message);
  return *parsed;
}

IpAddress address_of(std::string_view word) {
  if (word.starts_with(
          "mapped:")) {  // ::ffff:a.b.c.d on the wire, which the product's parser refuses to read
    IpAddress v4 = address_of(word.substr(7));
    return IpAddress::v6(v4.bytes.data());
  }
  return checked(parse_address(word));
}
MacAddress mac_of(std::string_view word) {
  return checked(parse_mac(word));
}

Bytes hex_of(std::string_view word) {
  Bytes bytes;
  if (word.size() % 2 != 0)
    throw std::invalid_argument("an odd number of hexadecimal digits: " + std::string(word));
  for (size_t i = 0; i < word.size(); i += 2)
    bytes.push_back(static_cast<uint8_t>(number_of("0x" + std::string(word.substr(i, 2)))));
  return bytes;
}

Layer::Layer(std::string_view text) : words_(split_words(text)) {
  if (words_.empty()) throw std::invalid_argument("an empty layer");
  kind_ = words_[0];
  words_.erase(words_.begin());
}

std::string Layer::next(const char* what) {
  if (words_.empty()) throw std::invalid_argument("layer '" + kind_ + "' lacks " + what);
  std::string word = std::move(words_[0]);
  words_.erase(words_.begin());
  return word;
}

std::pair<std::string, std::string> Layer::ends() {
  std::string first = next("its source"), arrow = next("'>'"), second = next("its destination");
  if (arrow != ">") throw std::invalid_argument("layer '" + kind_ + "': '>' expected, not '" + arrow + "'");
  return {first, second};
}

std::optional<std::string> Layer::value(std::string_view name) {
  auto at = std::ranges::find(words_, name);
  if (at == words_.end()) return std::nullopt;
  if (at + 1 == words_.end()) throw std::invalid_argument("'" + std::string(name) + "' lacks its value");
  std::string value = *(at + 1);
  words_.erase(at, at + 2);
  return value;
}

std::optional<uint64_t> Layer::number(std::string_view name) {
  auto word = value(name);
  return word ? std::optional(number_of(*word)) : std::nullopt;
}

uint64_t Layer::number(std::string_view name, uint64_t otherwise) {
  return number(name).value_or(otherwise);
}

bool Layer::flag(std::string_view name) {
  auto at = std::ranges::find(words_, name);
  if (at == words_.end()) return false;
  words_.erase(at);
  return true;
}

void Layer::done() const {
  if (!words_.empty()) throw std::invalid_argument("layer '" + kind_ + "' doesn't know '" + words_[0] + "'");
}

}  // namespace bulkhead::test
