#include "svid/recent_peers.h"

#include <vector>

#include <openssl/sha.h>

namespace bulkhead {
namespace {

constexpr int64_t kRecentNs = 1'000'000'000;

void append(std::vector<uint8_t>& to, const X509* certificate) {
  auto fingerprint = fingerprint_of(certificate);
  to.insert(to.end(), fingerprint.begin(), fingerprint.end());
}

}  // namespace

RecentPeers::Chain RecentPeers::chain_of(const X509* leaf, const STACK_OF(X509) * intermediates) {
  std::vector<uint8_t> all;
  append(all, leaf);
  for (int i = 0; i < sk_X509_num(intermediates); ++i) append(all, sk_X509_value(intermediates, i));
  Chain digest;
  SHA256(all.data(), all.size(), digest.data());
  return digest;
}

std::optional<RecentPeers::Answer> RecentPeers::find(const Chain& chain,
                                                     const std::shared_ptr<const TrustStore>& trust,
                                                     WallTime now) const {
  std::lock_guard hold(mutex_);
  auto at = trust == trust_ ? known_.find(chain) : known_.end();
  if (at == known_.end() || now < at->second.at || now.ns - at->second.at.ns >= kRecentNs)
    return std::nullopt;
  return at->second;
}

void RecentPeers::keep(const Chain& chain, const std::shared_ptr<const TrustStore>& trust, Answer answer) {
  std::lock_guard hold(mutex_);
  if (trust != trust_ || known_.size() >= kMost) known_.clear();
  trust_ = trust;
  known_.insert_or_assign(chain, std::move(answer));
}

}  // namespace bulkhead
