#include <poll.h>
#include <sys/eventfd.h>

#include <gtest/gtest.h>

#include "contract/channel.h"
#include "contract/relay_messages.h"
#include "dataplane/relay/svid_source.h"
#include "tests/unit/engine/temporary_directory.h"
#include "tests/unit/svid/certificates.h"
#include "tests/unit/svid/der_of.h"
#include "workload_api.pb.h"

namespace bulkhead {
namespace {

using namespace test;

constexpr char kWeb[] = "spiffe://corp.example/web/7";

std::string response() {
  Issued root = issue(authority("root")), web = issue({}, &root);
  X509SVIDResponse sent;
  X509SVID& svid = *sent.add_svids();
  svid.set_spiffe_id(kWeb);
  svid.set_x509_svid(der_of(web.certificate.get()));
  svid.set_x509_svid_key(der_of(web.key.get()));
  svid.set_bundle(der_of(root.certificate.get()));
  return sent.SerializeAsString();
}

/// A relay's inbox, and a fetcher that is connected.
struct SvidInbox : testing::Test {
  TemporaryDirectory directory;
  std::string path = directory.path("svids");
  SvidSource inbox = open_svid_inbox(path).value();
  Channel fetcher = connect_to(path).value();

  SvidInbox() { inbox.read(); }
  /// Waits until something has changed; how often it has.
  uint64_t changes() {
    pollfd changed{inbox.changed.get(), POLLIN, 0};
    eventfd_t count = 0;
    if (poll(&changed, 1, 5000) == 1) eventfd_read(inbox.changed.get(), &count);
    return count;
  }
  void send(Channel& from, const std::string& bytes, size_t announced) {
    auto message = make_message<PublishSvids>(MessageType::kPublishSvids);
    message.response_bytes = announced;
    Fd sealed = make_sealed("svids", std::as_bytes(std::span(bytes))).value();
    int fd = sealed.get();
    ASSERT_TRUE(from.send_message(message, std::span(&fd, 1)));
  }
  void send(const std::string& bytes) { send(fetcher, bytes, bytes.size()); }
  /// Whether the relay lets go of the fetcher.
  static bool is_turned_away(Channel& from) {
    for (;;) {
      auto packet = from.receive(5000);
      if (!packet || packet->bytes.empty()) return !packet;
    }
  }
};

TEST_F(SvidInbox, EachMessage_IsAnsweredOnceItIsRead) {
  for (const std::string& bytes : {std::string("garbage"), response()}) {
    EXPECT_TRUE(fetcher.receive(0)->bytes.empty());
    send(bytes);
    auto answer = fetcher.receive(5000);
    ASSERT_TRUE(answer);
    EXPECT_TRUE(decode_message<Accepted>(answer->bytes, MessageType::kAccepted));
  }
  EXPECT_EQ(changes(), 1u);
}

TEST_F(SvidInbox, AtFirst_ThereIsNothing) {
  EXPECT_TRUE(inbox.read()->awaited);
  EXPECT_EQ(inbox.read()->own.size(), 0u);
  EXPECT_EQ(inbox.read()->trust->size(), 0u);
}

TEST_F(SvidInbox, TheLatestSet_IsInForce) {
  send(response());
  EXPECT_EQ(changes(), 1u);
  auto first = inbox.read();
  EXPECT_FALSE(first->awaited);
  EXPECT_TRUE(first->own.contains(kWeb));
  send(response());
  EXPECT_EQ(changes(), 1u);
  EXPECT_NE(inbox.read(), first);
  EXPECT_TRUE(inbox.read()->own.contains(kWeb));
}

TEST_F(SvidInbox, Withdrawn_ThereIsNothing) {
  send(response());
  EXPECT_EQ(changes(), 1u);
  auto message = make_message<PublishSvids>(MessageType::kPublishSvids);
  message.withdrawn = 1;
  ASSERT_TRUE(fetcher.send_message(message));
  EXPECT_EQ(changes(), 1u);
  EXPECT_FALSE(inbox.read()->awaited) << "the agent has said so";
  EXPECT_EQ(inbox.read()->own.size(), 0u);
  EXPECT_EQ(inbox.read()->trust->size(), 0u);
}

TEST_F(SvidInbox, WhatIsWrong_ChangesNothingAndTheFetcherStays) {
  send("garbage");
  send("");
  send(response());
  EXPECT_EQ(changes(), 1u);
  EXPECT_EQ(inbox.read()->own.size(), 1u);
}

TEST_F(SvidInbox, WhatTheAgentSays_IsPrintableInTheLog) {
  X509SVIDResponse sent;
  sent.add_svids()->set_spiffe_id("spiffe://corp.example/a\nb");
  testing::internal::CaptureStderr();
  send(sent.SerializeAsString());
  send(response());
  EXPECT_EQ(changes(), 1u);
  std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("changes nothing: SVID 1 of 1 ('spiffe://corp.example/a\\x0ab')"), std::string::npos)
      << said;
  EXPECT_EQ(said.find("a\nb"), std::string::npos) << said;
}

TEST_F(SvidInbox, AFetcherThatBreaksTheContract_IsTurnedAwayAndChangesNothing) {
  send(response());
  EXPECT_EQ(changes(), 1u);
  auto before = inbox.read();
  send(fetcher, response(), 1);
  EXPECT_TRUE(is_turned_away(fetcher));
  Channel without_fd = connect_to(path).value();
  ASSERT_TRUE(without_fd.send_message(make_message<PublishSvids>(MessageType::kPublishSvids)));
  EXPECT_TRUE(is_turned_away(without_fd));
  EXPECT_EQ(inbox.read(), before);
}

TEST_F(SvidInbox, AnotherFetcher_TakesTheFirstOnesPlace) {
  send(response());
  EXPECT_EQ(changes(), 1u);
  auto before = inbox.read();
  Channel second = connect_to(path).value();
  EXPECT_TRUE(is_turned_away(fetcher));
  EXPECT_EQ(inbox.read(), before) << "nothing is lost in between";
  std::string bytes = response();
  send(second, bytes, bytes.size());
  EXPECT_EQ(changes(), 1u);
  EXPECT_NE(inbox.read(), before);
}

}  // namespace
}  // namespace bulkhead
