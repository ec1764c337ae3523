// Typed reading of a YAML mapping: every key is asked for by name, and what nobody asked for is refused.
#pragma once

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "config/report.h"
#include "config/yaml_tree.h"

namespace bulkhead {

/// One mapping while it is read. Every problem is reported to the source; nothing is thrown.
class Fields {
 public:
  /// `what` names the mapping in messages: "a policy", "the gateway's file".
  Fields(const yaml::Node& node, Source& source, std::string_view what);

  /// The key's value, or null where it is missing or empty; empty is an error.
  const yaml::Node* find(std::string_view key);
  bool has(std::string_view key) const { return node_.find(key) != nullptr; }

  /// Reads the key's value with `read(node, source)`, an optional<T>. Output: whether `into` was set.
  template <class T, class Read>
  bool optional(std::string_view key, T& into, Read&& read) {
    const yaml::Node* node = find(key);
    if (node == nullptr) return false;
    auto value = read(*node, source_);
    if (!value) return false;
    into = std::move(*value);
    return true;
  }
  /// The same; a missing key is an error where the mapping starts.
  template <class T, class Read>
  bool required(std::string_view key, T& into, Read&& read) {
    if (!has(key)) missing(key);
    return optional(key, into, std::forward<Read>(read));
  }
  void missing(std::string_view key);

  /// Refuses a key of a later version, whatever its value.
  void unavailable(std::string_view key);
  /// Refuses it unless it has the one value that this version knows.
  void only(std::string_view key, std::string_view value);

  /// Refuses what is left. Call it last.
  void done();

  Source& source() { return source_; }
  const yaml::Node& node() const { return node_; }

 private:
  /// Of a mapping; of anything else none.
  size_t entries() const { return node_.kind == yaml::Kind::kMapping ? node_.entries() : 0; }

  const yaml::Node& node_;
  Source& source_;
  std::string what_;
  std::vector<std::string_view> known_;
};

/// Reports each scalar of a list that stands in it before, where it stands again. `what`: before it in the
/// message, like "VLAN ".
void report_repeated(const yaml::Node& list, std::string_view what, Source& source);

/// "X is not available in this version".
std::string not_available(std::string_view what);

// Readers. Each gives nothing, having said why, where the value is wrong.

/// Any text but the empty one.
std::optional<std::string> read_text(const yaml::Node& node, Source& source);
/// A name of a segment, policy, gateway or port.
std::optional<std::string> read_name(const yaml::Node& node, Source& source);
/// `true` or `false`.
std::optional<bool> read_boolean(const yaml::Node& node, Source& source);
std::optional<uint64_t> read_unsigned(const yaml::Node& node, Source& source, uint64_t least, uint64_t most);

/// A decimal integer from `least` to `most`.
template <class T>
auto integer(T least, T most) {
  return [=](const yaml::Node& node, Source& source) -> std::optional<T> {
    auto value = read_unsigned(node, source, least, most);
    if (!value) return std::nullopt;
    return static_cast<T>(*value);
  };
}

/// One of a few words.
template <class T>
class Choice {
 public:
  Choice(std::initializer_list<std::pair<std::string_view, T>> words) : words_(words) {}
  std::optional<T> operator()(const yaml::Node& node, Source& source) const {
    std::string wanted;
    for (const auto& [word, value] : words_) {
      if (node.is_scalar() && node.text == word) return value;
      wanted += (wanted.empty() ? "" : ", ") + std::string(word);
    }
    std::string found = node.is_scalar() ? in_quotes(node.text) + " isn't known here" : "this must be a word";
    source.error(node.mark, found + "; write one of: " + wanted);
    return std::nullopt;
  }

 private:
  std::vector<std::pair<std::string_view, T>> words_;
};

/// A scalar that `parse(string_view)`, an Expected<T>, understands.
template <class Parse>
auto parsed(Parse parse) {
  return [parse](const yaml::Node& node, Source& source) {
    using T = typename decltype(parse(std::string_view()))::value_type;
    std::optional<T> result;
    auto text = read_text(node, source);
    if (!text) return result;
    auto value = parse(std::string_view(*text));
    if (value) {
      result = std::move(*value);
    } else {
      source.error(node.mark, value.error().message);
    }
    return result;
  };
}

/// A list of what `read` reads, with at least one item; wrong items are left out, having been reported.
template <class Read>
auto list_of(Read read, bool may_be_empty = false) {
  return [=](const yaml::Node& node, Source& source) {
    using T = typename decltype(read(node, source))::value_type;
    std::optional<std::vector<T>> items;
    if (node.kind != yaml::Kind::kSequence) {
      source.error(node.mark, "this must be a list; write [a, b], or one item a line after '- '");
      return items;
    }
    if (node.items.empty() && !may_be_empty)
      source.error(node.mark, "this list is empty; write at least one item");
    items.emplace();
    items->reserve(node.items.size());
    for (const yaml::Node& item : node.items)
      if (auto value = read(item, source)) items->push_back(std::move(*value));
    return items;
  };
}

}  // namespace bulkhead
