#include "svid/trust_store.h"

#include "svid/certificate.h"

namespace bulkhead {
namespace {

std::unexpected<Error> invalid(const TrustDomain& domain, const std::string& why) {
  return fail(ErrorCode::kInvalid, "the bundle of trust domain " + domain.name() + " " + why);
}

Expected<> check(const TrustDomain& domain, const TrustBundle& bundle) {
  if (bundle.authorities.empty()) return invalid(domain, "holds no CA certificate; add its CAs");
  for (const X509Ptr& authority : bundle.authorities) {
    auto fault = check_issuer(authority.get());
    if (!fault) fault = check_key(authority.get());
    if (fault)
      return invalid(domain, "holds a certificate that can't vouch for others (" +
                                 std::string(name_of(*fault)) + ": " + std::string(help_of(*fault)) +
                                 "); remove it");
  }
  for (const X509CrlPtr& crl : bundle.crls)
    if (const char* flaw = flaw_of(crl.get())) return invalid(domain, std::string("has a CRL ") + flaw);
  return {};
}

}  // namespace

const char* flaw_of(const X509_CRL* crl) {
  if (X509_CRL_get0_nextUpdate(crl) == nullptr)
    return "that doesn't say when the next one comes, and so would never be out of date; have its CA write "
           "one with a next update";
  if (!is_sha2_signature(X509_CRL_get_signature_nid(crl)))
    return "whose signature is weak; have its CA sign it with SHA-256";
  return nullptr;
}

Expected<> TrustStore::add(const TrustDomain& domain, TrustBundle bundle) {
  ErrorMark mark;
  if (auto right = check(domain, bundle); !right) return right;
  if (knows(domain))
    return fail(ErrorCode::kExists, "trust domain " + domain.name() + " has a bundle already");
  X509StorePtr store(X509_STORE_new());
  bool filled = store != nullptr;
  for (const X509Ptr& authority : bundle.authorities)
    filled = filled && X509_STORE_add_cert(store.get(), authority.get()) == 1;
  for (const X509CrlPtr& crl : bundle.crls)
    filled = filled && X509_STORE_add_crl(store.get(), crl.get()) == 1;
  if (!filled) return fail_openssl(ErrorCode::kExhausted, "the bundle of trust domain " + domain.name());
  domains_.emplace(domain, Domain{std::move(bundle), std::move(store)});
  return {};
}

std::vector<std::pair<TrustDomain, const TrustBundle*>> TrustStore::bundles() const {
  std::vector<std::pair<TrustDomain, const TrustBundle*>> all;
  for (const auto& [domain, held] : domains_) all.emplace_back(domain, &held.bundle);
  return all;
}

const TrustBundle* TrustStore::bundle(const TrustDomain& domain) const {
  auto found = domains_.find(domain);
  return found == domains_.end() ? nullptr : &found->second.bundle;
}

}  // namespace bulkhead
