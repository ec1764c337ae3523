// Handshakes over a socket pair, both ends in one thread.
#include "svid/tls.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#include "tests/unit/svid/certificates.h"

namespace bulkhead {
namespace {

using namespace test;

std::shared_ptr<const TrustStore> to_trust(const Issued& root, const std::vector<X509_CRL*>& crls = {}) {
  return std::make_shared<const TrustStore>(trusting("corp.example", {root.certificate.get()}, crls));
}

/// One end of a connection.
class End {
 public:
  End(SSL_CTX* context, int socket, bool server) : ssl_(SSL_new(context)), socket_(socket) {
    ::fcntl(socket, F_SETFL, O_NONBLOCK);
    SSL_set_fd(ssl_.get(), socket);
    server ? SSL_set_accept_state(ssl_.get()) : SSL_set_connect_state(ssl_.get());
  }
  End(const End&) = delete;
  ~End() {
    // OpenSSL lets nobody resume a session whose connection wasn't closed.
    SSL_set_shutdown(ssl(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    ::close(socket_);
  }
  SSL* ssl() const { return ssl_.get(); }
  bool is_done() const { return SSL_is_init_finished(ssl_.get()) == 1; }
  bool has_failed() const { return failed_; }
  /// Goes on with the handshake, and afterwards reads: tickets and alerts come after it.
  void step() {
    if (failed_) return;
    ERR_clear_error();
    char byte;
    int got = is_done() ? SSL_read(ssl(), &byte, 1) : SSL_do_handshake(ssl());
    int error = got > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl(), got);
    failed_ = error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL;
    if (failed_) why_ = fail_openssl(ErrorCode::kInvalid, "").error().message;
  }
  const std::string& why() const { return why_; }

 private:
  SslPtr ssl_;
  int socket_;
  bool failed_ = false;
  std::string why_;
};

/// Both ends, after a handshake that went as it would.
struct Connection {
  Connection(SSL_CTX* client_context, SSL_CTX* server_context, SSL_SESSION* session = nullptr)
      : Connection(make_pair(), client_context, server_context, session) {}
  Connection(std::array<int, 2> sockets, SSL_CTX* client_context, SSL_CTX* server_context,
             SSL_SESSION* session)
      : client(client_context, sockets[0], false), server(server_context, sockets[1], true) {
    if (session != nullptr) SSL_set_session(client.ssl(), session);
    for (int i = 0; i < 20; ++i) client.step(), server.step();
  }
  static std::array<int, 2> make_pair() {
    std::array<int, 2> sockets{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets.data()), 0);
    return sockets;
  }
  bool stands() const {
    return client.is_done() && server.is_done() && !client.has_failed() && !server.has_failed();
  }
  bool resumed() const {
    return SSL_session_reused(client.ssl()) == 1 && SSL_session_reused(server.ssl()) == 1;
  }

  End client, server;
};

std::string id_of(const std::expected<VerifiedSvid, SvidFault>& svid) {
  return svid ? svid->id.text() : std::string(name_of(svid.error()));
}

std::string fault_at(const End& end) {
  auto fault = refused_peer(end.ssl());
  return fault ? std::string(name_of(*fault)) : "none";
}

class Tls : public testing::Test {
 protected:
  SvidIdentity identity(const char* id, const Issued& issuer, std::vector<X509Ptr> above = {}) {
    Certificate what;
    what.names = {{GEN_URI, id}};
    Issued leaf = issue(what, &issuer);
    std::vector<X509Ptr> chain;
    chain.push_back(std::move(leaf.certificate));
    for (X509Ptr& one : above) chain.push_back(std::move(one));
    return *make_identity(std::move(chain), std::move(leaf.key));
  }
  SslCtxPtr context(TlsRole role, const SvidIdentity& own) {
    auto made = make_tls_context(role, own,
                                 {role == TlsRole::kServer ? trust_ : clients_trust_, kClockSkew,
                                  [this, role] { return role == TlsRole::kServer ? now_ : kNow; }});
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  /// What the server trusts from now on.
  void trust(std::shared_ptr<const TrustStore> store) { trust_->replace(std::move(store)); }

  WallTime now_ = kNow;  ///< the server's
  Issued root_ = issue(authority("root")), middle_ = issue(authority("middle"), &root_);
  std::shared_ptr<CurrentTrust> trust_ = std::make_shared<CurrentTrust>(to_trust(root_)),
                                clients_trust_ = std::make_shared<CurrentTrust>(to_trust(root_));
  SvidIdentity web_ = identity("spiffe://corp.example/web", middle_, shared({middle_.certificate.get()}));
  SvidIdentity db_ = identity("spiffe://corp.example/db", middle_, shared({middle_.certificate.get()}));
  SslCtxPtr client_ = context(TlsRole::kClient, web_), server_ = context(TlsRole::kServer, db_);
};

TEST_F(Tls, BothEnds_KnowEachOther) {
  Connection c(client_.get(), server_.get());
  ASSERT_TRUE(c.stands()) << c.client.why() << c.server.why();
  EXPECT_EQ(id_of(peer_svid(c.client.ssl())), "spiffe://corp.example/db");
  EXPECT_EQ(id_of(peer_svid(c.server.ssl())), "spiffe://corp.example/web");
  EXPECT_EQ(SSL_version(c.client.ssl()), TLS1_3_VERSION);
  EXPECT_FALSE(c.resumed());
}
TEST_F(Tls, BeforeTheHandshake_NobodyIsProven) {
  SslPtr ssl(SSL_new(client_.get()));
  EXPECT_EQ(id_of(peer_svid(ssl.get())), "certificate_missing");
  EXPECT_FALSE(refused_peer(ssl.get()));
}

/// A client or server of no code under test, for what ours would never do.
SslCtxPtr stranger(const SSL_METHOD* method, const SvidIdentity* own) {
  SslCtxPtr context(SSL_CTX_new(method));
  bool used = own == nullptr || (SSL_CTX_use_certificate(context.get(), own->leaf()) == 1 &&
                                 SSL_CTX_use_PrivateKey(context.get(), own->key.get()) == 1 &&
                                 SSL_CTX_add1_chain_cert(context.get(), own->chain.back().get()) == 1);
  EXPECT_TRUE(used);
  return context;
}

TEST_F(Tls, ForeignClientWithItsSvid_IsAccepted) {
  SslCtxPtr client = stranger(TLS_client_method(), &web_);
  Connection c(client.get(), server_.get());
  ASSERT_TRUE(c.stands()) << c.server.why();
  EXPECT_EQ(id_of(peer_svid(c.server.ssl())), "spiffe://corp.example/web");
}
TEST_F(Tls, ChainWithoutItsIntermediate_IsRefused_ThoughTheWholeOneWasGoodAMomentAgo) {
  ASSERT_TRUE(Connection(client_.get(), server_.get()).stands());
  SslCtxPtr client(SSL_CTX_new(TLS_client_method()));
  ASSERT_TRUE(SSL_CTX_use_certificate(client.get(), web_.leaf()) == 1 &&
              SSL_CTX_use_PrivateKey(client.get(), web_.key.get()) == 1);
  SSL_CTX_set_mode(client.get(), SSL_MODE_NO_AUTO_CHAIN);
  Connection c(client.get(), server_.get());
  EXPECT_FALSE(c.stands());
  EXPECT_EQ(fault_at(c.server), "chain_untrusted");
}
TEST_F(Tls, PeerThatWasGoodAMomentAgo_IsRefusedOnceTrustHasChanged) {
  ASSERT_TRUE(Connection(client_.get(), server_.get()).stands());
  trust(to_trust(issue(authority("another"))));
  Connection c(client_.get(), server_.get());
  EXPECT_FALSE(c.stands());
  EXPECT_EQ(fault_at(c.server), "chain_untrusted");
}
TEST_F(Tls, ClientWithoutCertificate_IsRefused) {
  SslCtxPtr client = stranger(TLS_client_method(), nullptr);
  Connection c(client.get(), server_.get());
  EXPECT_FALSE(c.stands());
  EXPECT_NE(c.server.why().find("peer did not return a certificate"), std::string::npos) << c.server.why();
  EXPECT_EQ(id_of(peer_svid(c.server.ssl())), "certificate_missing");
}

/// A key that pretends to belong to `pretended`'s certificate, as a thief of certificates has one.
EvpPkeyPtr disguised(const EVP_PKEY* own, const EVP_PKEY* pretended) {
  BIGNUM* secret = nullptr;
  EVP_PKEY_get_bn_param(own, OSSL_PKEY_PARAM_PRIV_KEY, &secret);
  std::array<uint8_t, 256> point;
  size_t bytes = 0;
  EVP_PKEY_get_octet_string_param(pretended, OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size(), &bytes);
  OSSL_PARAM_BLD* builder = OSSL_PARAM_BLD_new();
  OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
  OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, secret);
  OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point.data(), bytes);
  OSSL_PARAM* parameters = OSSL_PARAM_BLD_to_param(builder);
  EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr);
  EVP_PKEY* key = nullptr;
  EVP_PKEY_fromdata_init(context);
  EXPECT_EQ(EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, parameters), 1);
  EVP_PKEY_CTX_free(context), OSSL_PARAM_free(parameters), OSSL_PARAM_BLD_free(builder),
      BN_clear_free(secret);
  return EvpPkeyPtr(key);
}

TEST_F(Tls, StolenCertificateWithAnotherKey_IsRefused) {
  EvpPkeyPtr own = make_key("P-256");
  web_.key = disguised(own.get(), web_.key.get());
  SslCtxPtr client = stranger(TLS_client_method(), &web_);
  Connection c(client.get(), server_.get());
  EXPECT_FALSE(c.stands());
  EXPECT_NE(c.server.why().find("bad signature"), std::string::npos) << c.server.why();
  EXPECT_EQ(id_of(peer_svid(c.server.ssl())), "certificate_missing")
      << "the certificate alone proves nothing";
}
TEST_F(Tls, Tls12_IsRefusedByBoth) {
  SslCtxPtr client = stranger(TLS_client_method(), &web_), server = stranger(TLS_server_method(), &db_);
  SSL_CTX_set_max_proto_version(client.get(), TLS1_2_VERSION);
  Connection c(client.get(), server_.get());
  EXPECT_FALSE(c.stands());
  EXPECT_NE(c.server.why().find("unsupported protocol"), std::string::npos) << c.server.why();
  SSL_CTX_set_max_proto_version(server.get(), TLS1_2_VERSION);
  Connection d(client_.get(), server.get());
  EXPECT_FALSE(d.stands());
  SSL_CTX_set_max_proto_version(client.get(), TLS1_3_VERSION);
  EXPECT_TRUE(Connection(client.get(), server_.get()).stands());
}
TEST_F(Tls, PeerThatIsNotTrusted_IsRefusedWithTheFault) {
  Issued other = issue(authority("other"));
  SvidIdentity forger = identity("spiffe://corp.example/web", other);
  SslCtxPtr client = context(TlsRole::kClient, forger);
  Connection c(client.get(), server_.get());
  EXPECT_FALSE(c.stands());
  EXPECT_EQ(fault_at(c.server), "chain_untrusted");
  SslCtxPtr server = context(TlsRole::kServer, forger);
  Connection d(client_.get(), server.get());
  EXPECT_FALSE(d.stands());
  EXPECT_EQ(fault_at(d.client), "chain_untrusted");
}
TEST_F(Tls, HundredCertificatesAndAHugeOne_AreRefused) {
  SslCtxPtr client = stranger(TLS_client_method(), &web_);
  for (int i = 0; i < 99; ++i) SSL_CTX_add1_chain_cert(client.get(), middle_.certificate.get());
  Connection c(client.get(), server_.get());
  EXPECT_FALSE(c.stands());
  EXPECT_EQ(fault_at(c.server), "chain_too_long");

  Certificate huge;
  huge.others = {{"1.3.6.1.4.1.55555.1", "DER:04830fffff" + std::string(2 * 0xfffff, '0')}};
  Issued leaf = issue(huge, &root_);
  SvidIdentity own{web_.id, {}, std::move(leaf.key)};
  own.chain.push_back(std::move(leaf.certificate));
  SslCtxPtr second = stranger(TLS_client_method(), nullptr);
  SSL_CTX_use_certificate(second.get(), own.leaf());
  SSL_CTX_use_PrivateKey(second.get(), own.key.get());
  Connection d(second.get(), server_.get());
  EXPECT_FALSE(d.stands());
  EXPECT_NE(d.server.why().find("excessive message size"), std::string::npos) << d.server.why();
}

// --- a trust store that changes under a live connection

TEST_F(Tls, LiveConnection_IsJudgedAnewUnderTheNewTrustStore) {
  Connection c(client_.get(), server_.get());
  ASSERT_TRUE(c.stands());
  trust(to_trust(root_, {revoke(middle_, {web_.leaf()}).get()}));
  EXPECT_EQ(id_of(peer_svid(c.server.ssl())), "revoked");
  EXPECT_EQ(id_of(peer_svid(c.client.ssl())), "spiffe://corp.example/db");
  trust(std::make_shared<const TrustStore>());
  EXPECT_EQ(id_of(peer_svid(c.server.ssl())), "trust_domain_unknown");
  trust(to_trust(root_));
  EXPECT_EQ(id_of(peer_svid(c.server.ssl())), "spiffe://corp.example/web");
}
TEST_F(Tls, LiveConnection_EndsWithItsCertificate) {
  Connection c(client_.get(), server_.get());
  now_ = after(kHour + 59);
  EXPECT_EQ(id_of(peer_svid(c.server.ssl())), "spiffe://corp.example/web");
  now_ = after(kHour + 60);
  EXPECT_EQ(id_of(peer_svid(c.server.ssl())), "expired");
}

// --- resumption (M11)

class TlsResumption : public Tls {
 protected:
  /// A session that the server gave a ticket for.
  SslSessionPtr session() {
    Connection first(client_.get(), server_.get());
    EXPECT_TRUE(first.stands());
    SslSessionPtr session(SSL_get1_session(first.client.ssl()));
    EXPECT_EQ(SSL_SESSION_is_resumable(session.get()), 1);
    return session;
  }
};

TEST_F(TlsResumption, KnowsThePeerThroughItsIntermediates) {
  Connection c(client_.get(), server_.get(), session().get());
  ASSERT_TRUE(c.stands());
  EXPECT_TRUE(c.resumed());
  EXPECT_EQ(id_of(peer_svid(c.server.ssl())), "spiffe://corp.example/web");
  EXPECT_EQ(id_of(peer_svid(c.client.ssl())), "spiffe://corp.example/db");
  // A ticket that a resumed session got is as good.
  SslSessionPtr second(SSL_get1_session(c.client.ssl()));
  Connection d(client_.get(), server_.get(), second.get());
  EXPECT_TRUE(d.stands() && d.resumed());
  now_ = after(2);  // the answer of the handshake is too old
  EXPECT_EQ(id_of(peer_svid(d.server.ssl())), "spiffe://corp.example/web");
}
TEST_F(TlsResumption, AfterRevocation_IsRefused) {
  SslSessionPtr known = session();
  trust(to_trust(root_, {revoke(middle_, {web_.leaf()}).get()}));
  Connection c(client_.get(), server_.get(), known.get());
  EXPECT_FALSE(c.stands());
  EXPECT_EQ(fault_at(c.server), "revoked");
}
TEST_F(TlsResumption, AfterTheBundleIsGone_IsRefused) {
  SslSessionPtr known = session();
  trust(std::make_shared<const TrustStore>());
  Connection c(client_.get(), server_.get(), known.get());
  EXPECT_FALSE(c.stands());
  EXPECT_EQ(fault_at(c.server), "trust_domain_unknown");
}
TEST_F(TlsResumption, OfAnExpiredSvid_IsRefused) {
  SslSessionPtr known = session();
  now_ = after(kHour + 60);
  Connection c(client_.get(), server_.get(), known.get());
  EXPECT_FALSE(c.stands());
  EXPECT_EQ(fault_at(c.server), "expired");
}
TEST_F(TlsResumption, AfterAChangeThatKeepsThePeer_GoesOn) {
  SslSessionPtr known = session();
  trust(to_trust(root_, {revoke(middle_, {}).get()}));
  EXPECT_TRUE(Connection(client_.get(), server_.get(), known.get()).resumed());
}
TEST_F(TlsResumption, TicketOfAnotherListenerIdentityOrRole_IsIgnored) {
  SslSessionPtr known = session();
  SslCtxPtr second = context(TlsRole::kServer, db_), other = context(TlsRole::kServer, web_);
  for (SSL_CTX* server : {second.get(), other.get()}) {
    Connection c(client_.get(), server, known.get());
    EXPECT_TRUE(c.stands());
    EXPECT_FALSE(c.resumed());
  }
  EXPECT_TRUE(Connection(client_.get(), server_.get(), known.get()).resumed());
}
TEST_F(TlsResumption, TicketKeysShared_SessionsStayBoundToTheIdentity) {
  SslSessionPtr known = session();
  SslCtxPtr same = context(TlsRole::kServer, db_), other = context(TlsRole::kServer, web_);
  std::array<uint8_t, 80> keys;
  SSL_CTX_get_tlsext_ticket_keys(server_.get(), keys.data(), keys.size());
  for (SSL_CTX* server : {same.get(), other.get()})
    SSL_CTX_set_tlsext_ticket_keys(server, keys.data(), keys.size());
  EXPECT_TRUE(Connection(client_.get(), same.get(), known.get()).resumed());
  EXPECT_FALSE(Connection(client_.get(), other.get(), known.get()).resumed());
}
TEST_F(TlsResumption, ClientOffers_OnlyWhileItTrustsTheServer) {
  SslSessionPtr known = session();
  SslPtr ssl(SSL_new(client_.get()));
  EXPECT_FALSE(offer_session(ssl.get(), known.get()));
  EXPECT_NE(SSL_get0_session(ssl.get()), nullptr);
  clients_trust_->replace(to_trust(root_, {revoke(middle_, {db_.leaf()}).get()}));
  SslPtr later(SSL_new(client_.get()));
  EXPECT_EQ(offer_session(later.get(), known.get()), SvidFault::k_revoked);
  EXPECT_EQ(SSL_get0_session(later.get()), nullptr);
}
TEST_F(TlsResumption, ChainTooLargeForATicket_GetsNone) {
  Certificate what;
  what.names = {{GEN_URI, "spiffe://corp.example/web"}};
  what.others = {{"1.3.6.1.4.1.55555.1", "DER:04822000" + std::string(2 * 0x2000, '0')}};
  Issued leaf = issue(what, &root_);
  std::vector<X509Ptr> chain;
  chain.push_back(std::move(leaf.certificate));
  SvidIdentity large = *make_identity(std::move(chain), std::move(leaf.key));
  SslCtxPtr client = context(TlsRole::kClient, large);
  Connection c(client.get(), server_.get());
  ASSERT_TRUE(c.stands()) << c.client.why() << c.server.why();
  SslSessionPtr none(SSL_get1_session(c.client.ssl()));
  EXPECT_EQ(SSL_SESSION_is_resumable(none.get()), 0);
}
TEST_F(TlsResumption, NoTicketAllowsEarlyData) {
  EXPECT_EQ(SSL_SESSION_get_max_early_data(session().get()), 0u);
}
TEST_F(Tls, Renegotiation_IsRefused) {
  Connection c(client_.get(), server_.get());
  ASSERT_TRUE(c.stands());
  EXPECT_EQ(SSL_renegotiate(c.client.ssl()), 0);
  ERR_clear_error();
}

// --- identities

TEST(Identity, KeyOfAnotherCertificate_IsRefused) {
  Issued root = issue(authority("root")), leaf = issue({}, &root), other = issue({}, &root);
  EXPECT_TRUE(make_identity(shared({leaf.certificate.get()}), std::move(leaf.key)));
  auto wrong = make_identity(shared({leaf.certificate.get()}), std::move(other.key));
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("isn't the first certificate's"), std::string::npos);
  EXPECT_EQ(ERR_peek_error(), 0u);
}
TEST(Identity, CertificateThatNobodyWouldTake_IsRefusedWithItsFault) {
  Issued root = issue(authority("root"));
  auto wrong = make_identity(shared({root.certificate.get()}), std::move(root.key));
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("uri_san_missing"), std::string::npos);
}

}  // namespace
}  // namespace bulkhead
