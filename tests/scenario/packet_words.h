// One layer of a packet's text, taken apart into words.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "wire_bytes.h"

namespace bulkhead::test {

/// Splits at white space; "..." is one word, quotes kept.
std::vector<std::string> split_words(std::string_view text);
/// Splits at `separator` outside of quotes; the parts are trimmed.
std::vector<std::string> split_layers(std::string_view text, std::string_view separator);

uint64_t number_of(std::string_view word);  ///< decimal or 0x...; throws std::invalid_argument
IpAddress address_of(std::string_view word);
MacAddress mac_of(std::string_view word);
Bytes hex_of(std::string_view word);

/// A layer: its kind, then words that are taken in any order by name, or in order by position.
class Layer {
 public:
  explicit Layer(std::string_view text);
  const std::string& kind() const { return kind_; }

  /// The next word that nobody took.
  std::string next(const char* what);
  /// "A > B" from the next three words.
  std::pair<std::string, std::string> ends();
  /// The word after `name`, where that is written.
  std::optional<std::string> value(std::string_view name);
  uint64_t number(std::string_view name, uint64_t otherwise);
  std::optional<uint64_t> number(std::string_view name);
  /// Whether `name` stands there alone.
  bool flag(std::string_view name);
  /// Errors: a word that nobody took.
  void done() const;

 private:
  std::string kind_;
  std::vector<std::string> words_;  // those that nobody took yet
};

}  // namespace bulkhead::test
