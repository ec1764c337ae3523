// Whom to trust: the CAs of each trust domain, and what they have revoked.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "svid/openssl.h"
#include "svid/spiffe_id.h"

namespace bulkhead {

/// The CAs of one trust domain. Where there is a CRL of an issuer it is honoured, and none that is out of
/// date or wrong passes for an empty one.
struct TrustBundle {
  std::vector<X509Ptr> authorities;  ///< each is trusted by itself, whoever may have signed it
  std::vector<X509CrlPtr> crls;      ///< of these CAs, or of CAs below them
};

/// Why the CRL can't be honoured, whoever signed it, as the end of a sentence; null: it can.
const char* flaw_of(const X509_CRL* crl);

/// Bundles by trust domain, own and federated ones alike: a domain's CAs vouch for its own IDs and no
/// others. Filled once, then shared as `std::shared_ptr<const TrustStore>` and replaced as a whole.
/// Thread: any number may read it.
class TrustStore {
 public:
  /// Errors: kInvalid, and the domain stays unknown: no CA; one that peers may not be verified with (no CA,
  /// no keyCertSign, a weak key); a CRL with a weak signature, or without an end (RFC 5280 §5.1.2.5).
  /// kExists: the domain has a bundle.
  Expected<> add(const TrustDomain& domain, TrustBundle bundle);

  size_t size() const { return domains_.size(); }
  bool knows(const TrustDomain& domain) const { return domains_.contains(domain); }
  /// Null: there is none.
  const TrustBundle* bundle(const TrustDomain& domain) const;
  /// All of them, by name.
  std::vector<std::pair<TrustDomain, const TrustBundle*>> bundles() const;

 private:
  friend struct TrustPath;
  struct Domain {
    TrustBundle bundle;
    X509StorePtr store;
  };
  std::map<TrustDomain, Domain> domains_;
};

}  // namespace bulkhead
