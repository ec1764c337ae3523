#include "tests/unit/svid/certificates.h"

#include <stdexcept>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/check.h"

namespace bulkhead::test {
namespace {

void must(bool done) {
  if (done) return;
  ERR_print_errors_fp(stderr);
  BULKHEAD_CHECK(done);
}

void add_extension(X509* certificate, X509V3_CTX& context, int nid, const std::string& value) {
  if (value.empty()) return;
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  must(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

void add_raw(X509* certificate, ASN1_OBJECT* object, const std::string& der, bool critical) {
  ASN1_OCTET_STRING* value = ASN1_OCTET_STRING_new();
  ASN1_OCTET_STRING_set(value, reinterpret_cast<const uint8_t*>(der.data()), static_cast<int>(der.size()));
  X509_EXTENSION* extension = X509_EXTENSION_create_by_OBJ(nullptr, object, critical ? 1 : 0, value);
  must(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
  ASN1_OCTET_STRING_free(value);
}

/// Built by hand: openssl.cnf has no way to write a NUL.
void add_names(X509* certificate, const Certificate& what) {
  if (what.names.empty()) return;
  GENERAL_NAMES* names = GENERAL_NAMES_new();
  for (const auto& [type, text] : what.names) {
    GENERAL_NAME* name = GENERAL_NAME_new();
    ASN1_IA5STRING* string = ASN1_IA5STRING_new();
    ASN1_STRING_set(string, text.data(), static_cast<int>(text.size()));
    GENERAL_NAME_set0_value(name, type, string);
    sk_GENERAL_NAME_push(names, name);
  }
  must(X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1);
  GENERAL_NAMES_free(names);
}

void set_name(X509_NAME* name, const std::string& common_name) {
  must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                  reinterpret_cast<const uint8_t*>(common_name.data()),
                                  static_cast<int>(common_name.size()), -1, 0) == 1);
}

void set_time(ASN1_TIME* time, int64_t from_now) {
  must(ASN1_TIME_set(time, to_time_t(kNow, from_now)) != nullptr);
}

void sign(X509* certificate, EVP_PKEY* key, const Certificate& what) {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  EVP_PKEY_CTX* options = nullptr;
  bool hashes_itself = EVP_PKEY_is_a(key, "ED25519") == 1 || EVP_PKEY_is_a(key, "ED448") == 1;
  must(EVP_DigestSignInit(context, &options, hashes_itself ? nullptr : what.hash, nullptr, key) == 1);
  if (what.pss) {
    EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING);
    EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST);
    if (what.mgf1_hash != nullptr) EVP_PKEY_CTX_set_rsa_mgf1_md(options, what.mgf1_hash);
  }
  must(X509_sign_ctx(certificate, context) > 0);
  EVP_MD_CTX_free(context);
}

template <class T>
std::string pem_of(int (*write)(BIO*, const T*), const T* object) {
  BioPtr memory(BIO_new(BIO_s_mem()));
  must(write(memory.get(), object) == 1);
  char* text = nullptr;
  long bytes = BIO_get_mem_data(memory.get(), &text);
  return {text, static_cast<size_t>(bytes)};
}

}  // namespace

EvpPkeyPtr make_key(const std::string& kind) {
  EVP_PKEY* key = nullptr;
  if (kind.starts_with("RSA:")) {
    key = EVP_RSA_gen(static_cast<unsigned>(std::stoul(kind.substr(4))));
  } else if (kind.starts_with("ED")) {
    key = EVP_PKEY_Q_keygen(nullptr, nullptr, kind.c_str());
  } else {
    bool written_out = kind.starts_with("explicit ");
    std::string curve = written_out ? kind.substr(9) : kind;
    EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nullptr);
    must(EVP_PKEY_keygen_init(context) == 1 && EVP_PKEY_CTX_set_group_name(context, curve.c_str()) == 1);
    if (written_out) EVP_PKEY_CTX_set_ec_param_enc(context, OPENSSL_EC_EXPLICIT_CURVE);
    must(EVP_PKEY_keygen(context, &key) == 1);
    EVP_PKEY_CTX_free(context);
  }
  must(key != nullptr);
  return EvpPkeyPtr(key);
}

Certificate authority(const std::string& subject) {
  Certificate ca;
  ca.subject = subject;
  ca.names.clear();
  ca.basic_constraints = "critical,CA:TRUE";
  ca.key_usage = "critical,keyCertSign,cRLSign";
  ca.extended_key_usage.clear();
  ca.not_before = -100 * kHour, ca.not_after = 100 * kHour;
  return ca;
}

Issued issue(const Certificate& what, const Issued* issuer) {
  static int64_t serial = 1000;
  Issued issued{X509Ptr(X509_new()), make_key(what.key)};
  X509* certificate = issued.certificate.get();
  X509* above = issuer != nullptr ? issuer->certificate.get() : certificate;
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set_int64(X509_get_serialNumber(certificate), ++serial);
  if (!what.subject.empty()) set_name(X509_get_subject_name(certificate), what.subject);
  X509_set_issuer_name(certificate, X509_get_subject_name(above));
  set_time(X509_getm_notBefore(certificate), what.not_before);
  set_time(X509_getm_notAfter(certificate), what.not_after);
  X509_set_pubkey(certificate, issued.key.get());
  X509V3_CTX context;
  X509V3_set_ctx(&context, above, certificate, nullptr, nullptr, 0);
  add_extension(certificate, context, NID_basic_constraints, what.basic_constraints);
  add_extension(certificate, context, NID_key_usage, what.key_usage);
  add_extension(certificate, context, NID_ext_key_usage, what.extended_key_usage);
  add_extension(certificate, context, NID_name_constraints, what.name_constraints);
  add_extension(certificate, context, NID_subject_key_identifier, what.key_identifier);
  if (issuer != nullptr)
    add_extension(certificate, context, NID_authority_key_identifier, what.authority_identifier);
  add_names(certificate, what);
  for (const auto& [oid, value] : what.others) {
    X509_EXTENSION* extension = X509V3_EXT_nconf(nullptr, &context, oid.c_str(), value.c_str());
    must(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
  }
  for (const auto& [nid, der] : what.raw) add_raw(certificate, OBJ_nid2obj(nid), der, false);
  sign(certificate, issuer != nullptr ? issuer->key.get() : issued.key.get(), what);
  // As a peer would get it: parsed from bytes, with nothing cached.
  uint8_t* der = nullptr;
  int bytes = i2d_X509(certificate, &der);
  const uint8_t* at = der;
  issued.certificate.reset(d2i_X509(nullptr, &at, bytes));
  OPENSSL_free(der);
  must(issued.certificate != nullptr);
  return issued;
}

X509CrlPtr revoke(const Issued& issuer, const std::vector<const X509*>& revoked, int64_t last, int64_t next,
                  const EVP_MD* hash) {
  X509CrlPtr crl(X509_CRL_new());
  X509_CRL_set_version(crl.get(), X509_CRL_VERSION_2);
  X509_CRL_set_issuer_name(crl.get(), X509_get_subject_name(issuer.certificate.get()));
  ASN1_TIME* time = ASN1_TIME_new();
  set_time(time, last);
  X509_CRL_set1_lastUpdate(crl.get(), time);
  for (const X509* certificate : revoked) {
    X509_REVOKED* entry = X509_REVOKED_new();
    X509_REVOKED_set_serialNumber(entry, const_cast<ASN1_INTEGER*>(X509_get0_serialNumber(certificate)));
    X509_REVOKED_set_revocationDate(entry, time);
    must(X509_CRL_add0_revoked(crl.get(), entry) == 1);
  }
  if (next != 0) {
    set_time(time, next);
    X509_CRL_set1_nextUpdate(crl.get(), time);
  }
  ASN1_TIME_free(time);
  X509_CRL_sort(crl.get());
  must(X509_CRL_sign(crl.get(), issuer.key.get(), hash) > 0);
  uint8_t* der = nullptr;  // parsed, as in issue()
  int bytes = i2d_X509_CRL(crl.get(), &der);
  const uint8_t* at = der;
  crl.reset(d2i_X509_CRL(nullptr, &at, bytes));
  OPENSSL_free(der);
  return crl;
}

std::vector<X509Ptr> shared(const std::vector<X509*>& certificates) {
  std::vector<X509Ptr> all;
  for (X509* one : certificates) all.push_back(share(one));
  return all;
}

X509CrlPtr share_crl(X509_CRL* crl) {
  X509_CRL_up_ref(crl);
  return X509CrlPtr(crl);
}

TrustStore trusting(const std::string& domain, const std::vector<X509*>& authorities,
                    const std::vector<X509_CRL*>& crls) {
  TrustBundle bundle{shared(authorities), {}};
  for (X509_CRL* crl : crls) bundle.crls.push_back(share_crl(crl));
  TrustStore store;
  if (auto added = store.add(*parse_trust_domain(domain), std::move(bundle)); !added)
    throw std::runtime_error(added.error().message);
  return store;
}

std::string to_pem(X509* certificate) {
  return pem_of<X509>(PEM_write_bio_X509, certificate);
}
std::string to_pem(X509_CRL* crl) {
  return pem_of<X509_CRL>(PEM_write_bio_X509_CRL, crl);
}
std::string to_pem(EVP_PKEY* key) {
  return pem_of<EVP_PKEY>(
      [](BIO* to, const EVP_PKEY* what) {
        return PEM_write_bio_PKCS8PrivateKey(to, what, nullptr, nullptr, 0, nullptr, nullptr);
      },
      key);
}

}  // namespace bulkhead::test
