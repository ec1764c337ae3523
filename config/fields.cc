#include "config/fields.h"

#include <unordered_map>

#include "config/policy.h"

namespace bulkhead {

Fields::Fields(const yaml::Node& node, Source& source, std::string_view what)
    : node_(node), source_(source), what_(what) {
  if (node.kind != yaml::Kind::kMapping)
    source.error(node.mark, what_ + " must be a mapping; write 'key: value' lines");
}

const yaml::Node* Fields::find(std::string_view key) {
  known_.push_back(key);
  for (size_t i = 0; i < entries(); ++i) {
    if (node_.key(i).text != key) continue;
    if (node_.value(i).kind != yaml::Kind::kNull) return &node_.value(i);
    source_.error(node_.key(i).mark, "'" + std::string(key) + "' has no value; write one, or remove the key");
    return nullptr;
  }
  return nullptr;
}

void Fields::missing(std::string_view key) {
  if (node_.kind == yaml::Kind::kMapping)
    source_.error(node_.mark, what_ + " needs the key '" + std::string(key) + "'; add it");
}

void Fields::unavailable(std::string_view key) {
  known_.push_back(key);
  for (size_t i = 0; i < entries(); ++i)
    if (node_.key(i).text == key)
      source_.error(node_.key(i).mark, not_available(in_quotes(key)) + "; remove it");
}

void Fields::only(std::string_view key, std::string_view value) {
  const yaml::Node* node = find(key);
  if (node == nullptr || (node->is_scalar() && node->text == value)) return;
  source_.error(node->mark, not_available("any other value of '" + std::string(key) + "' than '" +
                                          std::string(value) + "'") +
                                "; remove the key");
}

void Fields::done() {
  for (size_t i = 0; i < entries(); ++i) {
    const yaml::Node& key = node_.key(i);
    if (std::ranges::find(known_, key.text) != known_.end()) continue;
    source_.error(key.mark, what_ + " has no key " + in_quotes(key.text) +
                                source_.report().did_you_mean(key.text, known_) +
                                "; correct it, or remove it");
  }
}

void report_repeated(const yaml::Node& list, std::string_view what, Source& source) {
  std::unordered_map<std::string_view, Mark> seen;
  for (const yaml::Node& item : list.items) {
    if (!item.is_scalar()) continue;
    auto [first, is_new] = seen.try_emplace(item.text, item.mark);
    if (is_new) continue;
    source.error(item.mark, std::string(what) + in_quotes(item.text) + " is in this list twice, first in " +
                                to_string(source.at(first->second)) + "; remove one");
  }
}

std::string not_available(std::string_view what) {
  return std::string(what) + " is not available in this version";
}

std::optional<std::string> read_text(const yaml::Node& node, Source& source) {
  if (node.is_scalar() && !node.text.empty()) return node.text;
  source.error(node.mark, node.is_scalar() || node.kind == yaml::Kind::kNull
                              ? "this is empty; write a text"
                              : "this must be a single text, not a list or mapping");
  return std::nullopt;
}

std::optional<std::string> read_name(const yaml::Node& node, Source& source) {
  auto text = read_text(node, source);
  if (!text || is_name(*text)) return text;
  source.error(node.mark, in_quotes(*text) +
                              " isn't a name; write 1-63 of a-z, 0-9, '.', '_' and '-', "
                              "beginning with a letter or digit");
  return std::nullopt;
}

std::optional<bool> read_boolean(const yaml::Node& node, Source& source) {
  if (node.is_scalar() && !node.quoted && (node.text == "true" || node.text == "false"))
    return node.text == "true";
  source.error(node.mark, "this must be true or false, without quotes");
  return std::nullopt;
}

std::optional<uint64_t> read_unsigned(const yaml::Node& node, Source& source, uint64_t least, uint64_t most) {
  uint64_t value = 0;
  const char* end = node.text.data() + node.text.size();
  auto [stop, error] = std::from_chars(node.text.data(), end, value);
  bool leading_zero = node.text.size() > 1 && node.text[0] == '0';
  bool is_number = node.is_scalar() && !node.quoted && !leading_zero && stop == end && !node.text.empty();
  if (is_number && error == std::errc{} && value >= least && value <= most) return value;
  std::string found = node.is_scalar() ? in_quotes(node.text) + " isn't" : std::string("this must be");
  source.error(node.mark, found + " a decimal number from " + std::to_string(least) + " to " +
                              std::to_string(most) +
                              (node.quoted && node.is_scalar() ? "; write it without quotes" : ""));
  return std::nullopt;
}

}  // namespace bulkhead
