// OpenSSL's objects as DER, for tests.
#pragma once

#include <string>

#include "svid/openssl.h"

namespace bulkhead::test {

template <class T>
std::string encoded(int (*encode)(T*, unsigned char**), std::remove_const_t<T>* object) {
  std::string der(static_cast<size_t>(encode(object, nullptr)), '\0');
  auto* to = reinterpret_cast<unsigned char*>(der.data());
  encode(object, &to);
  return der;
}

inline std::string der_of(X509* certificate) {
  return encoded<const X509>(i2d_X509, certificate);
}
inline std::string der_of(X509_CRL* crl) {
  return encoded<const X509_CRL>(i2d_X509_CRL, crl);
}
/// PKCS#8.
inline std::string der_of(EVP_PKEY* key) {
  std::unique_ptr<PKCS8_PRIV_KEY_INFO, Freed<PKCS8_PRIV_KEY_INFO_free>> info(EVP_PKEY2PKCS8(key));
  return encoded<const PKCS8_PRIV_KEY_INFO>(i2d_PKCS8_PRIV_KEY_INFO, info.get());
}

}  // namespace bulkhead::test
