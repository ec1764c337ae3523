#include <algorithm>

#include "config/policy.h"
#include "config/report.h"
#include "wire/tls.h"

namespace bulkhead {
namespace {

/// A label as TLS clients send it: letters, digits, '-' and '_'.
bool is_label(std::string_view label) {
  return !label.empty() && label.size() <= kMostHostLabel && std::ranges::all_of(label, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

bool is_host_name(std::string_view name) {
  if (name.empty() || name.size() > kMostHostName) return false;
  for (;;) {
    size_t dot = name.find('.');
    if (!is_label(name.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    name.remove_prefix(dot + 1);
  }
}

}  // namespace

Expected<std::string> parse_server_name(std::string_view text) {
  std::string name(text);
  std::ranges::transform(name, name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  });
  auto wrong = [&](const char* what) { return fail(ErrorCode::kInvalid, in_quotes(text) + what); };
  if (parse_address(name)) return wrong(" is an address, which no server name is; write a DNS name");
  if (name.ends_with('.')) return wrong(" ends in a dot, which server names are sent without; remove it");
  std::string_view rest = name;
  if (rest.starts_with("*.")) rest.remove_prefix(2);
  if (rest.find('*') != std::string_view::npos)
    return wrong(
        " has a wildcard that isn't one whole label, the first; write '*.corp.example', or remove 'sni' for "
        "any name");
  if (!is_host_name(rest)) return wrong(" isn't a DNS name; write 'db.corp.example' or '*.corp.example'");
  return name;
}

}  // namespace bulkhead
