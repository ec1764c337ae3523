#include "svid/describe.h"

#include <algorithm>

#include "svid/verify.h"

namespace bulkhead {
namespace {

std::string text_of(const X509_NAME* name) {
  BioPtr memory(BIO_new(BIO_s_mem()));
  if (!memory || X509_NAME_print_ex(memory.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0)
    return {};
  char* text = nullptr;
  long bytes = BIO_get_mem_data(memory.get(), &text);
  return {text, static_cast<size_t>(bytes)};
}

std::string uri_of(X509* certificate) {
  std::string uri;
  auto* names =
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; uri.empty() && i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* text = name->d.uniformResourceIdentifier;
    uri.assign(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
               static_cast<size_t>(ASN1_STRING_length(text)));
  }
  GENERAL_NAMES_free(names);
  return uri;
}

std::string key_of(X509* certificate) {
  const EVP_PKEY* key = X509_get0_pubkey(certificate);
  if (key == nullptr) return "unknown";
  const char* name = EVP_PKEY_get0_type_name(key);
  return std::string(name != nullptr ? name : "unknown") + " " + std::to_string(EVP_PKEY_get_bits(key));
}

}  // namespace

CertificateFacts describe(X509* certificate) {
  ErrorMark mark;
  return {text_of(X509_get_subject_name(certificate)),
          text_of(X509_get_issuer_name(certificate)),
          uri_of(certificate),
          serial_of(certificate),
          wall_time_of(X509_get0_notBefore(certificate)).value_or(WallTime{}),
          wall_time_of(X509_get0_notAfter(certificate)).value_or(WallTime{}),
          key_of(certificate),
          X509_check_ca(certificate) == 1,
          to_hex(fingerprint_of(certificate))};
}

CrlFacts describe(X509_CRL* crl) {
  ErrorMark mark;
  return {text_of(X509_CRL_get_issuer(crl)), wall_time_of(X509_CRL_get0_lastUpdate(crl)).value_or(WallTime{}),
          wall_time_of(X509_CRL_get0_nextUpdate(crl)).value_or(WallTime{}),
          static_cast<size_t>(std::max(0, sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl))))};
}

}  // namespace bulkhead
