#include "svid/authority_files.h"

#include <unistd.h>

#include <algorithm>

#include "base/printable.h"
#include "svid/certificate.h"
#include "svid/file.h"
#include "svid/pem.h"
#include "svid/svid_files.h"
#include "svid/verify.h"

namespace bulkhead {
namespace {

Expected<X509CrlPtr> read_own_crl(const std::string& path, const Authority& authority) {
  if (!is_there(path)) return nullptr;
  auto text = read_whole(path, kMaxCrlFileBytes);
  if (!text) return std::unexpected(text.error());
  auto crls = crls_from_pem(*text);
  if (!crls) return with_context(crls.error(), path);
  if (crls->size() != 1 || !authority.has_issued(crls->front().get()))
    return fail(ErrorCode::kInvalid, path + ": not this authority's CRL; restore it from a backup");
  return std::move(crls->front());
}

Expected<Authority> read_authority(const std::string& directory) {
  std::string path = directory + "/ca.pem", key_path = directory + "/ca.key";
  auto certificates = read_certificates(path);
  if (!certificates && certificates.error().code == ErrorCode::kNotFound)
    return with_context(certificates.error(),
                        "there is no authority in " + directory + " (bulkhead svid init makes one)");
  if (!certificates) return std::unexpected(certificates.error());
  auto text = read_whole(key_path, kMaxKeyFileBytes, Secrecy::kPrivate);
  if (!text) return std::unexpected(text.error());
  auto keys = keys_from_pem(*text);
  wipe(*text);
  if (!keys) return with_context(keys.error(), key_path);
  auto authority = Authority::from(std::move(certificates->front()), std::move(keys->front()));
  if (!authority) return with_context(authority.error(), path);
  return authority;
}

Expected<> write_key(const std::string& path, const EVP_PKEY* first, const EVP_PKEY* second = nullptr) {
  std::string text = pem_of(first);
  if (second != nullptr) text += pem_of(second);
  auto written = write_whole(path, text, Secrecy::kPrivate);
  wipe(text);
  return written;
}

std::string pem_of_chain(const std::vector<X509Ptr>& chain) {
  std::string text;
  for (const X509Ptr& one : chain) text += pem_of(one.get());
  return text;
}

bool has_id(X509* certificate, std::string_view id) {
  auto found = check_leaf(certificate);
  return found && found->text() == id;
}

Expected<> publish_bundle(const std::string& path, X509* authority) {
  std::vector<X509Ptr> bundle;
  if (is_there(path)) {
    auto known = read_certificates(path, kMaxBundleFileBytes);
    if (!known) return std::unexpected(known.error());
    bundle = std::move(*known);
  }
  auto is_same = [&](const X509Ptr& one) { return X509_cmp(one.get(), authority) == 0; };
  if (std::ranges::any_of(bundle, is_same)) return {};
  bundle.push_back(share(authority));
  return write_whole(path, pem_of_chain(bundle));
}

/// Those of other issuers stay.
Expected<> publish_crl(const std::string& path, const X509_CRL* own) {
  std::string text, before;
  if (is_there(path)) {
    auto read = read_whole(path, kMaxCrlFileBytes);
    if (!read) return std::unexpected(read.error());
    before = std::move(*read);
    auto known = crls_from_pem(before);
    if (!known) return with_context(known.error(), path);
    for (const X509CrlPtr& crl : *known)
      if (X509_NAME_cmp(X509_CRL_get_issuer(crl.get()), X509_CRL_get_issuer(own)) != 0)
        text += pem_of(crl.get());
  }
  text += pem_of(own);
  return text == before ? Expected<>() : write_whole(path, text);
}

/// How long its maker wanted it to live.
std::chrono::seconds life_of(X509* certificate) {
  auto begin = wall_time_of(X509_get0_notBefore(certificate)),
       end = wall_time_of(X509_get0_notAfter(certificate));
  if (!begin || !end) return kDefaultSvidLife;
  return std::chrono::seconds((end->ns - begin->ns) / 1'000'000'000) - kClockSkew;
}

}  // namespace

Expected<AuthorityFiles> AuthorityFiles::create(const std::string& directory, const TrustDomain& domain,
                                                WallTime now) {
  if (is_there(directory + "/ca.pem"))
    return fail(ErrorCode::kExists, directory + " holds an authority already; name another directory");
  auto authority = Authority::create(domain, now);
  if (!authority) return std::unexpected(authority.error());
  if (auto made = make_directory(directory, Secrecy::kPrivate); !made) return std::unexpected(made.error());
  // The certificate last: with it the authority is there.
  if (auto key = write_key(directory + "/ca.key", authority->key()); !key)
    return std::unexpected(key.error());
  auto certificate = write_whole(directory + "/ca.pem", pem_of(authority->certificate()));
  if (!certificate) return std::unexpected(certificate.error());
  return AuthorityFiles(directory, std::move(*authority));
}

Expected<AuthorityFiles> AuthorityFiles::open(const std::string& directory) {
  auto authority = read_authority(directory);
  if (!authority) return std::unexpected(authority.error());
  auto crl = read_own_crl(directory + "/crl.pem", *authority);
  if (!crl) return std::unexpected(crl.error());
  AuthorityFiles files(directory, std::move(*authority));
  files.crl_ = std::move(*crl);
  return files;
}

Expected<std::vector<X509Ptr>> AuthorityFiles::recorded(WallTime now) const {
  std::vector<X509Ptr> valid;
  std::string directory = directory_ + "/issued";
  if (!is_there(directory)) return valid;
  auto names = names_in(directory);
  if (!names) return std::unexpected(names.error());
  for (const std::string& name : *names) {
    std::string path = directory + "/" + name;
    auto certificates = read_certificates(path);
    if (!certificates) return std::unexpected(certificates.error());
    auto end = wall_time_of(X509_get0_notAfter(certificates->front().get()));
    bool over = end && end->ns + std::chrono::nanoseconds(kClockSkew).count() < now.ns;
    if (over)
      ::unlink(path.c_str());
    else
      valid.push_back(std::move(certificates->front()));
  }
  return valid;
}

Expected<SvidIdentity> AuthorityFiles::mint(const SpiffeId& id, WallTime now,
                                            std::chrono::seconds life) const {
  auto identity = authority_.mint(id, now, life);
  if (!identity) return identity;
  (void)recorded(now);  // a damaged record is revoke's to complain of
  if (auto made = make_directory(directory_ + "/issued", Secrecy::kPrivate); !made)
    return std::unexpected(made.error());
  auto written =
      write_whole(directory_ + "/issued/" + serial_of(identity->leaf()) + ".pem", pem_of(identity->leaf()));
  if (!written) return std::unexpected(written.error());
  return identity;
}

Expected<std::vector<X509Ptr>> AuthorityFiles::revoke(std::string_view id_or_serial, WallTime now) {
  auto records = recorded(now);
  if (!records) return std::unexpected(records.error());
  std::vector<X509Ptr> meant = std::move(*records);
  std::string serial(id_or_serial);
  std::ranges::transform(serial, serial.begin(),
                         [](char c) { return c >= 'a' && c <= 'f' ? static_cast<char>(c - 'a' + 'A') : c; });
  std::erase_if(meant, [&](const X509Ptr& one) {
    return serial_of(one.get()) != serial && !has_id(one.get(), id_or_serial);
  });
  if (meant.empty())
    return fail(ErrorCode::kNotFound,
                "this authority has issued no SVID with the ID or serial " + in_quotes(id_or_serial) +
                    " that is still valid; bulkhead svid show lists those of a directory");
  auto crl = authority_.revoke(crl_.get(), meant, now);
  if (!crl) return std::unexpected(crl.error());
  if (auto written = write_whole(directory_ + "/crl.pem", pem_of(crl->get())); !written)
    return std::unexpected(written.error());
  crl_ = std::move(*crl);
  return meant;
}

Expected<> AuthorityFiles::renew_crl(WallTime now) {
  if (!crl_ || !is_half_over(crl_.get(), now)) return {};
  auto crl = authority_.revoke(crl_.get(), {}, now);
  if (!crl) return std::unexpected(crl.error());
  if (auto written = write_whole(directory_ + "/crl.pem", pem_of(crl->get())); !written) return written;
  crl_ = std::move(*crl);
  return {};
}

Expected<> AuthorityFiles::publish(const std::string& out) const {
  std::string file = "/" + authority_.trust_domain().name() + ".pem";
  if (auto made = make_directory(out + "/bundles"); !made) return made;
  if (crl_) {
    if (auto made = make_directory(out + "/crls"); !made) return made;
    if (auto written = publish_crl(out + "/crls" + file, crl_.get()); !written) return written;
  }
  return publish_bundle(out + "/bundles" + file, authority_.certificate());
}

Expected<Rotation> AuthorityFiles::rotate(const std::string& out, const std::string& name,
                                          const SvidIdentity& old, bool all, WallTime now) const {
  if (!authority_.has_issued(old.leaf())) return Rotation::kForeign;
  if (crl_ && is_revoked(crl_.get(), old.leaf())) return Rotation::kRevoked;
  if (!all && !is_half_over(old.leaf(), now)) return Rotation::kFresh;
  auto fresh = mint(old.id, now, life_of(old.leaf()));
  if (!fresh) return std::unexpected(fresh.error());
  if (auto written = write_identity(out, name, *fresh); !written) return std::unexpected(written.error());
  return Rotation::kRenewed;
}

Expected<> write_identity(const std::string& out, const std::string& name, const SvidIdentity& identity) {
  std::string path = out + "/svids/" + name;
  if (auto right = check_identity_name(name); !right) return right;
  if (auto made = make_directory(out + "/svids"); !made) return made;
  EvpPkeyPtr old_key;
  if (is_there(path + ".pem")) {
    auto old = read_identity(out, name);
    if (!old) return with_context(old.error(), "what would be replaced isn't right; remove it first");
    if (old->id != identity.id)
      return fail(ErrorCode::kExists, path + ".pem is " + old->id.text() + "'s; choose another --name");
    old_key = std::move(old->key);
  }
  const EVP_PKEY* first = old_key ? old_key.get() : identity.key.get();
  const EVP_PKEY* second = old_key ? identity.key.get() : nullptr;
  if (auto both = write_key(path + ".key", first, second); !both) return both;
  if (auto chain = write_whole(path + ".pem", pem_of_chain(identity.chain)); !chain) return chain;
  return old_key ? write_key(path + ".key", identity.key.get()) : Expected<>();
}

Expected<std::string> default_name(const SpiffeId& id) {
  std::string name(id.path().substr(id.is_workload() ? 1 : 0));
  std::ranges::replace(name, '/', '-');
  if (auto right = check_identity_name(name); !right) return with_context(right.error(), "give it a --name");
  return name;
}

Expected<> check_identity_name(const std::string& name) {
  bool right = !name.empty() && name.size() <= 200 && name[0] != '.' && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
  });
  if (right) return {};
  return fail(ErrorCode::kInvalid,
              in_quotes(name) +
                  " can't be an identity's file name; write at most 200 letters, digits, "
                  "'.', '-' and '_', with no dot in front");
}

}  // namespace bulkhead
