// PEM (RFC 7468) to OpenSSL's objects and back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "svid/openssl.h"

namespace bulkhead {

/// What the blocks of a text hold, in their order; text around them is a comment.
/// Errors: kInvalid: there is none, or one can't be read, is cut, or is of another kind; it is counted
/// from 1.
Expected<std::vector<X509Ptr>> certificates_from_pem(std::string_view text);
Expected<std::vector<X509CrlPtr>> crls_from_pem(std::string_view text);
/// PKCS#8 without a passphrase ("PRIVATE KEY").
Expected<std::vector<EvpPkeyPtr>> keys_from_pem(std::string_view text);

/// Empty where memory runs out.
std::string pem_of(const X509* certificate);
std::string pem_of(const X509_CRL* crl);
std::string pem_of(const EVP_PKEY* key);  ///< PKCS#8

}  // namespace bulkhead
