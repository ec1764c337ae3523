// Identities and trust as files:
//
//     DIR/bundles/TRUST_DOMAIN.pem   the domain's CA certificates
//     DIR/crls/TRUST_DOMAIN.pem      their CRLs; optional
//     DIR/svids/NAME.pem             an identity: the leaf, then the CAs above it
//     DIR/svids/NAME.key             its private key, PKCS#8
//
// Names that begin with a dot are passed over.
#pragma once

#include <string>
#include <vector>

#include "svid/identity.h"
#include "svid/trust_store.h"

namespace bulkhead {

inline constexpr size_t kMaxBundleFileBytes = 1 << 20;
inline constexpr size_t kMaxCrlFileBytes = 16 << 20;
inline constexpr size_t kMaxSvidFileBytes = 256 << 10;
inline constexpr size_t kMaxKeyFileBytes = 16 << 10;

struct NamedIdentity {
  std::string name;
  SvidIdentity identity;
};

/// What is right of a directory, and what isn't: each error names its file and what to do.
struct TrustFiles {
  TrustStore trust;
  std::vector<Error> errors;
};
struct IdentityFiles {
  std::vector<NamedIdentity> identities;  ///< by name
  std::vector<Error> errors;
};

/// Reads DIR/bundles and DIR/crls. A domain whose bundle or CRLs can't be read whole isn't trusted at all. A
/// file that belongs to no bundle is an error too: a CRL under a wrong name would revoke nothing.
TrustFiles read_trust_files(const std::string& directory);

/// Reads DIR/svids, each identity by itself, all or nothing: both files, a leaf that peers may accept, its
/// key, which nobody else may read. A key alone is no identity, and no error. NAME.key may hold several keys:
/// the leaf's counts, so that a rotation that is cut short leaves both usable.
IdentityFiles read_identity_files(const std::string& directory);

/// The certificates of one file, the leaf first. Errors name the file.
Expected<std::vector<X509Ptr>> read_certificates(const std::string& path, size_t limit = kMaxSvidFileBytes);
/// One identity by its name.
Expected<SvidIdentity> read_identity(const std::string& directory, const std::string& name);

}  // namespace bulkhead
