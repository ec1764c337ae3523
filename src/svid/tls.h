// TLS 1.3 between workloads: both ends prove their identity with an X.509-SVID, and the trust store may be
// replaced under them.
#pragma once

#include <functional>
#include <mutex>

#include "svid/identity.h"
#include "svid/verify.h"

namespace bulkhead {

enum class TlsRole : uint8_t { kClient, kServer };

/// Whom handshakes trust at this moment. Replaced as a whole; a handshake sees the one or the other.
/// Thread: any.
class CurrentTrust {
 public:
  explicit CurrentTrust(std::shared_ptr<const TrustStore> trust) : trust_(std::move(trust)) {}
  std::shared_ptr<const TrustStore> get() const {
    std::lock_guard hold(mutex_);
    return trust_;
  }
  void replace(std::shared_ptr<const TrustStore> trust) {
    std::lock_guard hold(mutex_);
    trust_.swap(trust);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const TrustStore> trust_;
};

/// How peers are judged.
struct PeerRules {
  std::shared_ptr<const CurrentTrust> trust;
  std::chrono::seconds skew = kClockSkew;
  std::function<WallTime()> now = wall_now;
};

/// A context for connections in one role, under one identity: TLS 1.3 and nothing older, both ends with
/// certificates, verified by verify_svid() under the trust store of the moment. No early data (it can be
/// replayed, RFC 8446 §8), no renegotiation, no compression.
///
/// Resumption: a server's tickets are sealed with keys that OpenSSL draws for this context, so those of
/// another listener, role, identity, process, or of this identity before it was rotated, can't be read;
/// beside that they are bound to (role, ID). OpenSSL puts only the peer's leaf into a ticket: its
/// intermediates are added here, and a resumed session is verified like a new one, under the trust store of
/// the moment. (A chain that was verified less than a second ago, under the same trust store and by this
/// context, isn't verified again, in full handshakes neither: only that its owner has the key.) One that
/// fails is ignored, and the full handshake decides. Peers whose chains are over kMaxTicketChainBytes get no
/// tickets. Clients offer only what offer_session() lets them.
///
/// Output: the context; it keeps what it needs of `own` and `rules`. Take SSL objects from it as usual.
/// Errors: kInvalid or kExhausted, as OpenSSL says.
Expected<SslCtxPtr> make_tls_context(TlsRole role, const SvidIdentity& own, PeerRules rules);

/// NewSessionTicket messages must fit into 16 KiB, OpenSSL's own limit for them.
inline constexpr size_t kMaxTicketChainBytes = 8192;

/// The peer's identity, under the trust store of this moment: after the handshake, and again whenever that
/// store was replaced or time has passed. Ask it before anything that the peer sent is used.
/// Input:  a connection of such a context. Its thread only.
/// Errors: what is wrong now; certificate_missing before the handshake is finished.
/// Cost:   that of verify_svid(), unless the last answer was under the same store less than a second ago.
std::expected<VerifiedSvid, SvidFault> peer_svid(SSL* ssl);

/// Why the peer's certificates were refused in the handshake; nothing where it failed otherwise, or didn't.
std::optional<SvidFault> refused_peer(const SSL* ssl);

/// Makes a client's next handshake offer a session, if its peer is still trusted.
/// Input:  a session of a connection of the same context (SSL_get1_session after the server's ticket came),
/// in memory: written out it loses the chain. OpenSSL resumes none whose connection ended without
/// SSL_shutdown. Errors: why the peer isn't trusted any more; nothing is offered then, and the session is
/// best dropped.
std::optional<SvidFault> offer_session(SSL* ssl, SSL_SESSION* session);

}  // namespace bulkhead
