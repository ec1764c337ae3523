// What stands in certificates and CRLs, for people to read. Text may hold anything: print it printable().
#pragma once

#include <string>

#include "svid/openssl.h"

namespace bulkhead {

struct CertificateFacts {
  std::string subject, issuer;  ///< RFC 2253
  std::string uri;              ///< the first URI among its names; empty: none
  std::string serial;
  WallTime not_before, not_after;
  std::string key;  ///< "EC 256", "RSA 2048", ...
  bool is_ca = false;
  std::string sha256;
};
CertificateFacts describe(X509* certificate);

struct CrlFacts {
  std::string issuer;
  WallTime last_update, next_update;
  size_t revoked = 0;
};
CrlFacts describe(X509_CRL* crl);

}  // namespace bulkhead
