// What was found out about peers since something changed: connections of one peer, of which there may be
// thousands, share one answer.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>

#include "svid/tls.h"

namespace bulkhead {

/// Thread: one.
class PeerVerdicts {
 public:
  /// Why the connection's peer isn't trusted now; nothing: it is. For certificates that were asked about
  /// since forget(), what was said then.
  std::optional<SvidFault> fault_of(SSL* tls);
  /// Trust changed, or the answers have become old.
  void forget() { known_.clear(); }

 private:
  using Chain = std::array<uint8_t, 32>;  ///< SHA-256 of all that is verified
  static Chain chain_of(SSL* tls);

  std::map<Chain, std::optional<SvidFault>> known_;
};

}  // namespace bulkhead
