// How a worker opens a connection: accepted, announced, identified, secured, authorized, connected.
#include <openssl/ssl.h>
#include <sys/epoll.h>

#include <algorithm>

#include "dataplane/relay/log.h"
#include "dataplane/relay/worker.h"
#include "svid/certificate.h"

namespace bulkhead {

namespace {

using Phase = Connection::Phase;

constexpr Nanoseconds kHandshakePatience = std::chrono::seconds(10);
constexpr Nanoseconds kIdentitiesPatience = std::chrono::seconds(1);
constexpr Nanoseconds kConnectPatience = std::chrono::seconds(10);
constexpr uint32_t kSideEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

/// The ID in a certificate that wasn't verified, for people; empty where it has none.
std::string claimed_id(const X509* leaf) {
  auto id = leaf ? check_leaf(const_cast<X509*>(leaf)) : std::unexpected(SvidFault::k_certificate_missing);
  return id ? id->text() : std::string{};
}

void copy_fingerprint(uint8_t (&to)[32], const std::array<uint8_t, 32>& from) {
  std::copy(from.begin(), from.end(), to);
}

}  // namespace

void Worker::accept(AcceptedConnection accepted) {
  FlowEnds ends{accepted.client, accepted.server, accepted.client_port, accepted.server_port};
  auto flow = shared_.dataplane.claim(ends);
  if (!flow) {
    add(counts_.unannounced, 1);
    log_line(to_string(ends.client) + ":" + std::to_string(ends.client_port) + " > " +
             to_string(ends.server) + ":" + std::to_string(ends.server_port) + ": not_announced");
    return refuse(std::move(accepted.fd));
  }
  auto connection = std::make_unique<Connection>(*flow);
  connection->accepted = boot_now();
  connection->client.leg.take(std::move(accepted.fd));
  begin(std::move(connection));
}

void Worker::refuse(Fd fd) {
  Leg leg;
  leg.take(std::move(fd));
  leg.close(false);
}

/// Counts a connection that may begin; or says why it may not.
std::optional<RelayEnd> Worker::admit(const Connection& c) {
  if (shared_.draining.load()) return RelayEnd::k_shutdown;
  if (auto over = shared_.admission.open(c.flow.client)) return over;
  if (shared_.memory.take(kConnectionBytes)) return std::nullopt;
  shared_.admission.close(c.flow.client, false);
  return RelayEnd::k_memory_limit;
}

/// From here on it is registered: what changes finds it.
void Worker::begin(std::unique_ptr<Connection> connection) {
  Connection& c = *connection;
  if (auto over = admit(c)) {
    add(counts_.failed[index_of(c.flow.role)][static_cast<size_t>(*over)], 1);
    report(c, ProofMoment::kFailed, *over, {});
    return c.client.leg.close(false);
  }
  all_.push_back(c.in_all);
  connection.release();
  if (auto watched = watch(c.client.leg.fd(), kSideEvents, &c.client); !watched)
    return end(c, RelayEnd::k_memory_limit, watched.error().message);
  open(c);
}

/// The dataplane may enforce a policy a moment before its identities are here. Their number may also be a
/// smaller one: a gateway that was started again begins anew.
void Worker::open(Connection& c) {
  bool early = !policy_ || !policy_->of_generation(c.flow.image_generation);
  if (early && c.phase != Phase::kIdentities) return wait_for(c, Phase::kIdentities);
  if (early && c.in_waiting.linked()) return;
  c.in_waiting.unlink();
  if (c.flow.role == RelayRole::kOriginate)
    connect(c);
  else if (secure(c))
    continue_handshake(c);
}

/// The workload's SVID, else its segment's. Ends the connection where there is none.
bool Worker::choose_identity(Connection& c, OwnSvid& own) {
  const Identities* identities = policy_ ? policy_->of_generation(c.flow.image_generation) : nullptr;
  if (!identities) {
    end(c, RelayEnd::k_generation_unknown, "generation " + std::to_string(c.flow.image_generation));
    return false;
  }
  auto ids = identities->own_ids(c.flow);
  for (std::string_view id : ids) {
    auto found = contexts_.find(c.flow.role, id);
    if (!found && found.error().code != ErrorCode::kNotFound) {
      end(c, RelayEnd::k_svid_missing, found.error().message);
      return false;
    }
    if (!found) continue;
    own = *found;
    c.own_id = id;
    copy_fingerprint(c.proof.own_certificate, found->certificate);
    return true;
  }
  std::string wanted;
  for (std::string_view id : ids) wanted += (wanted.empty() ? "no SVID of " : ", nor of ") + std::string(id);
  end(c, RelayEnd::k_svid_missing, wanted.empty() ? "policy names no SPIFFE ID for it" : wanted);
  return false;
}

void Worker::connect(Connection& c) {
  // Whoever has no identity to show needn't be connected.
  if (OwnSvid own; c.flow.role == RelayRole::kOriginate && !choose_identity(c, own)) return;
  auto fd = connect_transparently(c.flow.client, c.flow.client_port, c.flow.server, c.flow.server_port);
  if (!fd) return end(c, RelayEnd::k_connect_failed, fd.error().message);
  tune(fd->get());
  c.server.leg.take(std::move(*fd));
  wait_for(c, Phase::kConnect);
  if (auto watched = watch(c.server.leg.fd(), kSideEvents, &c.server); !watched)
    end(c, RelayEnd::k_memory_limit, watched.error().message);
}

void Worker::continue_connect(Connection& c) {
  if (!c.server.leg.writable && !c.server.leg.hung_up) return;
  if (LegStatus status = c.server.leg.failure(); status != LegStatus::kDone)
    return end(c, status == LegStatus::kSilent ? RelayEnd::k_connect_timeout : RelayEnd::k_connect_failed,
               c.server.leg.take_error());
  if (c.flow.role == RelayRole::kTerminate) return establish(c);
  if (secure(c)) continue_handshake(c);
}

/// Starts TLS on the side that speaks it. Ends the connection where it can't be.
bool Worker::secure(Connection& c) {
  OwnSvid own;
  if (!choose_identity(c, own)) return false;
  SslPtr tls(SSL_new(own.context));
  if (tls && c.flow.role == RelayRole::kOriginate) SSL_set_connect_state(tls.get());
  if (tls && c.flow.role == RelayRole::kTerminate) SSL_set_accept_state(tls.get());
  if (!tls || !c.tls_side().leg.secure(std::move(tls))) {
    end(c, RelayEnd::k_memory_limit, "no memory for TLS");
    return false;
  }
  wait_for(c, Phase::kHandshake);
  return true;
}

void Worker::continue_handshake(Connection& c) {
  c.tls_side().leg.begin_turn();
  LegStatus status = c.tls_side().leg.handshake();
  if (status == LegStatus::kLater && !c.in_ready.linked()) ready_.push_back(c.in_ready);
  if (status == LegStatus::kLater || status == LegStatus::kAgain) return;
  if (status != LegStatus::kDone) return fail_handshake(c, status);
  authorize(c);
}

void Worker::fail_handshake(Connection& c, LegStatus status) {
  SSL* tls = c.tls_side().leg.tls();
  auto fault = refused_peer(tls);
  std::string error = c.tls_side().leg.take_error();
  if (!fault) {
    bool bare = error.find("peer did not return a certificate") != std::string::npos;
    if (status == LegStatus::kTruncated) error = "the peer closed the connection";
    if (status == LegStatus::kReset) error = "the peer reset the connection";
    return end(c, bare ? RelayEnd::k_svid_missing_at_peer : RelayEnd::k_handshake_failed, std::move(error));
  }
  end(c, RelayEnd::k_svid_refused, std::string(name_of(*fault)));
}

/// The handshake is done: whether the peer may be who it is, where it is.
void Worker::authorize(Connection& c) {
  SSL* tls = c.tls_side().leg.tls();
  c.proof.tls_version = static_cast<uint16_t>(SSL_version(tls));
  c.proof.cipher_suite = static_cast<uint16_t>(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(tls)));
  c.proof.resumed = SSL_session_reused(tls) == 1 ? 1 : 0;
  auto peer = peer_svid(tls);
  if (!peer) {
    c.peer_id = claimed_id(SSL_get0_peer_certificate(tls));
    return end(c, RelayEnd::k_svid_refused, std::string(name_of(peer.error())));
  }
  c.peer_id = peer->id.text();
  copy_fingerprint(c.proof.peer_certificate, peer->sha256);
  if (!peer_is_allowed(c, peer->id)) {
    std::string_view segment = policy_->current->peer_segment(c.flow);
    return end(c, RelayEnd::k_identity_mismatch,
               c.peer_id + " is none of segment " + (segment.empty() ? "unknown" : std::string(segment)));
  }
  c.authorized = true;
  if (c.flow.role == RelayRole::kOriginate)
    establish(c);
  else
    connect(c);
}

/// By the identities that the flow was announced under, where they are still known, and by the present ones:
/// a flow of just before a change needn't be found again after it.
bool Worker::peer_is_allowed(const Connection& c, const SpiffeId& peer) const {
  const Identities* announced = policy_->of_generation(c.flow.image_generation);
  if (announced && !announced->peer_may_be(c.flow, peer)) return false;
  return policy_->current && policy_->current->peer_may_be(c.flow, peer);
}

void Worker::establish(Connection& c) {
  c.in_waiting.unlink();
  c.established = true;
  c.phase = Phase::kRelay;
  shared_.admission.established(c.flow.client);
  c.proof.handshake_ns = boot_now().ns - c.accepted.ns;
  add(counts_.established[index_of(c.flow.role)], 1);
  add(counts_.resumed, c.proof.resumed);
  report(c, ProofMoment::kEstablished, RelayEnd::kCount, {});
  relay(c);
}

/// Lists of one patience each are in order of their deadlines.
void Worker::wait_for(Connection& c, Phase phase) {
  c.phase = phase;
  bool identities = phase == Phase::kIdentities, handshake = phase == Phase::kHandshake;
  c.deadline = boot_now() + (identities  ? kIdentitiesPatience
                             : handshake ? kHandshakePatience
                                         : kConnectPatience);
  (identities ? unidentified_ : handshake ? handshaking_ : connecting_).push_back(c.in_waiting);
}

/// A connection that is authorized, judged by what is known now. A peer whose SVID has run out since is who
/// it was.
bool Worker::still_allowed(Connection& c, std::string& why) {
  auto own = policy_->current ? policy_->current->own_ids(c.flow) : std::vector<std::string_view>{};
  bool own_is_good = contexts_.has(c.own_id) && std::ranges::find(own, c.own_id) != own.end();
  if (!own_is_good) why = c.own_id + " is not the relay's to show any more";
  auto peer = peer_svid(c.tls_side().leg.tls());
  if (!peer && peer.error() != SvidFault::k_expired) {
    why = c.peer_id + ": " + std::string(name_of(peer.error()));
    return false;
  }
  auto id = parse_spiffe_id(c.peer_id);
  if (!id || !policy_->current || !policy_->current->peer_may_be(c.flow, *id)) {
    why = c.peer_id + " does not belong to its segment any more";
    return false;
  }
  return own_is_good;
}

}  // namespace bulkhead
