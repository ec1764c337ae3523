// What was found out about peers a moment ago. Gateways have many connections with the same few peers, whose
// chains needn't be verified, nor their CRLs' signatures, for each: only that the peer has the key. When
// trust changes thousands of live ones share an answer.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "svid/verify.h"

namespace bulkhead {

/// Thread: any.
class RecentPeers {
 public:
  using Chain = std::array<uint8_t, 32>;  ///< SHA-256 of the fingerprints of all that is verified

  struct Answer {
    WallTime at;
    std::expected<VerifiedSvid, SvidFault> svid;
  };

  static Chain chain_of(const X509* leaf, const STACK_OF(X509) * intermediates);

  /// What verify_svid() said of that chain less than a second ago, under this very trust store.
  std::optional<Answer> find(const Chain& chain, const std::shared_ptr<const TrustStore>& trust,
                             WallTime now) const;
  void keep(const Chain& chain, const std::shared_ptr<const TrustStore>& trust, Answer answer);

 private:
  static constexpr size_t kMost = 1024;  ///< then all are forgotten

  mutable std::mutex mutex_;
  std::shared_ptr<const TrustStore> trust_;  ///< that all answers are under
  std::map<Chain, Answer> known_;
};

}  // namespace bulkhead
