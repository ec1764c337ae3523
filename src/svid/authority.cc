#include "svid/authority.h"

#include <array>

#include <openssl/rand.h>

#include "svid/certificate.h"
#include "svid/verify.h"

namespace bulkhead {
namespace {

using Asn1Time = std::unique_ptr<ASN1_TIME, Freed<ASN1_TIME_free>>;
using Asn1Integer = std::unique_ptr<ASN1_INTEGER, Freed<ASN1_INTEGER_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freed<X509_EXTENSION_free>>;

std::unexpected<Error> failed(const std::string& what) {
  return fail_openssl(ErrorCode::kSystem, what);
}

bool set_random_serial(ASN1_INTEGER* serial) {
  std::array<uint8_t, 16> bytes;
  if (RAND_bytes(bytes.data(), bytes.size()) != 1) return false;
  bytes[0] =
      static_cast<uint8_t>((bytes[0] & 0x7f) | 0x40);  // positive, and always as long (RFC 5280 §4.1.2.2)
  return ASN1_STRING_set(serial, bytes.data(), bytes.size()) == 1;
}

bool set_life(X509* certificate, WallTime now, std::chrono::seconds life) {
  return ASN1_TIME_set(X509_getm_notBefore(certificate), to_time_t(now, -kClockSkew.count())) != nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), to_time_t(now, life.count())) != nullptr;
}

bool add(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool add_name(X509_NAME* name, const char* field, const std::string& value) {
  return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                    reinterpret_cast<const uint8_t*>(value.data()),
                                    static_cast<int>(value.size()), -1, 0) == 1;
}

/// As it was written and parsed again: OpenSSL compares objects by what it keeps on parsing.
X509Ptr parsed_again(const X509Ptr& certificate) {
  uint8_t* der = nullptr;
  int bytes = i2d_X509(certificate.get(), &der);
  const uint8_t* at = der;
  X509Ptr again(bytes > 0 ? d2i_X509(nullptr, &at, bytes) : nullptr);
  OPENSSL_free(der);
  return again;
}

X509CrlPtr parsed_again(const X509CrlPtr& crl) {
  uint8_t* der = nullptr;
  int bytes = i2d_X509_CRL(crl.get(), &der);
  const uint8_t* at = der;
  X509CrlPtr again(bytes > 0 ? d2i_X509_CRL(nullptr, &at, bytes) : nullptr);
  OPENSSL_free(der);
  return again;
}

/// Two CAs of one trust domain have different names, so that a CRL is only ever taken for its own CA's.
bool name_authority(X509* certificate) {
  std::array<uint8_t, 8> random;
  X509_NAME* name = X509_get_subject_name(certificate);
  return RAND_bytes(random.data(), random.size()) == 1 && add_name(name, "O", "Bulkhead") &&
         add_name(name, "CN", "SVID authority " + to_hex(random)) &&
         X509_set_issuer_name(certificate, name) == 1;
}

X509Ptr new_certificate(EVP_PKEY* key, WallTime now, std::chrono::seconds life) {
  X509Ptr certificate(X509_new());
  bool made = certificate && X509_set_version(certificate.get(), X509_VERSION_3) == 1 &&
              set_random_serial(X509_get_serialNumber(certificate.get())) &&
              set_life(certificate.get(), now, life) && X509_set_pubkey(certificate.get(), key) == 1;
  if (!made) certificate.reset();
  return certificate;
}

/// What X509-SVID §4 and RFC 5280 §4.2 ask of a leaf. Its subject is empty, so its names are critical.
bool add_leaf_extensions(X509* leaf, X509* issuer, const SpiffeId& id) {
  return add(leaf, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
         add(leaf, issuer, NID_key_usage, "critical,digitalSignature") &&
         add(leaf, issuer, NID_ext_key_usage, "serverAuth,clientAuth") &&
         add(leaf, issuer, NID_subject_alt_name, "critical,URI:" + id.text()) &&
         add(leaf, issuer, NID_subject_key_identifier, "hash") &&
         add(leaf, issuer, NID_authority_key_identifier, "keyid:always");
}

/// The trust domain whose ID is the CA's URI.
Expected<TrustDomain> domain_of(X509* authority) {
  std::string text;
  auto* names =
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(authority, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    text.assign(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  GENERAL_NAMES_free(names);
  auto id = parse_spiffe_id(text);
  if (!id) return std::unexpected(id.error());
  return id->trust_domain();
}

bool set_update_times(X509_CRL* crl, WallTime now) {
  Asn1Time last(ASN1_TIME_set(nullptr, to_time_t(now, -kClockSkew.count())));
  Asn1Time next(ASN1_TIME_set(nullptr, to_time_t(now, kCrlLife.count())));
  return last && next && X509_CRL_set1_lastUpdate(crl, last.get()) == 1 &&
         X509_CRL_set1_nextUpdate(crl, next.get()) == 1;
}

bool add_entry(X509_CRL* crl, const ASN1_INTEGER* serial, const ASN1_TIME* since) {
  std::unique_ptr<X509_REVOKED, Freed<X509_REVOKED_free>> entry(X509_REVOKED_new());
  bool added = entry && X509_REVOKED_set_serialNumber(entry.get(), const_cast<ASN1_INTEGER*>(serial)) == 1 &&
               X509_REVOKED_set_revocationDate(entry.get(), const_cast<ASN1_TIME*>(since)) == 1 &&
               X509_CRL_add0_revoked(crl, entry.get()) == 1;
  if (added) entry.release();
  return added;
}

bool add_entries(X509_CRL* crl, X509_CRL* last, std::span<const X509Ptr> more, WallTime now) {
  const STACK_OF(X509_REVOKED)* known = last != nullptr ? X509_CRL_get_REVOKED(last) : nullptr;
  for (int i = 0; i < sk_X509_REVOKED_num(known); ++i) {
    const X509_REVOKED* entry = sk_X509_REVOKED_value(known, i);
    if (!add_entry(crl, X509_REVOKED_get0_serialNumber(entry), X509_REVOKED_get0_revocationDate(entry)))
      return false;
  }
  Asn1Time since(ASN1_TIME_set(nullptr, to_time_t(now)));
  for (const X509Ptr& certificate : more) {
    if (last != nullptr && is_revoked(last, certificate.get())) continue;
    if (!since || !add_entry(crl, X509_get0_serialNumber(certificate.get()), since.get())) return false;
  }
  return true;
}

/// RFC 5280 §5.2.3: numbers rise.
bool add_number(X509_CRL* crl, X509_CRL* last) {
  int64_t number = 0;
  if (last != nullptr) {
    Asn1Integer known(
        static_cast<ASN1_INTEGER*>(X509_CRL_get_ext_d2i(last, NID_crl_number, nullptr, nullptr)));
    if (!known || ASN1_INTEGER_get_int64(&number, known.get()) != 1) return false;
  }
  Asn1Integer next(ASN1_INTEGER_new());
  return next && ASN1_INTEGER_set_int64(next.get(), number + 1) == 1 &&
         X509_CRL_add1_ext_i2d(crl, NID_crl_number, next.get(), 0, X509V3_ADD_DEFAULT) == 1;
}

bool add_authority_identifier(X509_CRL* crl, X509* issuer) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, nullptr, nullptr, crl, 0);
  Extension extension(X509V3_EXT_conf_nid(nullptr, &context, NID_authority_key_identifier, "keyid:always"));
  return extension && X509_CRL_add_ext(crl, extension.get(), -1) == 1;
}

bool is_half_over(const ASN1_TIME* from, const ASN1_TIME* to, WallTime now) {
  auto begin = wall_time_of(from), end = wall_time_of(to);
  return !begin || !end || now.ns - begin->ns >= (end->ns - begin->ns) / 2;
}

}  // namespace

Expected<Authority> Authority::create(const TrustDomain& domain, WallTime now) {
  EvpPkeyPtr key(EVP_EC_gen("P-256"));
  X509Ptr ca = key ? new_certificate(key.get(), now, kAuthorityLife) : nullptr;
  bool made = ca && name_authority(ca.get()) &&
              add(ca.get(), ca.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
              add(ca.get(), ca.get(), NID_key_usage, "critical,keyCertSign,cRLSign") &&
              add(ca.get(), ca.get(), NID_subject_alt_name, "URI:spiffe://" + domain.name()) &&
              add(ca.get(), ca.get(), NID_subject_key_identifier, "hash") &&
              X509_sign(ca.get(), key.get(), EVP_sha256()) > 0;
  if (made) ca = parsed_again(ca);
  if (!made || !ca) return failed("the authority's certificate can't be made");
  return Authority(domain, std::move(ca), std::move(key));
}

Expected<Authority> Authority::from(X509Ptr certificate, EvpPkeyPtr key) {
  ErrorMark mark;
  if (auto fault = check_issuer(certificate.get()))
    return fail(ErrorCode::kInvalid, "this is no authority's certificate (" + std::string(name_of(*fault)) +
                                         ": " + std::string(help_of(*fault)) + ")");
  auto domain = domain_of(certificate.get());
  if (!domain) return with_context(domain.error(), "this authority is of no trust domain");
  if (!key || X509_check_private_key(certificate.get(), key.get()) != 1)
    return fail(ErrorCode::kInvalid,
                "the private key isn't this authority's; restore the two from one backup");
  return Authority(std::move(*domain), std::move(certificate), std::move(key));
}

Expected<SvidIdentity> Authority::mint(const SpiffeId& id, WallTime now, std::chrono::seconds life) const {
  if (!id.is_workload() || id.trust_domain() != domain_)
    return fail(ErrorCode::kInvalid, id.text() +
                                         " is no workload of this authority's trust domain; write spiffe://" +
                                         domain_.name() + "/PATH");
  if (life <= std::chrono::seconds{0})
    return fail(ErrorCode::kInvalid, "an SVID must live for a second at least");
  auto end = wall_time_of(X509_get0_notAfter(certificate()));
  if (!end || life.count() > (end->ns - now.ns) / 1'000'000'000)
    return fail(ErrorCode::kInvalid,
                "the SVID would outlive its authority; choose a shorter life, or make a new authority");
  EvpPkeyPtr key(EVP_EC_gen("P-256"));
  X509Ptr leaf = key ? new_certificate(key.get(), now, life) : nullptr;
  bool made = leaf && X509_set_issuer_name(leaf.get(), X509_get_subject_name(certificate())) == 1 &&
              add_leaf_extensions(leaf.get(), certificate(), id) &&
              X509_sign(leaf.get(), key_.get(), EVP_sha256()) > 0;
  if (made) leaf = parsed_again(leaf);
  if (!made || !leaf) return failed("an SVID can't be made");
  std::vector<X509Ptr> chain;
  chain.push_back(std::move(leaf));
  return make_identity(std::move(chain), std::move(key));
}

Expected<X509CrlPtr> Authority::revoke(X509_CRL* last, std::span<const X509Ptr> more, WallTime now) const {
  X509CrlPtr crl(X509_CRL_new());
  bool made = crl && X509_CRL_set_version(crl.get(), X509_CRL_VERSION_2) == 1 &&
              X509_CRL_set_issuer_name(crl.get(), X509_get_subject_name(certificate())) == 1 &&
              set_update_times(crl.get(), now) && add_entries(crl.get(), last, more, now) &&
              add_number(crl.get(), last) && add_authority_identifier(crl.get(), certificate()) &&
              X509_CRL_sort(crl.get()) == 1 && X509_CRL_sign(crl.get(), key_.get(), EVP_sha256()) > 0;
  if (made) crl = parsed_again(crl);
  if (!made || !crl) return failed("the CRL can't be made");
  return crl;
}

bool Authority::has_issued(X509* certificate) const {
  ErrorMark mark;
  return X509_NAME_cmp(X509_get_issuer_name(certificate), X509_get_subject_name(certificate_.get())) == 0 &&
         X509_verify(certificate, key_.get()) == 1;
}

bool Authority::has_issued(X509_CRL* crl) const {
  ErrorMark mark;
  return X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(certificate_.get())) == 0 &&
         X509_CRL_verify(crl, key_.get()) == 1;
}

bool is_half_over(X509* certificate, WallTime now) {
  return is_half_over(X509_get0_notBefore(certificate), X509_get0_notAfter(certificate), now);
}

bool is_half_over(X509_CRL* crl, WallTime now) {
  return is_half_over(X509_CRL_get0_lastUpdate(crl), X509_CRL_get0_nextUpdate(crl), now);
}

bool is_revoked(X509_CRL* crl, X509* certificate) {
  X509_REVOKED* entry = nullptr;
  return X509_CRL_get0_by_serial(crl, &entry, X509_get_serialNumber(certificate)) == 1;
}

}  // namespace bulkhead
