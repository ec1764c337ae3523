#include "svid/svid_files.h"

#include <algorithm>
#include <optional>

#include "base/printable.h"
#include "svid/file.h"
#include "svid/pem.h"

namespace bulkhead {
namespace {

constexpr std::string_view kPem = ".pem", kKey = ".key";

/// What stands before an ending; nothing where that isn't the file's.
std::optional<std::string> stem_of(const std::string& name, std::string_view ending) {
  if (!name.ends_with(ending)) return std::nullopt;
  return name.substr(0, name.size() - ending.size());
}

/// The trust domain that a file of `directory` is named after.
Expected<TrustDomain> domain_of(const std::string& path, const std::string& name) {
  auto stem = stem_of(name, kPem);
  if (!stem)
    return fail(ErrorCode::kInvalid,
                path + ": not a file that belongs here; name it TRUST_DOMAIN.pem, or remove it");
  auto domain = parse_trust_domain(*stem);
  if (!domain) return with_context(domain.error(), path);
  return domain;
}

Expected<std::vector<X509CrlPtr>> read_crls(const std::string& path) {
  auto text = read_whole(path, kMaxCrlFileBytes);
  if (!text) return std::unexpected(text.error());
  auto crls = crls_from_pem(*text);
  if (!crls) return with_context(crls.error(), path);
  return crls;
}

Expected<> add_domain(TrustStore& trust, const std::string& directory, const std::string& name) {
  std::string path = directory + "/bundles/" + name, crl_path = directory + "/crls/" + name;
  auto domain = domain_of(path, name);
  if (!domain) return std::unexpected(domain.error());
  TrustBundle bundle;
  auto authorities = read_certificates(path, kMaxBundleFileBytes);
  if (!authorities) return std::unexpected(authorities.error());
  bundle.authorities = std::move(*authorities);
  if (is_there(crl_path)) {
    auto crls = read_crls(crl_path);
    if (!crls) return std::unexpected(crls.error());
    bundle.crls = std::move(*crls);
  }
  if (auto added = trust.add(*domain, std::move(bundle)); !added) return with_context(added.error(), path);
  return {};
}

/// CRLs that no bundle asks for.
void check_crl_names(const std::string& directory, const std::vector<std::string>& bundles,
                     std::vector<Error>& errors) {
  if (!is_there(directory + "/crls")) return;
  auto names = names_in(directory + "/crls");
  if (!names) return errors.push_back(names.error());
  for (const std::string& name : *names)
    if (std::ranges::find(bundles, name) == bundles.end())
      errors.push_back(
          {ErrorCode::kInvalid, directory + "/crls/" + name + ": there is no bundles/" + name +
                                    ", so this CRL would revoke nothing; name it as the bundle is"});
}

/// The key of a leaf, of those that a file holds.
EvpPkeyPtr matching(X509* leaf, std::vector<EvpPkeyPtr> keys) {
  ErrorMark mark;
  auto found = std::ranges::find_if(
      keys, [&](const EvpPkeyPtr& key) { return X509_check_private_key(leaf, key.get()) == 1; });
  return std::move(found == keys.end() ? keys.front() : *found);
}

Expected<std::vector<EvpPkeyPtr>> read_keys(const std::string& path) {
  auto text = read_whole(path, kMaxKeyFileBytes, Secrecy::kPrivate);
  if (!text) return std::unexpected(text.error());
  auto keys = keys_from_pem(*text);
  wipe(*text);
  if (!keys) return with_context(keys.error(), path);
  return keys;
}

Expected<SvidIdentity> read_once(const std::string& directory, const std::string& name) {
  std::string path = directory + "/svids/" + name;
  auto chain = read_certificates(path + ".pem");
  if (!chain) return std::unexpected(chain.error());
  auto keys = read_keys(path + ".key");
  if (!keys) return std::unexpected(keys.error());
  EvpPkeyPtr key = matching(chain->front().get(), std::move(*keys));
  auto identity = make_identity(std::move(*chain), std::move(key));
  if (!identity) return with_context(identity.error(), path + ".pem");
  return identity;
}

}  // namespace

Expected<std::vector<X509Ptr>> read_certificates(const std::string& path, size_t limit) {
  auto text = read_whole(path, limit);
  if (!text) return std::unexpected(text.error());
  auto certificates = certificates_from_pem(*text);
  if (!certificates) return with_context(certificates.error(), path);
  return certificates;
}

Expected<SvidIdentity> read_identity(const std::string& directory, const std::string& name) {
  // The two files can't be read at one moment: a rotation may come between them.
  constexpr int kAttempts = 3;
  for (int attempt = 1;; ++attempt)
    if (auto identity = read_once(directory, name); identity || attempt == kAttempts) return identity;
}

TrustFiles read_trust_files(const std::string& directory) {
  TrustFiles files;
  auto names = names_in(directory + "/bundles");
  if (!names) {
    files.errors.push_back(names.error());
    return files;
  }
  for (const std::string& name : *names)
    if (auto added = add_domain(files.trust, directory, name); !added) files.errors.push_back(added.error());
  check_crl_names(directory, *names, files.errors);
  return files;
}

IdentityFiles read_identity_files(const std::string& directory) {
  IdentityFiles files;
  auto names = names_in(directory + "/svids");
  if (!names) {
    files.errors.push_back(names.error());
    return files;
  }
  for (const std::string& name : *names) {
    if (stem_of(name, kKey)) continue;
    auto stem = stem_of(name, kPem);
    if (!stem) {
      files.errors.push_back(
          {ErrorCode::kInvalid,
           directory + "/svids/" + name +
               ": not a file that belongs here; name it NAME.pem or NAME.key, or remove it"});
      continue;
    }
    auto identity = read_identity(directory, *stem);
    if (identity)
      files.identities.push_back({std::move(*stem), std::move(*identity)});
    else
      files.errors.push_back(identity.error());
  }
  return files;
}

}  // namespace bulkhead
