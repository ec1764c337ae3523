#include "dataplane/relay/tls_contexts.h"

namespace bulkhead {

namespace {

constexpr size_t kReadAtOnce = 65536;  ///< of records, with one system call

}  // namespace

std::shared_ptr<const SvidIdentity> TlsContexts::svid(std::string_view id) const {
  if (!svids_) return nullptr;
  auto at = svids_->own.find(id);
  return at == svids_->own.end() ? nullptr : at->second;
}

void TlsContexts::adopt(std::shared_ptr<const SvidSet> svids) {
  svids_ = std::move(svids);
  for (auto& contexts : made_)
    std::erase_if(contexts, [this](const auto& entry) {
      auto now = svid(entry.first);
      return !now || fingerprint_of(now->leaf()) != entry.second.certificate;
    });
}

Expected<OwnSvid> TlsContexts::find(RelayRole role, std::string_view id) {
  auto& contexts = made_[index_of(role)];
  if (auto at = contexts.find(id); at != contexts.end())
    return OwnSvid{at->second.context.get(), at->second.certificate};
  auto own = svid(id);
  if (!own) return fail(ErrorCode::kNotFound, "no SVID of " + std::string(id));
  auto tls_role = role == RelayRole::kOriginate ? TlsRole::kClient : TlsRole::kServer;
  auto context = make_tls_context(tls_role, *own, PeerRules{.trust = trust_});
  if (!context) return with_context(context.error(), std::string(id));
  SSL_CTX_set_read_ahead(context->get(), 1);
  SSL_CTX_set_default_read_buffer_len(context->get(), kReadAtOnce);
  Made made{fingerprint_of(own->leaf()), std::move(*context)};
  const Made& kept = contexts.emplace(id, std::move(made)).first->second;
  return OwnSvid{kept.context.get(), kept.certificate};
}

}  // namespace bulkhead
