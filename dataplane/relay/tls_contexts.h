// A worker's TLS contexts, one for each identity and role, made when they are first needed.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "dataplane/relay/policy.h"

namespace bulkhead {

/// An SVID ready for use.
struct OwnSvid {
  SSL_CTX* context;
  std::array<uint8_t, 32> certificate;  ///< SHA-256 of the leaf
};

/// Thread: its worker.
class TlsContexts {
 public:
  explicit TlsContexts(std::shared_ptr<const CurrentTrust> trust) : trust_(std::move(trust)) {}

  /// Takes over a new set: contexts of SVIDs that didn't change stay, and with them their sessions' tickets.
  void adopt(std::shared_ptr<const SvidSet> svids);
  /// Errors: kNotFound where there is no SVID of that ID; kInvalid, kExhausted as OpenSSL says.
  Expected<OwnSvid> find(RelayRole role, std::string_view id);
  bool has(std::string_view id) const { return svid(id) != nullptr; }

 private:
  struct Made {
    std::array<uint8_t, 32> certificate;
    SslCtxPtr context;
  };

  std::shared_ptr<const SvidIdentity> svid(std::string_view id) const;

  std::shared_ptr<const CurrentTrust> trust_;
  std::shared_ptr<const SvidSet> svids_;
  std::map<std::string, Made, std::less<>> made_[kRelayRoleCount];
};

}  // namespace bulkhead
