#include "dataplane/relay/svid_response.h"

#include <algorithm>

#include "base/printable.h"
#include "svid/der.h"
#include "svid/file.h"
#include "workload_api.pb.h"

namespace bulkhead {

namespace {

/// A trust domain's bundle as the agent sent it.
struct SentBundle {
  std::string der;
  bool is_own = false;  ///< of one of the SVIDs
};
using SentBundles = std::map<TrustDomain, SentBundle>;

std::unexpected<Error> wrong(const std::string& what) {
  return fail(ErrorCode::kInvalid, what);
}

/// Keys are wiped before the memory goes back.
class Message {
 public:
  bool parse(std::string_view bytes) {
    return bytes.size() <= INT32_MAX && sent_.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  }
  ~Message() {
    for (X509SVID& svid : *sent_.mutable_svids()) wipe(*svid.mutable_x509_svid_key());
  }
  const X509SVIDResponse& operator*() const { return sent_; }
  const X509SVIDResponse* operator->() const { return &sent_; }

 private:
  X509SVIDResponse sent_;
};

Expected<SvidIdentity> read_identity(const X509SVID& sent) {
  auto id = parse_workload_id(sent.spiffe_id());
  if (!id) return with_context(id.error(), "spiffe_id");
  auto chain = certificates_from_der(sent.x509_svid());
  if (!chain) return with_context(chain.error(), "x509_svid");
  auto key = key_from_der(sent.x509_svid_key());
  if (!key) return with_context(key.error(), "x509_svid_key");
  auto identity = make_identity(std::move(*chain), std::move(*key));
  if (!identity) return with_context(identity.error(), "x509_svid");
  if (identity->id != *id) return wrong("x509_svid: its certificate is of " + identity->id.text());
  return identity;
}

/// Of all that the identity is read from.
std::array<uint8_t, 32> digest_of(const X509SVID& sent) {
  std::array<uint8_t, 32> digest{};
  std::unique_ptr<EVP_MD_CTX, Freed<EVP_MD_CTX_free>> context(EVP_MD_CTX_new());
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  for (const std::string* part : {&sent.spiffe_id(), &sent.x509_svid(), &sent.x509_svid_key()}) {
    uint64_t bytes = part->size();
    EVP_DigestUpdate(context.get(), &bytes, sizeof bytes);
    EVP_DigestUpdate(context.get(), part->data(), part->size());
  }
  EVP_DigestFinal_ex(context.get(), digest.data(), nullptr);
  return digest;
}

/// Puts it into `read`. Output: it, there.
Expected<std::shared_ptr<const SvidIdentity>> identity_of(const X509SVID& sent, const KnownSvids& known,
                                                          KnownSvids& read) {
  auto digest = digest_of(sent);
  if (auto at = known.find(digest); at != known.end()) return read[digest] = at->second;
  auto identity = read_identity(sent);
  if (!identity) return std::unexpected(identity.error());
  return read[digest] = std::make_shared<const SvidIdentity>(std::move(*identity));
}

/// Takes an SVID's bundle for later.
Expected<> take_bundle(const X509SVID& sent, const TrustDomain& domain, SentBundles& bundles) {
  auto [at, is_new] = bundles.try_emplace(domain, SentBundle{sent.bundle(), true});
  if (is_new || at->second.der == sent.bundle()) return {};
  return wrong("bundle: it is another one than the one before it of " + domain.name());
}

/// Takes all SVIDs into the set.
Expected<> take_svids(const X509SVIDResponse& sent, const KnownSvids& known, KnownSvids& read, SvidSet& set,
                      SentBundles& bundles) {
  if (sent.svids_size() == 0) return wrong("it holds no SVID");
  auto take = [&](const X509SVID& one) -> Expected<> {
    auto identity = identity_of(one, known, read);
    if (!identity) return std::unexpected(identity.error());
    add_own(set, *identity);
    return take_bundle(one, (*identity)->id.trust_domain(), bundles);
  };
  for (int i = 0; i < sent.svids_size(); ++i)
    if (auto taken = take(sent.svids(i)); !taken)
      return with_context(taken.error(), "SVID " + std::to_string(i + 1) + " of " +
                                             std::to_string(sent.svids_size()) + " (" +
                                             in_quotes(sent.svids(i).spiffe_id()) + ")");
  return {};
}

/// An own trust domain's bundle came with its SVIDs; what is said of it again counts for nothing.
void take_foreign(const X509SVIDResponse& sent, SentBundles& bundles, std::vector<Error>& left_out) {
  constexpr std::string_view kScheme = "spiffe://";
  for (const auto& [name, der] : sent.federated_bundles()) {
    auto id = parse_spiffe_id(name.starts_with(kScheme) ? name : std::string(kScheme) + name);
    if (id && !id->is_workload())
      bundles.try_emplace(id->trust_domain(), SentBundle{der});
    else
      left_out.push_back({ErrorCode::kInvalid, "federated_bundles: " + in_quotes(name) +
                                                   (id ? " is a workload's ID, not a trust domain's"
                                                       : ": " + id.error().message)});
  }
}

Expected<std::vector<X509CrlPtr>> read_crls(const X509SVIDResponse& sent) {
  std::vector<X509CrlPtr> crls;
  for (const std::string& der : sent.crl()) {
    auto crl = crl_from_der(der);
    if (!crl) return with_context(crl.error(), "crl " + std::to_string(crls.size() + 1));
    crls.push_back(std::move(*crl));
  }
  return crls;
}

bool is_signed_by(X509_CRL* crl, X509* authority) {
  ErrorMark mark;
  if (X509_NAME_cmp(X509_get_subject_name(authority), X509_CRL_get_issuer(crl)) != 0) return false;
  EVP_PKEY* key = X509_get0_pubkey(authority);
  return key != nullptr && X509_CRL_verify(crl, key) == 1;
}

/// Whether who has its key made it. Anybody can issue a certificate for another's key.
bool is_self_signed(X509* authority) {
  ErrorMark mark;
  EVP_PKEY* key = X509_get0_pubkey(authority);
  return key != nullptr && X509_verify(authority, key) == 1;
}

X509CrlPtr share(X509_CRL* crl) {
  X509_CRL_up_ref(crl);
  return X509CrlPtr(crl);
}

using Bundles = std::map<TrustDomain, TrustBundle>;

/// The CAs of the own domains, so far as they are known: of the bundles, and those below them in SVIDs.
std::vector<X509*> own_authorities(const SvidSet& set, const SentBundles& sent, const Bundles& bundles) {
  std::vector<X509*> own;
  for (const auto& [domain, bundle] : bundles)
    if (sent.at(domain).is_own)
      for (const X509Ptr& authority : bundle.authorities) own.push_back(authority.get());
  for (const auto& [id, identity] : set.own)
    for (size_t i = 1; i < identity->chain.size(); ++i) own.push_back(identity->chain[i].get());
  return own;
}

/// Gives the CRL to the foreign domains that have a CA that signed it. Output: whether it is surely theirs.
bool give_to_foreign(X509_CRL* crl, const SentBundles& sent, Bundles& bundles) {
  bool is_theirs = false;
  for (auto& [domain, bundle] : bundles) {
    if (sent.at(domain).is_own) continue;
    bool is_signed = false;
    for (const X509Ptr& authority : bundle.authorities) {
      if (!is_signed_by(crl, authority.get())) continue;
      is_signed = true;
      is_theirs = is_theirs || is_self_signed(authority.get());
    }
    if (is_signed) bundle.crls.push_back(share(crl));
  }
  return is_theirs;
}

/// Gives each CRL to whom it may bind. A foreign bundle may hold anybody's CA, so that what an own one signed
/// stays with the own domains, as does what nobody is known to have signed.
void spread(const std::vector<X509CrlPtr>& crls, const SentBundles& sent, const std::vector<X509*>& own,
            Bundles& bundles, std::vector<Error>& left_out) {
  for (size_t i = 0; i < crls.size(); ++i) {
    X509_CRL* crl = crls[i].get();
    bool is_theirs = give_to_foreign(crl, sent, bundles);
    bool is_own = std::ranges::any_of(own, [&](X509* authority) { return is_signed_by(crl, authority); });
    if (is_theirs && !is_own) continue;
    if (const char* flaw = flaw_of(crl); flaw != nullptr && !is_own) {
      left_out.push_back(
          {ErrorCode::kInvalid,
           "crl " + std::to_string(i + 1) + ", which no CA of the own trust domains signed, is one " + flaw});
      continue;
    }
    for (auto& [domain, bundle] : bundles)
      if (sent.at(domain).is_own) bundle.crls.push_back(share(crl));
  }
}

/// Errors: an own trust domain's.
Expected<> fill(TrustStore& trust, const SvidSet& set, const SentBundles& sent,
                const std::vector<X509CrlPtr>& crls, std::vector<Error>& left_out) {
  Bundles bundles;
  auto leave_out = [&](const TrustDomain& domain, const Error& error) -> Expected<> {
    auto told = with_context(error, "the bundle of " + domain.name());
    if (sent.at(domain).is_own) return told;
    left_out.push_back(told.error());
    return {};
  };
  for (const auto& [domain, bundle] : sent) {
    auto authorities = certificates_from_der(bundle.der);
    if (authorities)
      bundles[domain].authorities = std::move(*authorities);
    else if (auto told = leave_out(domain, authorities.error()); !told)
      return told;
  }
  spread(crls, sent, own_authorities(set, sent, bundles), bundles, left_out);
  for (auto& [domain, bundle] : bundles)
    if (auto added = trust.add(domain, std::move(bundle)); !added)
      if (auto told = leave_out(domain, added.error()); !told) return told;
  return {};
}

}  // namespace

Expected<SvidResponse> read_svid_response(std::string_view bytes, const KnownSvids& known) {
  Message sent;
  if (!sent.parse(bytes)) return wrong("it isn't an X509SVIDResponse");
  auto set = std::make_shared<SvidSet>();
  SvidResponse response;
  SentBundles bundles;
  if (auto taken = take_svids(*sent, known, response.read, *set, bundles); !taken)
    return std::unexpected(taken.error());
  take_foreign(*sent, bundles, response.left_out);
  auto crls = read_crls(*sent);
  if (!crls) return std::unexpected(crls.error());
  auto trust = std::make_shared<TrustStore>();
  if (auto filled = fill(*trust, *set, bundles, *crls, response.left_out); !filled)
    return std::unexpected(filled.error());
  set->trust = std::move(trust);
  response.set = std::move(set);
  return response;
}

}  // namespace bulkhead
