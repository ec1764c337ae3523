#include "svid/tls.h"

#include <algorithm>
#include <new>

#include <openssl/sha.h>

#include "svid/recent_peers.h"

namespace bulkhead {
namespace {

/// What was last found out about a connection's peer.
struct Peer {
  std::shared_ptr<const TrustStore> under;
  WallTime at;
  std::expected<VerifiedSvid, SvidFault> svid = std::unexpected(SvidFault::k_certificate_missing);
};

/// What a context judges its connections' peers by.
struct Judge {
  PeerRules rules;
  RecentPeers recent;
};

template <class T>
void free_attached(void*, void* attached, CRYPTO_EX_DATA*, int, long, void*) {
  delete static_cast<T*>(attached);
}

int judge_index() {
  static const int kIndex = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, free_attached<Judge>);
  return kIndex;
}
int peer_index() {
  static const int kIndex = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, free_attached<Peer>);
  return kIndex;
}

Judge& judge_of(const SSL* ssl) {
  return *static_cast<Judge*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), judge_index()));
}

/// Null: nothing was found out yet.
Peer* peer_of(const SSL* ssl) {
  return static_cast<Peer*>(SSL_get_ex_data(ssl, peer_index()));
}

void keep(SSL* ssl, Peer peer) {
  if (Peer* known = peer_of(ssl)) {
    *known = std::move(peer);
    return;
  }
  auto attached = std::make_unique<Peer>(std::move(peer));
  if (SSL_set_ex_data(ssl, peer_index(), attached.get()) != 1) throw std::bad_alloc();
  attached.release();
}

/// As verify_svid() says, or has said of the same a moment ago.
Peer verify(Judge& judge, X509* leaf, const STACK_OF(X509) * intermediates) {
  const PeerRules& rules = judge.rules;
  Peer peer{rules.trust->get(), rules.now()};
  if (leaf == nullptr) return peer;
  RecentPeers::Chain chain = RecentPeers::chain_of(leaf, intermediates);
  if (auto known = judge.recent.find(chain, peer.under, peer.at)) {
    peer.at = known->at;
    peer.svid = std::move(known->svid);
    return peer;
  }
  peer.svid = verify_svid(leaf, intermediates, *peer.under, peer.at, rules.skew);
  judge.recent.keep(chain, peer.under, {peer.at, peer.svid});
  return peer;
}

/// Judges a connection's peer now, and keeps the answer. Where memory runs out nobody is trusted.
std::expected<VerifiedSvid, SvidFault> judge(SSL* ssl, X509* leaf,
                                             const STACK_OF(X509) * intermediates) noexcept try {
  Peer peer = verify(judge_of(ssl), leaf, intermediates);
  auto answer = peer.svid;
  keep(ssl, std::move(peer));
  return answer;
} catch (const std::bad_alloc&) {
  return std::unexpected(SvidFault::k_check_failed);
}

// --- a ticket's intermediates

size_t der_bytes(const STACK_OF(X509) * certificates) {
  size_t bytes = 0;
  for (int i = 0; i < sk_X509_num(certificates); ++i)
    bytes += static_cast<size_t>(std::max(0, i2d_X509(sk_X509_value(certificates, i), nullptr)));
  return bytes;
}

/// The DER of each, one after the other.
std::vector<uint8_t> to_der(const STACK_OF(X509) * certificates) {
  std::vector<uint8_t> der(der_bytes(certificates));
  uint8_t* at = der.data();
  for (int i = 0; i < sk_X509_num(certificates); ++i) i2d_X509(sk_X509_value(certificates, i), &at);
  return der;
}

X509Stack from_der(std::span<const uint8_t> der) {
  ErrorMark mark;
  X509Stack certificates(sk_X509_new_null());
  if (!certificates) throw std::bad_alloc();
  const uint8_t *at = der.data(), *end = at + der.size();
  while (at != end) {
    X509Ptr one(d2i_X509(nullptr, &at, end - at));
    if (!one) break;
    if (X509_add_cert(certificates.get(), one.get(), X509_ADD_FLAG_UP_REF) != 1) throw std::bad_alloc();
  }
  return certificates;
}

X509Stack intermediates_in(SSL_SESSION* session) {
  void* der = nullptr;
  size_t bytes = 0;
  SSL_SESSION_get0_ticket_appdata(session, &der, &bytes);
  return from_der({static_cast<const uint8_t*>(der), bytes});
}

/// A session's peer, judged now. `chain`: as the handshake had it, null in what came out of a ticket.
std::expected<VerifiedSvid, SvidFault> judge_session(SSL* ssl, SSL_SESSION* session,
                                                     const STACK_OF(X509) * chain) noexcept try {
  X509* leaf = SSL_SESSION_get0_peer(session);
  if (chain != nullptr) return judge(ssl, leaf, chain);
  return judge(ssl, leaf, intermediates_in(session).get());
} catch (const std::bad_alloc&) {
  return std::unexpected(SvidFault::k_check_failed);
}

// --- what OpenSSL calls

/// What the peer is told (RFC 8446 §6.2): OpenSSL makes alerts of its own errors.
int alert_cause(SvidFault fault) {
  switch (fault) {
    case SvidFault::k_expired:
    case SvidFault::k_not_yet_valid:
      return X509_V_ERR_CERT_HAS_EXPIRED;
    case SvidFault::k_revoked:
      return X509_V_ERR_CERT_REVOKED;
    case SvidFault::k_trust_domain_unknown:
    case SvidFault::k_chain_untrusted:
      return X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
    case SvidFault::k_check_failed:
      return X509_V_ERR_OUT_OF_MEM;
    default:
      return X509_V_ERR_CERT_REJECTED;
  }
}

int verify_peer(X509_STORE_CTX* context, void*) {
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx()));
  const STACK_OF(X509)* chain = X509_STORE_CTX_get0_untrusted(context);
  auto svid = judge(ssl, X509_STORE_CTX_get0_cert(context), chain);
  X509_STORE_CTX_set_error(context, svid ? X509_V_OK : alert_cause(svid.error()));
  if (svid && SSL_is_server(ssl) == 1 && der_bytes(chain) > kMaxTicketChainBytes) SSL_set_num_tickets(ssl, 0);
  return svid ? 1 : 0;
}

/// A ticket is made: the intermediates go along. Of a resumed session they are in it already.
int fill_ticket(SSL* ssl, void*) try {
  const STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl);
  if (chain == nullptr) return 1;
  std::vector<uint8_t> der = to_der(chain);
  return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), der.data(), der.size());
} catch (const std::bad_alloc&) {
  return 0;
}

/// A ticket came back.
SSL_TICKET_RETURN judge_ticket(SSL* ssl, SSL_SESSION* session, const unsigned char*, size_t,
                               SSL_TICKET_STATUS status, void*) {
  bool readable = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;
  if (!readable || !judge_session(ssl, session, nullptr)) return SSL_TICKET_RETURN_IGNORE_RENEW;
  return SSL_TICKET_RETURN_USE_RENEW;
}

// --- contexts

bool bind_sessions(SSL_CTX* context, TlsRole role, const SpiffeId& id) {
  std::string owner = (role == TlsRole::kServer ? "server " : "client ") + id.text();
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  static_assert(digest.size() <= SSL_MAX_SID_CTX_LENGTH);
  SHA256(reinterpret_cast<const uint8_t*>(owner.data()), owner.size(), digest.data());
  return SSL_CTX_set_session_id_context(context, digest.data(), digest.size()) == 1;
}

bool use(SSL_CTX* context, const SvidIdentity& own) {
  X509Stack above = stack_of(own.chain.data() + 1, own.chain.data() + own.chain.size());
  return SSL_CTX_use_cert_and_key(context, own.leaf(), own.key.get(), above.get(), 1) == 1;
}

bool set_protocol(SSL_CTX* context) {
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_security_level(context, 2);
  // A certificate message holds three bytes of length and two of extensions for each certificate beside it.
  SSL_CTX_set_max_cert_list(context, kMaxChainBytes + 1024);
  // RSA+SHA2 is for signatures in certificates: TLS 1.3 itself allows PSS only (RFC 8446 §4.2.3).
  return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_max_early_data(context, 0) == 1 && SSL_CTX_set_recv_max_early_data(context, 0) == 1 &&
         SSL_CTX_set1_sigalgs_list(
             context,
             "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519:RSA-PSS+SHA256:RSA-PSS+SHA384:"
             "RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512") == 1;
}

}  // namespace

Expected<SslCtxPtr> make_tls_context(TlsRole role, const SvidIdentity& own, PeerRules rules) {
  auto failed = [](const char* what) {
    return fail_openssl(ErrorCode::kInvalid, std::string("TLS context: ") + what);
  };
  bool server = role == TlsRole::kServer;
  SslCtxPtr context(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
  if (!context || !set_protocol(context.get())) return failed("protocol");
  if (!use(context.get(), own)) return failed("certificate and key");
  if (!bind_sessions(context.get(), role, own.id)) return failed("sessions");
  auto attached = std::make_unique<Judge>();
  attached->rules = std::move(rules);
  if (SSL_CTX_set_ex_data(context.get(), judge_index(), attached.get()) != 1) return failed("rules");
  attached.release();
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_cert_verify_callback(context.get(), verify_peer, nullptr);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  if (server && SSL_CTX_set_session_ticket_cb(context.get(), fill_ticket, judge_ticket, nullptr) != 1)
    return failed("tickets");
  return context;
}

std::expected<VerifiedSvid, SvidFault> peer_svid(SSL* ssl) {
  X509* leaf = SSL_get0_peer_certificate(ssl);
  if (leaf == nullptr || SSL_is_init_finished(ssl) != 1)
    return std::unexpected(SvidFault::k_certificate_missing);
  const PeerRules& rules = judge_of(ssl).rules;
  if (const Peer* known = peer_of(ssl);
      known != nullptr && known->svid && known->under == rules.trust->get()) {
    WallTime now = rules.now();
    bool recent = now >= known->at && now.ns - known->at.ns < 1'000'000'000;
    if (recent && known->svid->sha256 == fingerprint_of(leaf)) return known->svid;
  }
  return judge_session(ssl, SSL_get_session(ssl), SSL_get_peer_cert_chain(ssl));
}

std::optional<SvidFault> refused_peer(const SSL* ssl) {
  const Peer* known = peer_of(ssl);
  if (known == nullptr || known->svid) return std::nullopt;
  return known->svid.error();
}

std::optional<SvidFault> offer_session(SSL* ssl, SSL_SESSION* session) {
  if (SSL_set_session(ssl, session) != 1) return SvidFault::k_check_failed;
  auto svid = judge_session(ssl, session, SSL_get_peer_cert_chain(ssl));
  if (svid) return std::nullopt;
  SSL_set_session(ssl, nullptr);
  return svid.error();
}

}  // namespace bulkhead
