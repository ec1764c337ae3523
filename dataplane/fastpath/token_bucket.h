// Limits on what the gateway answers, so that its answers can't be turned into a weapon.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/types.h"
#include "dataplane/fastpath/flow.h"

namespace bulkhead {

/// At most `rate` a second, as many at once.
class TokenBucket {
 public:
  void set(uint32_t rate) noexcept { rate_ = rate, milli_ = uint64_t{rate} * 1000; }
  bool take(Ticks now, uint32_t count = 1) noexcept {
    Ticks elapsed = now - last_;
    last_ = now;
    milli_ = std::min(milli_ + uint64_t{elapsed} * rate_, uint64_t{rate_} * 1000);
    if (milli_ < uint64_t{count} * 1000) return false;
    milli_ -= uint64_t{count} * 1000;
    return true;
  }

 private:
  uint64_t milli_ = 0;  ///< thousandths of a token
  uint32_t rate_ = 0;
  Ticks last_ = 0;
};

/// `reject_rate`: one bucket for all, and one for each identity. Identities share 1,024 buckets by hash: an
/// attacker can only take answers away, never get more.
class RejectLimiter {
 public:
  void set(uint32_t per_identity, uint32_t total) noexcept {
    total_.set(total);
    for (TokenBucket& bucket : by_identity_) bucket.set(per_identity);
  }
  bool take(IdentityId identity, Ticks now) noexcept {
    TokenBucket& own = by_identity_[identity.value * 0x9e3779b1u >> 22];
    return own.take(now) && total_.take(now);
  }

 private:
  TokenBucket total_;
  std::array<TokenBucket, 1024> by_identity_;
};

}  // namespace bulkhead
