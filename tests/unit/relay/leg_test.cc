#include "dataplane/relay/leg.h"

#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include <gtest/gtest.h>

#include "dataplane/relay/connection.h"
#include "svid/tls.h"
#include "tests/unit/svid/certificates.h"

namespace bulkhead {
namespace {

using namespace test;

std::pair<Fd, Fd> make_sockets() {
  int sockets[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets), 0);
  return {Fd(sockets[0]), Fd(sockets[1])};
}

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

struct Heard {
  LegStatus status;
  std::string text;
  bool operator==(const Heard&) const = default;
};
Heard read_from(Leg& leg) {
  std::byte buffer[256];
  LegResult got = leg.read(buffer);
  return {got.status, {reinterpret_cast<const char*>(buffer), got.bytes}};
}

void PrintTo(const Heard& heard, std::ostream* out) {
  *out << static_cast<int>(heard.status) << " '" << heard.text << "'";
}

/// A client and a server, both with SVIDs, that haven't spoken yet.
struct TlsLeg : testing::Test {
  Issued root = issue(authority("root"));
  std::shared_ptr<CurrentTrust> trust = std::make_shared<CurrentTrust>(
      std::make_shared<const TrustStore>(trusting("corp.example", {root.certificate.get()})));
  SslCtxPtr client_context = context(TlsRole::kClient), server_context = context(TlsRole::kServer);
  Leg client, server;

  SslCtxPtr context(TlsRole role) {
    Issued leaf = issue(Certificate{}, &root);
    std::vector<X509Ptr> chain;
    chain.push_back(std::move(leaf.certificate));
    auto own = make_identity(std::move(chain), std::move(leaf.key)).value();
    auto made = make_tls_context(role, own, {.trust = trust, .now = [] { return kNow; }}).value();
    SSL_CTX_set_read_ahead(made.get(), 1);
    return made;
  }
  void SetUp() override { meet(client, server); }
  void meet(Leg& client, Leg& server) {
    auto [one, other] = make_sockets();
    client.take(std::move(one));
    server.take(std::move(other));
    SslPtr c(SSL_new(client_context.get())), s(SSL_new(server_context.get()));
    SSL_set_connect_state(c.get());
    SSL_set_accept_state(s.get());
    client.secure(std::move(c));
    server.secure(std::move(s));
  }
  void shake_hands() { shake_hands(client, server); }
  static void shake_hands(Leg& client, Leg& server) {
    ASSERT_EQ(client.handshake(), LegStatus::kAgain);
    ASSERT_EQ(server.handshake(), LegStatus::kAgain);
    ASSERT_EQ(client.handshake(), LegStatus::kDone);
    ASSERT_EQ(server.handshake(), LegStatus::kDone);
  }
};

TEST_F(TlsLeg, WordsThatCameWithTheHandshakesEnd_AreThereToRead) {
  ASSERT_EQ(client.handshake(), LegStatus::kAgain);
  ASSERT_EQ(server.handshake(), LegStatus::kAgain);
  EXPECT_FALSE(server.readable);
  ASSERT_EQ(client.handshake(), LegStatus::kDone);
  ASSERT_EQ(client.write(bytes("early bird")).status, LegStatus::kDone);
  ASSERT_EQ(server.handshake(), LegStatus::kDone);
  EXPECT_TRUE(server.readable);  // no event comes for them: they were read with the handshake
  EXPECT_EQ(read_from(server), (Heard{LegStatus::kDone, "early bird"}));
}
TEST_F(TlsLeg, CloseNotifyIsAnEnd_AndTheOtherDirectionGoesOn) {
  shake_hands();
  ASSERT_EQ(client.write(bytes("last words")).status, LegStatus::kDone);
  ASSERT_EQ(client.finish(), LegStatus::kDone);
  EXPECT_EQ(read_from(server), (Heard{LegStatus::kDone, "last words"}));
  EXPECT_EQ(read_from(server), (Heard{LegStatus::kEnd, ""}));
  ASSERT_EQ(server.write(bytes("understood")).status, LegStatus::kDone);
  EXPECT_EQ(read_from(client), (Heard{LegStatus::kDone, "understood"}));
  ASSERT_EQ(server.finish(), LegStatus::kDone);
  EXPECT_EQ(read_from(client), (Heard{LegStatus::kEnd, ""}));
}
TEST_F(TlsLeg, FinAlone_IsTruncation) {
  shake_hands();
  ASSERT_EQ(client.write(bytes("half a w")).status, LegStatus::kDone);
  ::shutdown(client.fd(), SHUT_WR);
  EXPECT_EQ(read_from(server), (Heard{LegStatus::kDone, "half a w"}));
  EXPECT_EQ(read_from(server), (Heard{LegStatus::kTruncated, ""}));
}
TEST_F(TlsLeg, ARecordThatWasChanged_IsAnError) {
  shake_hands();
  ASSERT_EQ(::write(client.fd(), "\x17\x03\x03\x00\x11 what is this now", 22), 22);
  EXPECT_EQ(read_from(server).status, LegStatus::kError);
  EXPECT_EQ(server.take_error(), "decryption failed or bad record mac");
}

TEST(PlainLeg, AShortReadIsTheLast_UnlessThePeerHungUp) {
  auto [one, other] = make_sockets();
  Leg leg;
  leg.take(std::move(one));
  ASSERT_EQ(::write(other.get(), "word", 4), 4);
  leg.readable = true;
  EXPECT_EQ(read_from(leg), (Heard{LegStatus::kDone, "word"}));
  EXPECT_FALSE(leg.readable);
  ASSERT_EQ(::write(other.get(), "word", 4), 4);
  other = Fd();
  leg.readable = leg.hung_up = true;
  EXPECT_EQ(read_from(leg), (Heard{LegStatus::kDone, "word"}));
  EXPECT_TRUE(leg.readable);
  EXPECT_EQ(read_from(leg), (Heard{LegStatus::kEnd, ""}));
}

/// Both sides plain, which no role is: what is moved doesn't depend on it.
struct Splice : testing::Test {
  MemoryBudget budget{uint64_t{16} << 20};
  BlockPool pool{budget};
  Connection c{make_relay_announcement()};
  Fd client, server;

  void SetUp() override {
    auto join = [](Side& side, Fd& peer) {
      auto [one, other] = make_sockets();
      side.leg.take(std::move(one));
      side.leg.readable = side.leg.writable = true;
      peer = std::move(other);
    };
    join(c.client, client);
    join(c.server, server);
  }
  void TearDown() override {
    c.client.said.clear(pool);
    c.server.said.clear(pool);
    EXPECT_EQ(budget.used(), 0u);
  }
  static size_t drain(const Fd& peer) {
    std::vector<char> buffer(1 << 20);
    size_t all = 0;
    for (ssize_t n; (n = ::read(peer.get(), buffer.data(), buffer.size())) > 0;)
      all += static_cast<size_t>(n);
    return all;
  }
};

TEST_F(Splice, WhatOneSideSaysTheOtherHears_AndItsEndAfterIt) {
  ASSERT_EQ(::write(client.get(), "ask", 3), 3);
  ::shutdown(client.get(), SHUT_WR);
  c.client.leg.hung_up = true;
  EXPECT_FALSE(splice(c, pool).end);
  char buffer[8];
  EXPECT_EQ(::read(server.get(), buffer, sizeof buffer), 3);
  EXPECT_EQ(::read(server.get(), buffer, sizeof buffer), 0);
  ASSERT_EQ(::write(server.get(), "answer", 6), 6);
  server = Fd();
  c.server.leg.readable = c.server.leg.hung_up = true;
  EXPECT_EQ(splice(c, pool).end, RelayEnd::k_closed);
  EXPECT_EQ(::read(client.get(), buffer, sizeof buffer), 6);
  EXPECT_EQ(c.client.passed, 3u);
  EXPECT_EQ(c.server.passed, 6u);
}
TEST_F(Splice, ASideThatDoesNotListen_StopsTheOther_AndNothingIsLost) {
  std::string piece(65536, 'x');
  size_t sent = 0, quiet = 0;
  while (quiet < 3) {
    ssize_t n = ::write(client.get(), piece.data(), piece.size());
    sent += n > 0 ? static_cast<size_t>(n) : 0;
    quiet = n > 0 ? 0 : quiet + 1;
    c.client.leg.readable = true;
    EXPECT_FALSE(splice(c, pool).end);
  }
  EXPECT_LE(budget.used(), ByteQueue::kMost);
  size_t heard = 0;
  for (int i = 0; i < 100 && heard < sent; ++i) {
    heard += drain(server);
    c.client.leg.readable = c.server.leg.writable = true;
    EXPECT_FALSE(splice(c, pool).end);
  }
  EXPECT_EQ(heard, sent);
}
TEST_F(Splice, AStreamGivesWayToOthersAfterItsTurn) {
  std::vector<char> much(100'000, 'x');
  ASSERT_GT(::write(client.get(), much.data(), much.size()), 50'000);
  auto outcome = splice(c, pool);
  EXPECT_FALSE(outcome.end);
  size_t heard = drain(server);
  while (outcome.more) outcome = splice(c, pool), heard += drain(server);
  EXPECT_GT(heard, 50'000u);
}

}  // namespace
}  // namespace bulkhead
