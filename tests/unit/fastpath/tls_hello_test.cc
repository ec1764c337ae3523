// Each thing that can be wrong with a hello alone, and its own answer: read at once, and byte by byte.
#include "dataplane/fastpath/tls_hello.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "tls_bytes.h"

namespace bulkhead {
namespace {

using namespace test;

constexpr unsigned kClient = 0, kServer = 1;
struct Said {
  unsigned direction;
  Bytes bytes;
};
using Talk = std::vector<Said>;

struct Outcome {
  TlsFault fault = TlsFault::kNone;
  size_t at = 0;  ///< which of what was said it is in
  bool verified = false;
  std::string name;
  uint16_t suite = 0;
  bool operator==(const Outcome&) const = default;
};

void PrintTo(const Outcome& o, std::ostream* out) {
  *out << (o.fault == TlsFault::kNone ? "good" : std::string(text_of(o.fault))) << " in " << o.at
       << (o.verified ? ", verified" : "") << ", name '" << o.name << "', suite " << o.suite;
}

/// Reads a talk in pieces of at most `piece` bytes.
Outcome read(const Talk& talk, size_t piece) {
  TlsHellos hellos;
  Outcome outcome;
  for (const Said& said : talk) {
    for (std::span<const uint8_t> rest = said.bytes; !rest.empty() && !hellos.verified();) {
      auto part = rest.first(std::min(rest.size(), piece));
      size_t taken = 0;
      outcome.fault = hellos.take(said.direction, part, taken);
      if (outcome.fault != TlsFault::kNone) return outcome;
      EXPECT_TRUE(taken == part.size() || hellos.verified());
      rest = rest.subspan(taken);
    }
    ++outcome.at;
  }
  outcome.verified = hellos.verified();
  outcome.name = hellos.name();
  if (outcome.verified) outcome.suite = hellos.suite();
  return outcome;
}

/// The same however it is cut.
Outcome read(const Talk& talk) {
  Outcome whole = read(talk, SIZE_MAX);
  for (size_t piece : {1, 2, 3, 5, 7, 64}) EXPECT_EQ(read(talk, piece), whole) << "in pieces of " << piece;
  return whole;
}

Talk handshake(const TlsHello& client, const TlsHello& server) {
  return {{kClient, build(client)}, {kServer, build(server)}};
}
Talk operator+(Talk first, const Talk& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// What is wrong with a good ClientHello after `change`; the talk goes on with a good ServerHello.
TlsFault with_client(const std::function<void(TlsHello&)>& change) {
  TlsHello client = client_hello("db.corp.example");
  change(client);
  Outcome outcome = read(handshake(client, server_hello()));
  EXPECT_EQ(outcome.fault == TlsFault::kNone, outcome.verified);
  EXPECT_EQ(outcome.at, outcome.fault != TlsFault::kNone ? 0u : 2u) << "found in the ClientHello itself";
  return outcome.fault;
}
TlsFault with_server(const std::function<void(TlsHello&)>& change) {
  TlsHello server = server_hello();
  change(server);
  Outcome outcome = read(handshake(client_hello("db.corp.example"), server));
  EXPECT_EQ(outcome.fault == TlsFault::kNone, outcome.verified);
  return outcome.fault;
}

#define EXPECT_FAULT(with, fault, ...) EXPECT_EQ(with([](TlsHello & h) __VA_ARGS__), TlsFault::fault)
const auto kAsItIs = [](TlsHello&) {};

TEST(TlsHellos, GoodOnes_AreVerifiedWithNameAndSuite) {
  TlsHello client = client_hello("DB.Corp.Example"), server = server_hello();
  server.suites = {0x1303};
  Outcome good{TlsFault::kNone, 2, true, "db.corp.example", 0x1303};
  EXPECT_EQ(read(handshake(client, server)), good);
  client.record_bytes = server.record_bytes = 1;
  EXPECT_EQ(read(handshake(client, server)), good) << "a record for each byte";
  client = client_hello("");
  good.name = "";
  EXPECT_EQ(read(handshake(client, server)), good) << "no server name";
}

TEST(TlsHellos, WhatFollowsTheServerHello_IsNotLookedAt) {
  TlsHellos hellos;
  size_t taken;
  Bytes client = build(client_hello("a")), server = build(server_hello());
  size_t hello = server.size();
  EXPECT_EQ(hellos.take(kClient, client, taken), TlsFault::kNone);
  append(server, std::string("anything"));
  EXPECT_EQ(hellos.take(kServer, server, taken), TlsFault::kNone);
  EXPECT_TRUE(hellos.verified());
  EXPECT_EQ(taken, hello);
}

TEST(TlsRecords, ThatAreNone_AreRefusedAtTheirFirstWrongByte) {
  EXPECT_EQ(with_client(kAsItIs), TlsFault::kNone);
  for (uint8_t type : {0, 20, 21, 23, 24, 0x80, 0x47})
    EXPECT_EQ(with_client([type](TlsHello& h) { h.record_type = type; }), TlsFault::kRecordType) << +type;
  for (uint16_t version : {0x0301, 0x0302, 0x0303})
    EXPECT_EQ(with_client([version](TlsHello& h) { h.record_version = version; }), TlsFault::kNone);
  for (uint16_t version : {0x0300, 0x0304, 0x0002, 0x0403, 0x0201})
    EXPECT_EQ(with_client([version](TlsHello& h) { h.record_version = version; }), TlsFault::kRecordVersion)
        << version;
  for (const char* text : {"GET / HTTP/1.1\r\n", "EHLO x\r\n", "SSH-2.0-x\r\n"}) {
    Bytes bytes;
    append(bytes, std::string_view(text));
    EXPECT_EQ(read({{kClient, bytes}}).fault, TlsFault::kRecordType) << text;
  }
  EXPECT_EQ(read({{kClient, {0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f}}}).fault, TlsFault::kRecordType)
      << "PostgreSQL's SSLRequest";
}

TEST(TlsRecords, EmptyAndTooLong_AreRefused) {
  EXPECT_EQ(read({{kClient, tls_record(22, Bytes{})}}).fault, TlsFault::kRecordLength);
  EXPECT_EQ(read({{kClient, {22, 3, 1, 0x40, 0x01}}}).fault, TlsFault::kRecordLength);
  EXPECT_EQ(read({{kClient, {22, 3, 1, 0x40, 0x00}}}).fault, TlsFault::kNone) << "16 KiB exactly";
  EXPECT_EQ(read({{kClient, {22, 3, 1, 0x41}}}).fault, TlsFault::kRecordLength);
}

TEST(ClientHello, MessageOfAnotherType_IsRefused) {
  EXPECT_FAULT(with_client, kMessageType, { h.message_type = 2; });
  EXPECT_EQ(read({{kClient, tls_record(22, Bytes{0, 0, 0, 0})}}).fault, TlsFault::kMessageType);
}

TEST(ClientHello, LegacyFields_AreThoseOfTls13) {
  EXPECT_FAULT(with_client, kLegacyVersion, { h.legacy_version = 0x0304; });
  EXPECT_FAULT(with_client, kLegacyVersion, { h.legacy_version = 0x0302; });
  EXPECT_FAULT(with_client, kCompression, { h.compression = {1}; });
  EXPECT_FAULT(with_client, kCompression, { h.compression = {}; });
  EXPECT_FAULT(with_client, kCompression, { h.compression = {0, 1}; });
  EXPECT_FAULT(with_client, kNone, { h.session = {}; });
}

TEST(ClientHello, LengthsThatLie_AreRefused) {
  EXPECT_FAULT(with_client, kLengths, { h.session = Bytes(33); });
  EXPECT_FAULT(with_client, kLengths, { h.suites = {}; });
  EXPECT_FAULT(with_client, kLengths, { h.extensions_length_off = 1; });
  EXPECT_FAULT(with_client, kLengths, { h.extensions_length_off = -1; });
  EXPECT_FAULT(with_client, kLengths, { h.message_length_off = -1; });
  EXPECT_FAULT(with_client, kLengths, { h.message_length_off = 1; });
  EXPECT_EQ(read({{kClient, tls_record(22, Bytes{1, 0, 0, 0})}}).fault, TlsFault::kLengths) << "empty";
  EXPECT_EQ(read({{kClient, tls_record(22, Bytes{1, 0, 0x40, 1})}}).fault, TlsFault::kTooLong);
  // Each length inside, one too large for what holds it.
  Bytes good = build(client_hello("db.corp.example"));
  for (size_t at : {43u, 77u, 84u, 87u, 91u}) {  // session, suites, compression, extensions, the first one's
    Bytes bad = good;
    bad[at] = 0xff;
    EXPECT_NE(read({{kClient, bad}}).fault, TlsFault::kNone) << at;
  }
}

TEST(ClientHello, OddListOfSuites_IsRefused) {
  Bytes hello = build(client_hello("a"));
  constexpr size_t kSuites = 5 + 4 + 2 + 32 + 33;
  ASSERT_EQ(get16(hello, kSuites), 6);
  set16(hello, kSuites, 5);
  EXPECT_EQ(read({{kClient, hello}}).fault, TlsFault::kLengths);
}

TEST(ClientHello, ThatEndsInsideARecord_IsRefused) {
  Bytes record = build(client_hello("a"));
  set16(record, 3, static_cast<uint16_t>(get16(record, 3) + 1));
  EXPECT_EQ(read({{kClient, record}}).fault, TlsFault::kBoundary) << "before the byte too much is there";
  record.push_back(0);
  EXPECT_EQ(read({{kClient, record}}).fault, TlsFault::kBoundary);
}

TEST(ClientHello, Extensions_StandOnceAndAreNotTooMany) {
  EXPECT_FAULT(with_client, kDuplicateExtension, { h.extensions.push_back({51, {}}); });
  EXPECT_FAULT(with_client, kDuplicateExtension, {
    h.extensions.push_back({0x0a0a, {}});
    h.extensions.push_back({0x0a0a, {1}});
  });
  auto with_extensions = [](size_t count) {
    return with_client([count](TlsHello& h) {
      for (uint16_t type = 1000; h.extensions.size() < count; ++type) h.extensions.push_back({type, {}});
    });
  };
  EXPECT_EQ(with_extensions(64), TlsFault::kNone);
  EXPECT_EQ(with_extensions(65), TlsFault::kTooManyExtensions);
}

TEST(ClientHello, Tls13_MustBeOffered) {
  EXPECT_FAULT(with_client, kNotOffered, { h.remove(kTlsSupportedVersions); });
  EXPECT_FAULT(with_client, kNotOffered, { h.has_extensions = false; });
  EXPECT_FAULT(with_client, kNotOffered,
               { h.set(kTlsSupportedVersions, supported_versions_extension({0x0303, 0x0302})); });
  EXPECT_FAULT(with_client, kNotOffered,
               { h.set(kTlsSupportedVersions, supported_versions_extension({0x7f1c})); });
  EXPECT_FAULT(with_client, kNone,
               { h.set(kTlsSupportedVersions, supported_versions_extension({0x0a0a, 0x0304})); });
}

TEST(ClientHello, SupportedVersions_AreWellFormed) {
  EXPECT_FAULT(with_client, kSupportedVersions, { h.set(kTlsSupportedVersions, {}); });
  EXPECT_FAULT(with_client, kSupportedVersions, { h.set(kTlsSupportedVersions, {0}); });
  EXPECT_FAULT(with_client, kSupportedVersions, { h.set(kTlsSupportedVersions, {3, 3, 4, 3}); });
  EXPECT_FAULT(with_client, kSupportedVersions, { h.set(kTlsSupportedVersions, {4, 3, 4}); });
  EXPECT_FAULT(with_client, kSupportedVersions, { h.set(kTlsSupportedVersions, {2, 3, 4, 0}); });
}

TEST(ClientHello, EarlyData_IsRefused) {
  EXPECT_FAULT(with_client, kEarlyData, { h.set(kTlsEarlyData, {}); });
}

TEST(ClientHello, ServerName_IsOneDnsName) {
  const std::string label(63, 'a');
  for (std::string good : {"a", "db.corp.example", "A-b_c.1", "10.0.0.1"})
    EXPECT_EQ(with_client([&](TlsHello& h) { h.set(0, server_name_extension(good)); }), TlsFault::kNone)
        << good;
  std::string longest = label + "." + label + "." + label + "." + std::string(61, 'b');
  ASSERT_EQ(longest.size(), 253u);
  EXPECT_EQ(with_client([&](TlsHello& h) { h.set(0, server_name_extension(longest)); }), TlsFault::kNone);
  using namespace std::string_literals;
  for (const std::string& bad : {""s, "."s, "a."s, ".a"s, "a..b"s, "a\0b"s, "a\0"s, "a b"s, "b\xc3\xbc"s,
                                 "*.a"s, "a:1"s, label + "a", longest + "b"})
    EXPECT_EQ(with_client([&](TlsHello& h) { h.set(0, server_name_extension(bad)); }), TlsFault::kServerName)
        << bad;
  EXPECT_FAULT(with_client, kServerName, { h.set(0, {}); });
  EXPECT_FAULT(with_client, kServerName, { h.set(0, {0, 0}); });
  EXPECT_FAULT(with_client, kServerName, { h.set(0, {0, 4, 1, 0, 1, 'a'}); }) << "no host_name";
  EXPECT_FAULT(with_client, kServerName, { h.set(0, {0, 5, 0, 0, 1, 'a'}); }) << "the list's length";
  EXPECT_FAULT(with_client, kServerName, { h.set(0, {0, 4, 0, 0, 2, 'a'}); }) << "the name's length";
  EXPECT_FAULT(with_client, kServerName, { h.set(0, {0, 8, 0, 0, 1, 'a', 0, 0, 1, 'b'}); }) << "two names";
}

TEST(ServerHello, Tls13_MustBeChosen) {
  EXPECT_EQ(with_server(kAsItIs), TlsFault::kNone);
  EXPECT_FAULT(with_server, kNotChosen, { h.remove(kTlsSupportedVersions); });
  EXPECT_FAULT(with_server, kNotChosen, { h.has_extensions = false; });
  EXPECT_FAULT(with_server, kNotChosen, { h.set(kTlsSupportedVersions, {3, 3}); });
  EXPECT_FAULT(with_server, kSupportedVersions, { h.set(kTlsSupportedVersions, {3, 4, 0}); });
  EXPECT_FAULT(with_server, kSupportedVersions, { h.set(kTlsSupportedVersions, {2, 3, 4}); });
}

TEST(ServerHello, SuiteWithoutEncryption_IsRefused) {
  for (uint16_t suite : {0x1301, 0x1302, 0x1303, 0x1304, 0x1305})
    EXPECT_EQ(with_server([suite](TlsHello& h) { h.suites = {suite}; }), TlsFault::kNone) << suite;
  for (uint16_t suite : {0xc0b4, 0xc0b5, 0x0000, 0x002f, 0xc02f})
    EXPECT_EQ(with_server([suite](TlsHello& h) { h.suites = {suite}; }), TlsFault::kCipherSuite) << suite;
}

TEST(ServerHello, MalformedOnes_AreRefused) {
  EXPECT_FAULT(with_server, kLegacyVersion, { h.legacy_version = 0x0302; });
  EXPECT_FAULT(with_server, kCompression, { h.compression = {1}; });
  EXPECT_FAULT(with_server, kLengths, { h.session = Bytes(33); });
  EXPECT_FAULT(with_server, kLengths, { h.extensions_length_off = 1; });
  EXPECT_FAULT(with_server, kLengths, { h.message_length_off = -1; });
  EXPECT_FAULT(with_server, kMessageType, { h.message_type = 1; });
  EXPECT_FAULT(with_server, kDuplicateExtension, { h.extensions.push_back({51, {}}); });
  EXPECT_FAULT(with_server, kRecordType, { h.record_type = 21; });
  EXPECT_FAULT(with_server, kNone, { h.set(kTlsServerName, {}); }) << "no list of names from a server";
}

TEST(Turns, NobodySpeaksBeforeItIsDue) {
  Bytes client = build(client_hello("a")), server = build(server_hello());
  EXPECT_EQ(read({{kServer, server}}).fault, TlsFault::kNotItsTurn);
  EXPECT_EQ(read({{kServer, {'2'}}}).fault, TlsFault::kNotItsTurn) << "a banner";
  EXPECT_EQ(read({{kClient, {client.begin(), client.end() - 1}}, {kServer, server}}).fault,
            TlsFault::kNotItsTurn);
  EXPECT_EQ(read({{kClient, client}, {kClient, {23}}}).fault, TlsFault::kNotItsTurn) << "early data";
  EXPECT_EQ(read({{kClient, client}, {kClient, client}}).fault, TlsFault::kNotItsTurn);
  EXPECT_EQ(read({{kClient, client}, {kClient, tls_record(20, Bytes{1})}}).fault, TlsFault::kNotItsTurn)
      << "ChangeCipherSpec has no place here without a HelloRetryRequest";
  EXPECT_EQ(read({{kClient, client}, {kServer, tls_record(21, Bytes{2, 40})}}).fault, TlsFault::kRecordType)
      << "an alert";
  EXPECT_EQ(read({{kClient, tls_record(20, Bytes{1})}}).fault, TlsFault::kRecordType);
}

struct Retry : testing::Test {
  const Bytes change = tls_record(20, Bytes{1});
  const Talk begun = handshake(client_hello("db.corp.example"), hello_retry_request());
  const Talk rest = handshake(client_hello("db.corp.example"), server_hello());
};

TEST_F(Retry, AnotherClientHello_IsVerified) {
  EXPECT_EQ(read(begun + rest), (Outcome{TlsFault::kNone, 4, true, "db.corp.example", 0x1301}));
  EXPECT_EQ(read(begun + Talk{{kServer, change}, {kClient, change}} + rest),
            (Outcome{TlsFault::kNone, 6, true, "db.corp.example", 0x1301}));
  Bytes together = build(hello_retry_request());
  append(together, change);
  EXPECT_EQ(read(Talk{begun[0], {kServer, together}} + rest),
            (Outcome{TlsFault::kNone, 4, true, "db.corp.example", 0x1301}));
}

TEST_F(Retry, OtherServerName_IsRefused) {
  auto with_name = [this](const char* name) {
    return read(begun + handshake(client_hello(name), server_hello())).fault;
  };
  EXPECT_EQ(with_name("DB.corp.example"), TlsFault::kNone);
  for (const char* other : {"db.corp.examples", "db.corp.exampl", "dc.corp.example", ""})
    EXPECT_EQ(with_name(other), TlsFault::kOtherName) << other;
  Talk nameless = handshake(client_hello(""), hello_retry_request());
  EXPECT_EQ(read(nameless + rest).fault, TlsFault::kOtherName);
  EXPECT_EQ(read(nameless + handshake(client_hello(""), server_hello())).fault, TlsFault::kNone);
}

TEST_F(Retry, Twice_IsRefused) {
  EXPECT_EQ(read(begun + begun).fault, TlsFault::kSecondRetry);
}

TEST_F(Retry, ChangeCipherSpec_IsOneByteOnceAndNotInsideAHello) {
  EXPECT_EQ(read(begun + Talk{{kClient, tls_record(20, Bytes{2})}}).fault, TlsFault::kChangeCipherSpec);
  EXPECT_EQ(read(begun + Talk{{kClient, tls_record(20, Bytes{1, 1})}}).fault, TlsFault::kChangeCipherSpec);
  EXPECT_EQ(read(begun + Talk{{kClient, change}, {kClient, change}}).fault, TlsFault::kRecordType);
  EXPECT_EQ(read(begun + Talk{{kServer, change}, {kServer, change}}).fault, TlsFault::kNotItsTurn);
  TlsHello split = client_hello("db.corp.example");
  split.record_bytes = 50;
  Bytes first = build(split);
  first.resize(55);
  EXPECT_EQ(read(begun + Talk{{kClient, first}, {kClient, change}}).fault, TlsFault::kRecordType);
}

TEST_F(Retry, ServerHelloBeforeTheOtherClientHello_IsRefused) {
  EXPECT_EQ(read(begun + Talk{{kServer, build(server_hello())}}).fault, TlsFault::kNotItsTurn);
}

TEST_F(Retry, IsItselfOfTls13) {
  TlsHello retry = hello_retry_request();
  retry.remove(kTlsSupportedVersions);
  EXPECT_EQ(read(handshake(client_hello("a"), retry)).fault, TlsFault::kNotChosen);
}

TEST(TlsFaults, EachHasAText) {
  EXPECT_EQ(text_of(TlsFault::kNone), "");
  for (int i = 1; i < static_cast<int>(TlsFault::kCount); ++i)
    EXPECT_NE(text_of(static_cast<TlsFault>(i)), "") << i;
  EXPECT_EQ(text_of(TlsFault::kCount), "");
}

}  // namespace
}  // namespace bulkhead
