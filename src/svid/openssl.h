// OpenSSL's objects as values that free themselves, and its error queue as an Error.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/error.h"

namespace bulkhead {

template <auto kFree>
struct Freed {
  template <class T>
  void operator()(T* object) const noexcept {
    kFree(object);
  }
};
inline void free_certificates(STACK_OF(X509) * all) {
  sk_X509_pop_free(all, X509_free);
}

using X509Ptr = std::unique_ptr<X509, Freed<X509_free>>;
using X509CrlPtr = std::unique_ptr<X509_CRL, Freed<X509_CRL_free>>;
using X509StorePtr = std::unique_ptr<X509_STORE, Freed<X509_STORE_free>>;
using X509StoreCtxPtr = std::unique_ptr<X509_STORE_CTX, Freed<X509_STORE_CTX_free>>;
using X509Stack = std::unique_ptr<STACK_OF(X509), Freed<free_certificates>>;
using EvpPkeyPtr = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using SslCtxPtr = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, Freed<SSL_free>>;
using SslSessionPtr = std::unique_ptr<SSL_SESSION, Freed<SSL_SESSION_free>>;

/// Another reference to the same certificate.
X509Ptr share(X509* certificate);
/// A stack of references to the same certificates. Throws std::bad_alloc where memory runs out.
X509Stack stack_of(const X509Ptr* begin, const X509Ptr* end);

/// "what: what the error queue says", and the queue is empty afterwards. kExhausted where memory ran out,
/// whatever `code` says.
std::unexpected<Error> fail_openssl(ErrorCode code, const std::string& what);

/// Leaves OpenSSL's error queue as it was found, whatever happens in its scope.
class ErrorMark {
 public:
  ErrorMark();
  ~ErrorMark();
  ErrorMark(const ErrorMark&) = delete;
};

/// The time as OpenSSL compares with it, moved by `by` seconds.
time_t to_time_t(WallTime time, int64_t by_seconds = 0);
/// The instant; the last that WallTime knows for later ones (RFC 5280's "never ends" is 9999). Nothing where
/// it is no time.
std::optional<WallTime> wall_time_of(const ASN1_TIME* time);

}  // namespace bulkhead
