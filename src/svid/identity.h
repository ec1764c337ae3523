// What proves an identity to others: an X.509-SVID and its private key.
#pragma once

#include <vector>

#include "svid/openssl.h"
#include "svid/spiffe_id.h"

namespace bulkhead {

struct SvidIdentity {
  SpiffeId id;
  std::vector<X509Ptr> chain;  ///< the leaf, then the CAs above it
  EvpPkeyPtr key;

  X509* leaf() const { return chain.front().get(); }
};

/// Puts one together.
/// Errors: kInvalid where peers would refuse the leaf whoever they trust (the fault is named), the chain is
/// longer than kMaxChainCertificates or kMaxChainBytes, or the key isn't the leaf's.
/// Whether anybody trusts its CAs isn't asked, nor whether it has expired.
Expected<SvidIdentity> make_identity(std::vector<X509Ptr> chain, EvpPkeyPtr key);

}  // namespace bulkhead
