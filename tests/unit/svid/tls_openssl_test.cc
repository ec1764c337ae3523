// OpenSSL's own command as the peer, over loopback: it shares the library with us, but none of our settings.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include <gtest/gtest.h>

#include "base/fd.h"
#include "svid/tls.h"
#include "tests/unit/engine/temporary_directory.h"
#include "tests/unit/svid/certificates.h"

namespace bulkhead {
namespace {

using namespace test;

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// A port of loopback that somebody listens at, or could.
struct Listener {
  Listener() : fd(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t bytes = sizeof address;
    bool listens = ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), bytes) == 0 &&
                   ::listen(fd.get(), 1) == 0 &&
                   ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &bytes) == 0;
    EXPECT_TRUE(listens);
    port = ntohs(address.sin_port);
  }
  Fd fd;
  uint16_t port = 0;
};

class OpensslCommand : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("openssl version >/dev/null 2>&1") != 0) GTEST_SKIP() << "openssl isn't installed";
    directory_.write("root.pem", to_pem(root_.certificate.get()));
    directory_.write("middle.pem", to_pem(middle_.certificate.get()));
    directory_.write("peer.pem", to_pem(peer_.certificate.get()));
    directory_.write("peer.key", to_pem(peer_.key.get()));
  }
  /// The times of these certificates are real ones.
  Certificate timed(Certificate what) {
    int64_t from_now = (wall_now().ns - kNow.ns) / 1'000'000'000;
    what.not_before = from_now - kHour, what.not_after = from_now + kHour;
    return what;
  }
  Issued workload(const char* id) {
    Certificate what;
    what.names = {{GEN_URI, id}};
    return issue(timed(what), &middle_);
  }
  SslCtxPtr context(TlsRole role) {
    Issued leaf = workload("spiffe://corp.example/db");
    std::vector<X509Ptr> chain = shared({leaf.certificate.get(), middle_.certificate.get()});
    auto trust = std::make_shared<const TrustStore>(trusting("corp.example", {root_.certificate.get()}));
    return *make_tls_context(role, *make_identity(std::move(chain), std::move(leaf.key)),
                             {std::make_shared<CurrentTrust>(trust)});
  }
  std::string own_options() {
    return " -cert " + directory_.path("peer.pem") + " -key " + directory_.path("peer.key") +
           " -cert_chain " + directory_.path("middle.pem");
  }
  /// Runs `openssl WHAT` to its end; its output is in the file "out".
  std::thread start(const std::string& what) {
    return std::thread([command = "openssl " + what + " -CAfile " + directory_.path("root.pem") +
                                  " -verify_return_error </dev/null >" + directory_.path("out") +
                                  " 2>&1"] { (void)!std::system(command.c_str()); });
  }
  /// Serves one s_client; the handshake's end.
  std::string serve(const std::string& options) {
    Listener listener;
    SslCtxPtr server = context(TlsRole::kServer);
    std::thread client = start("s_client -connect 127.0.0.1:" + std::to_string(listener.port) + options);
    Fd accepted(::accept(listener.fd.get(), nullptr, nullptr));
    SslPtr ssl(SSL_new(server.get()));
    SSL_set_fd(ssl.get(), accepted.get());
    std::string result = "none";
    if (SSL_accept(ssl.get()) == 1) {
      auto svid = peer_svid(ssl.get());
      result = svid ? svid->id.text() : std::string(name_of(svid.error()));
      SSL_shutdown(ssl.get());
    } else if (auto fault = refused_peer(ssl.get())) {
      result = name_of(*fault);
    } else {
      result = fail_openssl(ErrorCode::kInvalid, "").error().message;
    }
    ssl.reset();
    accepted = Fd();
    client.join();
    return result;
  }
  bool said(const std::string& words) { return directory_.read("out").find(words) != std::string::npos; }

  TemporaryDirectory directory_;
  Issued root_ = issue(timed(authority("root"))), middle_ = issue(timed(authority("middle")), &root_),
         peer_ = workload("spiffe://corp.example/web");
};

TEST_F(OpensslCommand, AsClient_IsKnownAndTrustsUs) {
  EXPECT_EQ(serve(own_options()), "spiffe://corp.example/web");
  EXPECT_TRUE(said("Verification: OK")) << directory_.read("out");
  EXPECT_TRUE(said("TLSv1.3")) << directory_.read("out");
}
TEST_F(OpensslCommand, AsClientWithoutCertificate_IsRefused) {
  EXPECT_NE(serve("").find("peer did not return a certificate"), std::string::npos);
}
TEST_F(OpensslCommand, AsClientWithoutItsIntermediate_IsRefused) {
  EXPECT_EQ(serve(" -cert " + directory_.path("peer.pem") + " -key " + directory_.path("peer.key")),
            "chain_untrusted");
}
TEST_F(OpensslCommand, AsClientOfTls12_IsRefused) {
  EXPECT_NE(serve(own_options() + " -tls1_2").find("unsupported protocol"), std::string::npos);
  EXPECT_TRUE(said("alert protocol version")) << directory_.read("out");
}
TEST_F(OpensslCommand, AsServer_IsKnownAndTrustsUs) {
  uint16_t port = Listener().port;
  std::thread server =
      start("s_server -naccept 1 -rev -Verify 3 -accept 127.0.0.1:" + std::to_string(port) + own_options());
  sockaddr_in address = loopback(port);
  Fd connected;
  for (int i = 0; i < 200; ++i) {
    connected = Fd(::socket(AF_INET, SOCK_STREAM, 0));
    if (::connect(connected.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) break;
    ::usleep(50'000);
  }
  SslCtxPtr client = context(TlsRole::kClient);
  SslPtr ssl(SSL_new(client.get()));
  SSL_set_fd(ssl.get(), connected.get());
  ASSERT_EQ(SSL_connect(ssl.get()), 1) << fail_openssl(ErrorCode::kInvalid, "").error().message;
  auto svid = peer_svid(ssl.get());
  ASSERT_TRUE(svid);
  EXPECT_EQ(svid->id.text(), "spiffe://corp.example/web");
  // The server has our certificate, and took it, once it answers.
  EXPECT_EQ(SSL_write(ssl.get(), "abc\n", 4), 4);
  char answer[4] = {};
  EXPECT_EQ(SSL_read(ssl.get(), answer, sizeof answer), 4);
  EXPECT_EQ(std::string(answer, 3), "cba");
  SSL_shutdown(ssl.get());
  ssl.reset();
  connected = Fd();
  server.join();
}

}  // namespace
}  // namespace bulkhead
