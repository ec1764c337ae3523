// Why a peer's certificates don't prove an identity: one name in every tool and one line of help each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace bulkhead {

/// NAME(name, help). The names are promises to users, and labels of metrics.
#define BULKHEAD_SVID_FAULTS(NAME)                                                                          \
  NAME(certificate_missing, "no certificate was presented")                                                 \
  NAME(chain_too_long, "more than 8 certificates")                                                          \
  NAME(chain_too_large, "more than 64 KiB of certificates")                                                 \
  NAME(certificate_malformed,                                                                               \
       "a certificate that contradicts X.509, or an extension of it that can't be read")                    \
  NAME(uri_san_missing, "no URI among the subject's alternative names; the common name is never looked at") \
  NAME(uri_san_repeated, "more than one URI among the subject's alternative names")                         \
  NAME(san_with_nul, "a NUL byte in one of the subject's alternative names")                                \
  NAME(spiffe_id_invalid, "the URI isn't a SPIFFE ID")                                                      \
  NAME(spiffe_id_without_path, "the SPIFFE ID names a trust domain, and no workload of it")                 \
  NAME(leaf_is_ca, "the first certificate is a CA's")                                                       \
  NAME(key_usage_missing, "no key usage")                                                                   \
  NAME(key_usage_not_critical, "the key usage isn't critical")                                              \
  NAME(key_usage_signs, "the key may sign certificates or CRLs")                                            \
  NAME(key_usage_no_signature, "the key may not sign: digitalSignature is missing")                         \
  NAME(extended_key_usage, "an extended key usage without serverAuth or without clientAuth")                \
  NAME(signature_weak, "a signature other than SHA-256, SHA-384 or SHA-512 with RSA or ECDSA, or Ed25519")  \
  NAME(key_weak, "a key other than RSA of 2048 bits or more, P-256, P-384, P-521 by name, or Ed25519")      \
  NAME(issuer_not_ca, "an issuer that isn't a CA, or whose key may not sign certificates")                  \
  NAME(trust_domain_unknown, "there is no bundle of the SPIFFE ID's trust domain")                          \
  NAME(chain_untrusted, "no path leads to a CA of the trust domain's bundle")                               \
  NAME(signature_invalid, "a signature that isn't its issuer's")                                            \
  NAME(not_yet_valid, "a certificate whose time hasn't come")                                               \
  NAME(expired, "a certificate whose time is over")                                                         \
  NAME(path_length, "more CAs below a CA than it allows")                                                   \
  NAME(name_constraint, "a name that a CA's name constraints don't allow")                                  \
  NAME(critical_extension, "a critical extension that isn't known")                                         \
  NAME(revoked, "a certificate that its issuer has revoked")                                                \
  NAME(crl_expired, "the issuer's CRL is out of date, so nobody knows what is revoked")                     \
  NAME(crl_unusable, "the issuer's CRL can't be used: wrong signature, signer, scope or time")              \
  NAME(chain_invalid, "the path breaks another rule of RFC 5280")                                           \
  NAME(check_failed, "the check itself failed, for want of memory")

enum class SvidFault : uint8_t {
#define BULKHEAD_NAME(name, help) k_##name,
  BULKHEAD_SVID_FAULTS(BULKHEAD_NAME)
#undef BULKHEAD_NAME
      kCount,
};
inline constexpr size_t kSvidFaultCount = static_cast<size_t>(SvidFault::kCount);

/// The name that every tool shows, e.g. "expired".
std::string_view name_of(SvidFault fault);
/// One line of help for a person.
std::string_view help_of(SvidFault fault);

}  // namespace bulkhead
