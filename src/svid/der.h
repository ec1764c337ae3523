// DER (X.690) to OpenSSL's objects.
#pragma once

#include <string_view>
#include <vector>

#include "svid/openssl.h"

namespace bulkhead {

/// Certificates one after the other, in their order. Errors: kInvalid: there is none, or one can't be read;
/// it is counted from 1.
Expected<std::vector<X509Ptr>> certificates_from_der(std::string_view der);
/// One CRL. Errors: kInvalid: it can't be read, or isn't all.
Expected<X509CrlPtr> crl_from_der(std::string_view der);
/// A PKCS#8 key that isn't encrypted. Errors: as crl_from_der.
Expected<EvpPkeyPtr> key_from_der(std::string_view der);

/// As OpenSSL's d2i functions: PKCS#8 alone, where d2i_AutoPrivateKey would take other formats too.
EVP_PKEY* d2i_pkcs8(EVP_PKEY**, const unsigned char** at, long bytes);

}  // namespace bulkhead
