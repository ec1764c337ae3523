// SPIFFE IDs: the names that workloads prove with certificates (SPIFFE-ID §2). Knows nothing of certificates.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "base/error.h"

namespace bulkhead {

/// Whose certificates it is all about: 1-255 of a-z, 0-9, '.', '-' and '_' (SPIFFE-ID §2.1).
class TrustDomain {
 public:
  const std::string& name() const { return name_; }
  auto operator<=>(const TrustDomain&) const = default;

 private:
  friend Expected<TrustDomain> parse_trust_domain(std::string_view text);
  friend class SpiffeId;
  explicit TrustDomain(std::string name) : name_(std::move(name)) {}
  std::string name_;
};

/// Errors: kInvalid. "spiffe://" doesn't belong to it, nor do upper-case letters or a port.
Expected<TrustDomain> parse_trust_domain(std::string_view text);

/// spiffe://TRUST-DOMAIN names the domain itself, spiffe://TRUST-DOMAIN/PATH a workload of it.
class SpiffeId {
 public:
  const std::string& text() const { return text_; }
  TrustDomain trust_domain() const;
  /// Empty for the domain itself, else with its '/' in front.
  std::string_view path() const { return std::string_view(text_).substr(path_at_); }
  bool is_workload() const { return path_at_ < text_.size(); }
  bool operator==(const SpiffeId&) const = default;
  auto operator<=>(const SpiffeId& other) const { return text_ <=> other.text_; }

 private:
  friend Expected<SpiffeId> parse_spiffe_id(std::string_view text);
  SpiffeId(std::string text, size_t path_at) : text_(std::move(text)), path_at_(path_at) {}
  std::string text_;
  size_t path_at_;
};

/// The longest ID, in bytes (SPIFFE-ID §2.3).
inline constexpr size_t kMaxSpiffeIdBytes = 2048;

/// Errors: kInvalid, saying which rule of SPIFFE-ID §2 the text breaks: another scheme, a trust domain that
/// isn't one (user, port and upper case included), a path with an empty, '.' or '..' segment, with a slash at
/// its end, or with anything but letters, digits, '.', '-' and '_' (so no percent-encoding, query or
/// fragment), or more than kMaxSpiffeIdBytes. Two IDs are the same when their bytes are.
Expected<SpiffeId> parse_spiffe_id(std::string_view text);
/// The same for a workload's ID: kInvalid for one without a path, too.
Expected<SpiffeId> parse_workload_id(std::string_view text);

/// Which workloads are meant: one by its ID, or with "/*" at the end all below that path, at any depth.
/// spiffe://corp.example/* is every workload of the domain; the domain itself and the path itself aren't
/// below it.
class SpiffePattern {
 public:
  const std::string& text() const { return text_; }
  bool matches(const SpiffeId& id) const;
  auto operator<=>(const SpiffePattern&) const = default;

 private:
  friend Expected<SpiffePattern> parse_spiffe_pattern(std::string_view text);
  explicit SpiffePattern(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

/// Errors: kInvalid; a '*' anywhere but as the whole last segment is one.
Expected<SpiffePattern> parse_spiffe_pattern(std::string_view text);

}  // namespace bulkhead
