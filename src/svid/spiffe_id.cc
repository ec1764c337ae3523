#include "svid/spiffe_id.h"

#include <algorithm>

#include "base/printable.h"

namespace bulkhead {
namespace {

constexpr std::string_view kScheme = "spiffe://";
constexpr std::string_view kAnyBelow = "/*";

bool is_domain_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

bool is_path_character(char c) {
  return is_domain_character(c) || (c >= 'A' && c <= 'Z');
}

/// SPIFFE-ID §2.1. Null: nothing is wrong.
const char* wrong_domain(std::string_view name) {
  if (name.empty()) return "its trust domain is missing";
  if (name.size() > 255) return "its trust domain is longer than 255 bytes";
  if (!std::ranges::all_of(name, is_domain_character))
    return "a trust domain has lower-case letters, digits, '.', '-' and '_' only";
  return nullptr;
}

/// SPIFFE-ID §2.2. Input: empty, or what begins with the path's first slash.
const char* wrong_path(std::string_view path) {
  while (!path.empty()) {
    path.remove_prefix(1);
    std::string_view segment = path.substr(0, path.find('/'));
    if (segment.empty()) return "a segment of its path is empty, or it ends in a slash";
    if (segment == "." || segment == "..") return "a segment of its path is '.' or '..'";
    if (!std::ranges::all_of(segment, is_path_character))
      return "a path has letters, digits, '.', '-' and '_' only";
    path.remove_prefix(segment.size());
  }
  return nullptr;
}

std::unexpected<Error> not_an_id(std::string_view text, const std::string& why) {
  return fail(ErrorCode::kInvalid,
              in_quotes(text) + " isn't a SPIFFE ID: " + why + "; write spiffe://TRUST-DOMAIN/PATH");
}

}  // namespace

Expected<TrustDomain> parse_trust_domain(std::string_view text) {
  if (const char* why = wrong_domain(text))
    return fail(ErrorCode::kInvalid,
                in_quotes(text) + " isn't a trust domain: " + why + "; write it like corp.example");
  return TrustDomain(std::string(text));
}

TrustDomain SpiffeId::trust_domain() const {
  return TrustDomain(text_.substr(kScheme.size(), path_at_ - kScheme.size()));
}

Expected<SpiffeId> parse_spiffe_id(std::string_view text) {
  if (text.size() > kMaxSpiffeIdBytes)
    return not_an_id(text, "it is longer than " + std::to_string(kMaxSpiffeIdBytes) + " bytes");
  if (!text.starts_with(kScheme)) return not_an_id(text, "it doesn't begin with spiffe://");
  size_t path_at = std::min(text.find('/', kScheme.size()), text.size());
  if (const char* why = wrong_domain(text.substr(kScheme.size(), path_at - kScheme.size())))
    return not_an_id(text, why);
  if (const char* why = wrong_path(text.substr(path_at))) return not_an_id(text, why);
  return SpiffeId(std::string(text), path_at);
}

Expected<SpiffeId> parse_workload_id(std::string_view text) {
  auto id = parse_spiffe_id(text);
  if (id && !id->is_workload()) return not_an_id(text, "it names a trust domain, and no workload of it");
  return id;
}

bool SpiffePattern::matches(const SpiffeId& id) const {
  if (!text_.ends_with(kAnyBelow)) return id.text() == text_;
  return id.text().starts_with(std::string_view(text_).substr(0, text_.size() - 1));
}

Expected<SpiffePattern> parse_spiffe_pattern(std::string_view text) {
  bool below = text.ends_with(kAnyBelow);
  auto id = below ? parse_spiffe_id(text.substr(0, text.size() - kAnyBelow.size())) : parse_workload_id(text);
  if (!id)
    return with_context(id.error(), in_quotes(text) + " names no workloads (it may end in /* for all below)");
  return SpiffePattern(std::string(text));
}

}  // namespace bulkhead
