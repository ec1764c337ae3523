#include "svid/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/printable.h"
#include "svid/der.h"

namespace bulkhead {
namespace {

/// Memory that may have held a key.
inline void cleanse(BIO* memory) {
  char* text = nullptr;
  long bytes = BIO_get_mem_data(memory, &text);
  if (bytes > 0) OPENSSL_cleanse(text, static_cast<size_t>(bytes));
  BIO_free(memory);
}
using SecretBio = std::unique_ptr<BIO, Freed<cleanse>>;

/// One block; its bytes are wiped.
struct Block {
  char* label = nullptr;
  char* header = nullptr;
  unsigned char* der = nullptr;
  long bytes = 0;

  Block() = default;
  Block(const Block&) = delete;
  ~Block() {
    OPENSSL_free(label);
    OPENSSL_free(header);
    OPENSSL_clear_free(der, static_cast<size_t>(bytes));
  }
};

/// What a block of the label holds: all of its bytes, or null.
template <class Pointer, class T>
Pointer parsed(T* (*read)(T**, const unsigned char**, long), const Block& block) {
  const unsigned char* at = block.der;
  Pointer object(read(nullptr, &at, block.bytes));
  if (object && at != block.der + block.bytes) object.reset();
  return object;
}

template <class Pointer, class T>
Expected<std::vector<Pointer>> all_in(std::string_view text, std::string_view label,
                                      T* (*read)(T**, const unsigned char**, long),
                                      const std::string& advice) {
  ErrorMark mark;
  BioPtr memory(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  if (!memory) return fail_openssl(ErrorCode::kExhausted, "PEM");
  std::vector<Pointer> found;
  auto wrong = [&](const std::string& what) {
    return fail(ErrorCode::kInvalid,
                "PEM block " + std::to_string(found.size() + 1) + " " + what + "; write " + advice);
  };
  while (true) {
    Block block;
    if (PEM_read_bio(memory.get(), &block.label, &block.header, &block.der, &block.bytes) != 1) {
      if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) return wrong("is cut or damaged");
      if (found.empty()) return fail(ErrorCode::kInvalid, "it holds no PEM block; write " + advice);
      return found;
    }
    if (block.label != label) return wrong("is " + in_quotes(printable(block.label)));
    Pointer object = parsed<Pointer>(read, block);
    if (!object) return wrong("can't be read as " + in_quotes(label));
    found.push_back(std::move(object));
  }
}

template <class Write>
std::string written(const Write& write) {
  ErrorMark mark;
  SecretBio memory(BIO_new(BIO_s_mem()));
  char* text = nullptr;
  if (!memory || write(memory.get()) != 1) return {};
  long bytes = BIO_get_mem_data(memory.get(), &text);
  return {text, static_cast<size_t>(bytes)};
}

}  // namespace

Expected<std::vector<X509Ptr>> certificates_from_pem(std::string_view text) {
  return all_in<X509Ptr>(text, PEM_STRING_X509, d2i_X509, "certificates (-----BEGIN CERTIFICATE-----) only");
}

Expected<std::vector<X509CrlPtr>> crls_from_pem(std::string_view text) {
  return all_in<X509CrlPtr>(text, PEM_STRING_X509_CRL, d2i_X509_CRL, "CRLs (-----BEGIN X509 CRL-----) only");
}

Expected<std::vector<EvpPkeyPtr>> keys_from_pem(std::string_view text) {
  return all_in<EvpPkeyPtr>(text, PEM_STRING_PKCS8INF, d2i_pkcs8,
                            "a PKCS#8 key without a passphrase (openssl pkcs8 -topk8 -nocrypt)");
}

std::string pem_of(const X509* certificate) {
  return written([&](BIO* to) { return PEM_write_bio_X509(to, certificate); });
}

std::string pem_of(const X509_CRL* crl) {
  return written([&](BIO* to) { return PEM_write_bio_X509_CRL(to, crl); });
}

std::string pem_of(const EVP_PKEY* key) {
  return written(
      [&](BIO* to) { return PEM_write_bio_PKCS8PrivateKey(to, key, nullptr, nullptr, 0, nullptr, nullptr); });
}

}  // namespace bulkhead
