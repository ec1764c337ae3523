#include "svid/verify.h"

#include <algorithm>

#include <openssl/bn.h>

#include "svid/certificate.h"

namespace bulkhead {

/// The path from a leaf to a CA of one trust domain, as it is verified.
struct TrustPath {
  const TrustBundle& bundle;
  X509_STORE* store;
  WallTime now;
  int64_t skew_seconds;

  static std::optional<TrustPath> of(const TrustDomain& domain, const TrustStore& trust, WallTime now,
                                     std::chrono::seconds skew) {
    auto found = trust.domains_.find(domain);
    if (found == trust.domains_.end()) return std::nullopt;
    return TrustPath{found->second.bundle, found->second.store.get(), now, skew.count()};
  }
};

namespace {

using std::unexpected;

bool is_later(const ASN1_TIME* time, time_t than) {
  return X509_cmp_time(time, &than) > 0;
}

bool has_crl_of(const TrustBundle& bundle, const X509_NAME* issuer) {
  return std::ranges::any_of(bundle.crls, [&](const X509CrlPtr& crl) {
    return X509_NAME_cmp(X509_CRL_get_issuer(crl.get()), issuer) == 0;
  });
}

/// Whether what OpenSSL complains of is within the skew, or the CRL of an issuer that has none.
bool is_excused(X509_STORE_CTX* context, const TrustPath& path) {
  const X509* certificate = X509_STORE_CTX_get_current_cert(context);
  const X509_CRL* crl = X509_STORE_CTX_get0_current_crl(context);
  time_t earliest = to_time_t(path.now, -path.skew_seconds), latest = to_time_t(path.now, path.skew_seconds);
  switch (X509_STORE_CTX_get_error(context)) {
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return !is_later(X509_get0_notBefore(certificate), latest);
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return is_later(X509_get0_notAfter(certificate), earliest);
    case X509_V_ERR_CRL_NOT_YET_VALID:
      return !is_later(X509_CRL_get0_lastUpdate(crl), latest);
    case X509_V_ERR_CRL_HAS_EXPIRED:
      return is_later(X509_CRL_get0_nextUpdate(crl), earliest);
    case X509_V_ERR_UNABLE_TO_GET_CRL:
      return !has_crl_of(path.bundle, X509_get_issuer_name(certificate));
    default:
      return false;
  }
}

int on_error(int good, X509_STORE_CTX* context) {
  if (good == 1) return 1;
  const auto* path = static_cast<const TrustPath*>(X509_STORE_CTX_get_app_data(context));
  if (!is_excused(context, *path)) return 0;
  X509_STORE_CTX_set_error(context, X509_V_OK);
  return 1;
}

SvidFault fault_of(int error) {
  switch (error) {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_UNTRUSTED:
      return SvidFault::k_chain_untrusted;
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY:
    case X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE:
      return SvidFault::k_signature_invalid;
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return SvidFault::k_not_yet_valid;
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return SvidFault::k_expired;
    case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
    case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD:
    case X509_V_ERR_INVALID_EXTENSION:
      return SvidFault::k_certificate_malformed;
    case X509_V_ERR_PATH_LENGTH_EXCEEDED:
      return SvidFault::k_path_length;
    case X509_V_ERR_CERT_CHAIN_TOO_LONG:
      return SvidFault::k_chain_too_long;
    case X509_V_ERR_INVALID_CA:
    case X509_V_ERR_INVALID_NON_CA:
    case X509_V_ERR_KEYUSAGE_NO_CERTSIGN:
      return SvidFault::k_issuer_not_ca;
    case X509_V_ERR_PERMITTED_VIOLATION:
    case X509_V_ERR_EXCLUDED_VIOLATION:
    case X509_V_ERR_SUBTREE_MINMAX:
    case X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE:
    case X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX:
    case X509_V_ERR_UNSUPPORTED_NAME_SYNTAX:
      return SvidFault::k_name_constraint;
    case X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION:
      return SvidFault::k_critical_extension;
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_KEY_TOO_SMALL:
    case X509_V_ERR_EC_KEY_EXPLICIT_PARAMS:
      return SvidFault::k_key_weak;
    case X509_V_ERR_CA_MD_TOO_WEAK:
      return SvidFault::k_signature_weak;
    case X509_V_ERR_CERT_REVOKED:
      return SvidFault::k_revoked;
    case X509_V_ERR_CRL_HAS_EXPIRED:
      return SvidFault::k_crl_expired;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
    case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
    case X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE:
    case X509_V_ERR_CRL_SIGNATURE_FAILURE:
    case X509_V_ERR_CRL_NOT_YET_VALID:
    case X509_V_ERR_ERROR_IN_CRL_LAST_UPDATE_FIELD:
    case X509_V_ERR_ERROR_IN_CRL_NEXT_UPDATE_FIELD:
    case X509_V_ERR_KEYUSAGE_NO_CRL_SIGN:
    case X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION:
    case X509_V_ERR_INVALID_CALL:
    case X509_V_ERR_DIFFERENT_CRL_SCOPE:
    case X509_V_ERR_CRL_PATH_VALIDATION_ERROR:
      return SvidFault::k_crl_unusable;
    case X509_V_ERR_OUT_OF_MEM:
    case X509_V_ERR_UNSPECIFIED:
      return SvidFault::k_check_failed;
    default:
      return SvidFault::k_chain_invalid;
  }
}

std::optional<SvidFault> check_intermediates(const X509* leaf, const STACK_OF(X509) * intermediates) {
  for (int i = 0; i < sk_X509_num(intermediates); ++i) {
    X509* one = sk_X509_value(intermediates, i);
    if (one == leaf) continue;
    for (auto check : {check_issuer, check_key, check_signature_algorithm})
      if (auto fault = check(one)) return fault;
  }
  return std::nullopt;
}

void set_rules(X509_STORE_CTX* context, const TrustPath& path) {
  X509_VERIFY_PARAM* rules = X509_STORE_CTX_get0_param(context);
  X509_VERIFY_PARAM_set_time(rules, to_time_t(path.now));
  X509_VERIFY_PARAM_set_depth(rules, static_cast<int>(kMaxChainCertificates));
  X509_VERIFY_PARAM_set_auth_level(rules, 2);  // 112 bits, NIST SP 800-57
  // Name constraints bind names; the common name is none.
  X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN;
  if (!path.bundle.crls.empty()) flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
  X509_VERIFY_PARAM_set_flags(rules, flags);
}

WallTime first_end(const STACK_OF(X509) * chain) {
  WallTime first{INT64_MAX};
  for (int i = 0; i < sk_X509_num(chain); ++i)
    if (auto end = wall_time_of(X509_get0_notAfter(sk_X509_value(chain, i)))) first = std::min(first, *end);
  return first;
}

/// Output: when the path's first certificate ends.
std::expected<WallTime, SvidFault> check_path(X509* leaf, const STACK_OF(X509) * intermediates,
                                              TrustPath path) {
  X509StoreCtxPtr context(X509_STORE_CTX_new());
  if (!context ||
      X509_STORE_CTX_init(context.get(), path.store, leaf, const_cast<STACK_OF(X509)*>(intermediates)) != 1)
    return unexpected(SvidFault::k_check_failed);
  set_rules(context.get(), path);
  X509_STORE_CTX_set_app_data(context.get(), &path);
  X509_STORE_CTX_set_verify_cb(context.get(), on_error);
  if (X509_verify_cert(context.get()) != 1)
    return unexpected(fault_of(X509_STORE_CTX_get_error(context.get())));
  return first_end(X509_STORE_CTX_get0_chain(context.get()));
}

}  // namespace

std::expected<VerifiedSvid, SvidFault> verify_svid(X509* leaf, const STACK_OF(X509) * intermediates,
                                                   const TrustStore& trust, WallTime now,
                                                   std::chrono::seconds skew) {
  ErrorMark mark;
  if (leaf == nullptr) return unexpected(SvidFault::k_certificate_missing);
  if (auto fault = check_chain_size(leaf, intermediates)) return unexpected(*fault);
  auto id = check_leaf(leaf);
  if (!id) return unexpected(id.error());
  auto path = TrustPath::of(id->trust_domain(), trust, now, skew);
  if (!path) return unexpected(SvidFault::k_trust_domain_unknown);
  if (auto fault = check_intermediates(leaf, intermediates)) return unexpected(*fault);
  auto expires = check_path(leaf, intermediates, *path);
  if (!expires) return unexpected(expires.error());
  return VerifiedSvid{std::move(*id), *expires, fingerprint_of(leaf), serial_of(leaf)};
}

std::optional<SvidFault> check_chain_size(X509* leaf, const STACK_OF(X509) * intermediates) {
  size_t certificates = 1;
  int bytes = i2d_X509(leaf, nullptr);
  for (int i = 0; i < sk_X509_num(intermediates); ++i) {
    X509* one = sk_X509_value(intermediates, i);
    if (one == leaf) continue;
    if (++certificates > kMaxChainCertificates) return SvidFault::k_chain_too_long;
    int length = i2d_X509(one, nullptr);
    if (bytes < 0 || length < 0) return SvidFault::k_certificate_malformed;
    bytes += length;
  }
  if (bytes < 0) return SvidFault::k_certificate_malformed;
  if (static_cast<size_t>(bytes) > kMaxChainBytes) return SvidFault::k_chain_too_large;
  return std::nullopt;
}

std::array<uint8_t, 32> fingerprint_of(const X509* certificate) {
  std::array<uint8_t, 32> digest{};
  unsigned bytes = 0;
  X509_digest(certificate, EVP_sha256(), digest.data(), &bytes);
  return digest;
}

std::string serial_of(const X509* certificate) {
  const ASN1_INTEGER* serial = X509_get0_serialNumber(certificate);
  std::string text = to_hex({ASN1_STRING_get0_data(serial), static_cast<size_t>(ASN1_STRING_length(serial))});
  return ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER ? "-" + text : text;
}

std::string to_hex(std::span<const uint8_t> bytes) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string text;
  for (uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace bulkhead
