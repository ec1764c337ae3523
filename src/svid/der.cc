#include "svid/der.h"

namespace bulkhead {
namespace {

const unsigned char* bytes_of(std::string_view der) {
  return reinterpret_cast<const unsigned char*>(der.data());
}

/// All of the bytes as one object.
template <class Pointer, class T>
Expected<Pointer> whole(std::string_view der, T* (*read)(T**, const unsigned char**, long),
                        const char* wanted) {
  ErrorMark mark;
  const unsigned char* at = bytes_of(der);
  Pointer object(read(nullptr, &at, static_cast<long>(der.size())));
  if (!object || at != bytes_of(der) + der.size())
    return fail(ErrorCode::kInvalid, "can't be read as DER of " + std::string(wanted));
  return object;
}

}  // namespace

Expected<std::vector<X509Ptr>> certificates_from_der(std::string_view der) {
  ErrorMark mark;
  std::vector<X509Ptr> found;
  if (der.empty()) return fail(ErrorCode::kInvalid, "holds no certificate");
  const unsigned char* end = bytes_of(der) + der.size();
  for (const unsigned char* at = bytes_of(der); at != end;) {
    X509Ptr one(d2i_X509(nullptr, &at, end - at));
    if (!one)
      return fail(ErrorCode::kInvalid,
                  "certificate " + std::to_string(found.size() + 1) + " can't be read as DER");
    found.push_back(std::move(one));
  }
  return found;
}

Expected<X509CrlPtr> crl_from_der(std::string_view der) {
  return whole<X509CrlPtr>(der, d2i_X509_CRL, "a CRL");
}

Expected<EvpPkeyPtr> key_from_der(std::string_view der) {
  return whole<EvpPkeyPtr>(der, d2i_pkcs8, "a PKCS#8 key without a passphrase");
}

EVP_PKEY* d2i_pkcs8(EVP_PKEY**, const unsigned char** at, long bytes) {
  std::unique_ptr<PKCS8_PRIV_KEY_INFO, Freed<PKCS8_PRIV_KEY_INFO_free>> info(
      d2i_PKCS8_PRIV_KEY_INFO(nullptr, at, bytes));
  return info ? EVP_PKCS82PKEY(info.get()) : nullptr;
}

}  // namespace bulkhead
