#include "svid/certificate.h"

#include <string_view>

#include <openssl/obj_mac.h>

namespace bulkhead {
namespace {

inline void free_eku(EXTENDED_KEY_USAGE* usage) {
  sk_ASN1_OBJECT_pop_free(usage, ASN1_OBJECT_free);
}
inline void free_names(GENERAL_NAMES* names) {
  GENERAL_NAMES_free(names);
}

using BasicConstraints = std::unique_ptr<BASIC_CONSTRAINTS, Freed<BASIC_CONSTRAINTS_free>>;
using BitString = std::unique_ptr<ASN1_BIT_STRING, Freed<ASN1_BIT_STRING_free>>;
using ExtendedKeyUsage = std::unique_ptr<EXTENDED_KEY_USAGE, Freed<free_eku>>;
using GeneralNames = std::unique_ptr<GENERAL_NAMES, Freed<free_names>>;

/// An extension as it stands in the certificate. `malformed`: unreadable, or there twice.
template <class Pointer>
struct Extension {
  Pointer value;
  bool critical = false;
  bool malformed = false;
};

template <class Pointer>
Extension<Pointer> extension_of(X509* certificate, int nid) {
  int critical = -1;
  Pointer value(
      static_cast<typename Pointer::pointer>(X509_get_ext_d2i(certificate, nid, &critical, nullptr)));
  bool absent = critical == -1, malformed = !absent && value == nullptr;
  return {std::move(value), critical == 1, malformed};
}

std::string_view text_of(const ASN1_STRING* string) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
          static_cast<size_t>(ASN1_STRING_length(string))};
}

/// The one URI among the names.
std::expected<std::string_view, SvidFault> uri_of(const GENERAL_NAMES* names) {
  const ASN1_STRING* uri = nullptr;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI && name->type != GEN_DNS && name->type != GEN_EMAIL) continue;
    if (text_of(name->d.ia5).find('\0') != std::string_view::npos)
      return std::unexpected(SvidFault::k_san_with_nul);
    if (name->type != GEN_URI) continue;
    if (uri != nullptr) return std::unexpected(SvidFault::k_uri_san_repeated);
    uri = name->d.uniformResourceIdentifier;
  }
  if (uri == nullptr) return std::unexpected(SvidFault::k_uri_san_missing);
  return text_of(uri);
}

std::expected<SpiffeId, SvidFault> id_of(X509* leaf) {
  auto names = extension_of<GeneralNames>(leaf, NID_subject_alt_name);
  if (names.malformed) return std::unexpected(SvidFault::k_certificate_malformed);
  if (!names.value) return std::unexpected(SvidFault::k_uri_san_missing);
  auto uri = uri_of(names.value.get());
  if (!uri) return std::unexpected(uri.error());
  auto id = parse_spiffe_id(*uri);
  if (!id) return std::unexpected(SvidFault::k_spiffe_id_invalid);
  if (!id->is_workload()) return std::unexpected(SvidFault::k_spiffe_id_without_path);
  return std::move(*id);
}

constexpr int kDigitalSignature = 0, kKeyCertSign = 5, kCrlSign = 6;  // bits of RFC 5280 §4.2.1.3

std::optional<SvidFault> check_leaf_usage(X509* leaf) {
  auto usage = extension_of<BitString>(leaf, NID_key_usage);
  if (usage.malformed) return SvidFault::k_certificate_malformed;
  if (!usage.value) return SvidFault::k_key_usage_missing;
  if (!usage.critical) return SvidFault::k_key_usage_not_critical;
  auto has = [&](int bit) { return ASN1_BIT_STRING_get_bit(usage.value.get(), bit) != 0; };
  if (has(kKeyCertSign) || has(kCrlSign)) return SvidFault::k_key_usage_signs;
  if (!has(kDigitalSignature)) return SvidFault::k_key_usage_no_signature;
  return std::nullopt;
}

std::optional<SvidFault> check_tls_usage(X509* certificate) {
  auto usage = extension_of<ExtendedKeyUsage>(certificate, NID_ext_key_usage);
  if (usage.malformed) return SvidFault::k_certificate_malformed;
  if (!usage.value) return std::nullopt;
  bool server = false, client = false;
  for (int i = 0; i < sk_ASN1_OBJECT_num(usage.value.get()); ++i) {
    int nid = OBJ_obj2nid(sk_ASN1_OBJECT_value(usage.value.get(), i));
    server = server || nid == NID_server_auth;
    client = client || nid == NID_client_auth;
  }
  if (!server || !client) return SvidFault::k_extended_key_usage;
  return std::nullopt;
}

/// What OpenSSL itself finds wrong on reading the extensions.
bool is_malformed(X509* certificate) {
  return (X509_get_extension_flags(certificate) & EXFLAG_INVALID) != 0;
}

bool is_named_curve(const X509_ALGOR* algorithm) {
  int type = 0;
  const void* value = nullptr;
  X509_ALGOR_get0(nullptr, &type, &value, algorithm);
  if (type != V_ASN1_OBJECT) return false;
  int curve = OBJ_obj2nid(static_cast<const ASN1_OBJECT*>(value));
  return curve == NID_X9_62_prime256v1 || curve == NID_secp384r1 || curve == NID_secp521r1;
}

bool is_sha2(int hash) {
  return hash == NID_sha256 || hash == NID_sha384 || hash == NID_sha512;
}

}  // namespace

std::optional<SvidFault> check_key(X509* certificate) {
  ASN1_OBJECT* name = nullptr;
  X509_ALGOR* algorithm = nullptr;
  X509_PUBKEY_get0_param(&name, nullptr, nullptr, &algorithm, X509_get_X509_PUBKEY(certificate));
  const EVP_PKEY* key = X509_get0_pubkey(certificate);
  bool right = false;
  if (key != nullptr) switch (OBJ_obj2nid(name)) {
      case NID_rsaEncryption:
        right = EVP_PKEY_get_bits(key) >= 2048;
        break;
      case NID_X9_62_id_ecPublicKey:
        right = is_named_curve(algorithm);
        break;
      case NID_ED25519:
        right = true;
        break;
      default:
        break;
    }
  if (!right) return SvidFault::k_key_weak;
  return std::nullopt;
}

bool is_sha2_signature(int signature) {
  int hash = NID_undef, key = NID_undef;
  if (signature == NID_ED25519) return true;
  return OBJ_find_sigid_algs(signature, &hash, &key) == 1 && is_sha2(hash) &&
         (key == NID_rsaEncryption || key == NID_X9_62_id_ecPublicKey);
}

std::optional<SvidFault> check_signature_algorithm(X509* certificate) {
  int signature = X509_get_signature_nid(certificate);
  if (is_sha2_signature(signature)) return std::nullopt;
  // RSASSA-PSS names its hashes in its parameters; the flag says that both are the same (RFC 8446 §4.2.3).
  int hash = NID_undef;
  uint32_t flags = 0;
  if (signature == NID_rsassaPss &&
      X509_get_signature_info(certificate, &hash, nullptr, nullptr, &flags) == 1 && is_sha2(hash) &&
      (flags & X509_SIG_INFO_TLS) != 0)
    return std::nullopt;
  return SvidFault::k_signature_weak;
}

std::expected<SpiffeId, SvidFault> check_leaf(X509* leaf) {
  if (is_malformed(leaf)) return std::unexpected(SvidFault::k_certificate_malformed);
  auto id = id_of(leaf);
  if (!id) return id;
  auto constraints = extension_of<BasicConstraints>(leaf, NID_basic_constraints);
  if (constraints.malformed) return std::unexpected(SvidFault::k_certificate_malformed);
  if (constraints.value && constraints.value->ca != 0) return std::unexpected(SvidFault::k_leaf_is_ca);
  for (auto check : {check_leaf_usage, check_tls_usage, check_key, check_signature_algorithm})
    if (auto fault = check(leaf)) return std::unexpected(*fault);
  return id;
}

std::optional<SvidFault> check_issuer(X509* issuer) {
  if (is_malformed(issuer)) return SvidFault::k_certificate_malformed;
  auto constraints = extension_of<BasicConstraints>(issuer, NID_basic_constraints);
  auto usage = extension_of<BitString>(issuer, NID_key_usage);
  if (constraints.malformed || usage.malformed) return SvidFault::k_certificate_malformed;
  if (!constraints.value || constraints.value->ca == 0 || !usage.value ||
      ASN1_BIT_STRING_get_bit(usage.value.get(), kKeyCertSign) == 0)
    return SvidFault::k_issuer_not_ca;
  return check_tls_usage(issuer);
}

}  // namespace bulkhead
