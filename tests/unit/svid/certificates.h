// Certificates for tests, right unless a field says otherwise. Every one is made by OpenSSL itself, none by
// the code under test.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "svid/trust_store.h"

namespace bulkhead::test {

/// 2027-01-15T08:00:00Z, when the tests take place.
inline constexpr WallTime kNow{1'800'000'000'000'000'000};
inline constexpr int64_t kHour = 3600;

constexpr WallTime after(int64_t seconds) {
  return {kNow.ns + seconds * 1'000'000'000};
}

/// A key by what `openssl genpkey` calls it: "P-256", "explicit P-256", "RSA:2048", "ED25519", ...
EvpPkeyPtr make_key(const std::string& kind);

/// What stands in a certificate. Extensions are written as in openssl.cnf; an empty one isn't there.
struct Certificate {
  std::string subject = "workload";
  std::vector<std::pair<int, std::string>> names{{GEN_URI, "spiffe://corp.example/web/7"}};
  std::string basic_constraints = "critical,CA:FALSE";
  std::string key_usage = "critical,digitalSignature";
  std::string extended_key_usage = "serverAuth,clientAuth";
  std::string name_constraints;
  std::string key_identifier = "hash", authority_identifier = "keyid:always";
  std::vector<std::pair<std::string, std::string>> others;  ///< OID, value as in openssl.cnf
  std::vector<std::pair<int, std::string>> raw;             ///< NID, DER of the extension's value
  int64_t not_before = -kHour, not_after = kHour;           ///< seconds from kNow
  std::string key = "P-256";
  const EVP_MD* hash = EVP_sha256();
  bool pss = false;                   ///< RSASSA-PSS where the issuer has an RSA key
  const EVP_MD* mgf1_hash = nullptr;  ///< PSS: another than `hash`
};

/// A CA's, for `Certificate` to begin with.
Certificate authority(const std::string& subject);

/// A certificate with its key.
struct Issued {
  X509Ptr certificate;
  EvpPkeyPtr key;
};
/// Issued by `issuer`, or self-signed where that is null.
Issued issue(const Certificate& what, const Issued* issuer = nullptr);

/// A CRL of the issuer's: the serials of `revoked`; times in seconds from kNow. `next` 0: none.
X509CrlPtr revoke(const Issued& issuer, const std::vector<const X509*>& revoked, int64_t last = -kHour,
                  int64_t next = kHour, const EVP_MD* hash = EVP_sha256());

/// Another reference to each.
std::vector<X509Ptr> shared(const std::vector<X509*>& certificates);
X509CrlPtr share_crl(X509_CRL* crl);

/// A bundle of these CAs and CRLs under a trust domain's name.
TrustStore trusting(const std::string& domain, const std::vector<X509*>& authorities,
                    const std::vector<X509_CRL*>& crls = {});

std::string to_pem(X509* certificate);
std::string to_pem(X509_CRL* crl);
std::string to_pem(EVP_PKEY* key);  ///< PKCS#8

}  // namespace bulkhead::test
