// A small site's own CA: one key, directly below it the workloads' certificates.
#pragma once

#include <chrono>
#include <span>

#include "svid/identity.h"

namespace bulkhead {

inline constexpr std::chrono::days kAuthorityLife{3652};
inline constexpr std::chrono::seconds kDefaultSvidLife = std::chrono::hours{24};
/// Long against the time in which somebody rotates: a CRL that is out of date lets nobody pass.
inline constexpr std::chrono::seconds kCrlLife = std::chrono::days{30};

/// Certificates and CRLs are signed with ECDSA on P-256 and SHA-256, begin kClockSkew before they are made,
/// and have random serials of 127 bits.
class Authority {
 public:
  /// A new one: a self-signed CA that allows no CA below it, with the trust domain's ID as its URI
  /// (X509-SVID §3.1). Errors: kExhausted, kSystem, as OpenSSL says.
  static Expected<Authority> create(const TrustDomain& domain, WallTime now);
  /// One that was made before. Errors: kInvalid: no CA's certificate, no trust domain's ID, another's key.
  static Expected<Authority> from(X509Ptr certificate, EvpPkeyPtr key);

  const TrustDomain& trust_domain() const { return domain_; }
  X509* certificate() const { return certificate_.get(); }
  EVP_PKEY* key() const { return key_.get(); }

  /// A new key, and an SVID for `life` from `now` on.
  /// Errors: kInvalid: the ID is of another trust domain, or names no workload; `life` isn't positive, or
  /// longer than the CA's own; kExhausted, kSystem.
  Expected<SvidIdentity> mint(const SpiffeId& id, WallTime now, std::chrono::seconds life) const;

  /// The CRL after `last` (null: the first): its entries and these certificates, and the next number.
  Expected<X509CrlPtr> revoke(X509_CRL* last, std::span<const X509Ptr> more, WallTime now) const;

  /// Whether it signed it.
  bool has_issued(X509* certificate) const;
  bool has_issued(X509_CRL* crl) const;

 private:
  Authority(TrustDomain domain, X509Ptr certificate, EvpPkeyPtr key)
      : domain_(std::move(domain)), certificate_(std::move(certificate)), key_(std::move(key)) {}
  TrustDomain domain_;
  X509Ptr certificate_;
  EvpPkeyPtr key_;
};

/// Whether a certificate or CRL has lived through half of its life.
bool is_half_over(X509* certificate, WallTime now);
bool is_half_over(X509_CRL* crl, WallTime now);
bool is_revoked(X509_CRL* crl, X509* certificate);

}  // namespace bulkhead
