#include "contract/relay_messages.h"

#include <cstring>
#include <set>

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

template <class Message>
std::string error_of(const Message& message, MessageType type) {
  auto decoded = decode_message<Message>(std::as_bytes(std::span(&message, 1)), type);
  return decoded ? "none" : decoded.error().message;
}

TEST(RelayMessages, EachTypeSurvivesTheRoundTrip) {
  auto welcome = make_message<RelayWelcome>(MessageType::kRelayWelcome);
  welcome.state = RelayState::kReady;
  EXPECT_EQ(error_of(welcome, MessageType::kRelayWelcome), "none");
  auto publish = make_message<PublishIdentities>(MessageType::kPublishIdentities);
  publish.generation = 1, publish.image_bytes = 56;
  EXPECT_EQ(error_of(publish, MessageType::kPublishIdentities), "none");
  EXPECT_EQ(error_of(make_message<RelayDrain>(MessageType::kRelayDrain), MessageType::kRelayDrain), "none");
  EXPECT_EQ(error_of(make_message<RelayCounters>(MessageType::kRelayCounters), MessageType::kRelayCounters),
            "none");
}

TEST(RelayMessages, SvidsThatAreNoneOrTooMany) {
  auto publish = make_message<PublishSvids>(MessageType::kPublishSvids);
  for (uint64_t bytes : {uint64_t{0}, kMaxSvidResponseBytes}) {
    publish.response_bytes = bytes;
    EXPECT_EQ(error_of(publish, MessageType::kPublishSvids), "none");
  }
  publish.response_bytes = kMaxSvidResponseBytes + 1;
  EXPECT_EQ(error_of(publish, MessageType::kPublishSvids), "a PublishSvids with a response over 32 MiB");
  publish.response_bytes = 1, publish.withdrawn = 1;
  EXPECT_EQ(error_of(publish, MessageType::kPublishSvids), "a PublishSvids that withdraws and publishes");
  publish.response_bytes = 0;
  EXPECT_EQ(error_of(publish, MessageType::kPublishSvids), "none");
  publish.withdrawn = 2;
  EXPECT_EQ(error_of(publish, MessageType::kPublishSvids), "a PublishSvids with unknown flags");
}

TEST(RelayMessages, WelcomeWithoutAState) {
  auto welcome = make_message<RelayWelcome>(MessageType::kRelayWelcome);
  EXPECT_EQ(error_of(welcome, MessageType::kRelayWelcome), "a RelayWelcome with an impossible state");
}

TEST(RelayMessages, IdentitiesOfImpossibleLengthOrGeneration) {
  auto publish = make_message<PublishIdentities>(MessageType::kPublishIdentities);
  publish.generation = 1;
  for (uint64_t bytes : {uint64_t{0}, kMaxRelayIdentitiesBytes + 1}) {
    publish.image_bytes = bytes;
    EXPECT_EQ(error_of(publish, MessageType::kPublishIdentities),
              "a PublishIdentities with an image of no length, or over 1 GiB");
  }
  publish.image_bytes = 56, publish.generation = 0;
  EXPECT_EQ(error_of(publish, MessageType::kPublishIdentities), "a PublishIdentities without a generation");
}

/// A proof that decodes, of which each test changes one thing.
struct ProofTest : testing::Test {
  ConnectionProof proof;
  void SetUp() override {
    proof.record.moment = ProofMoment::kEnded;
    proof.record.role = RelayRole::kTerminate;
    proof.record.end = RelayEnd::k_identity_mismatch;
    proof.record.flow_id = 9;
    proof.own_id = "spiffe://corp.example/db";
    proof.peer_id = "spiffe://corp.example/web";
    proof.detail = "web is not db";
    ASSERT_EQ(error(), "none");
  }
  std::string error() const { return error(encode_proof(proof)); }
  static std::string error(std::span<const std::byte> packet) {
    auto decoded = decode_proof(packet);
    return decoded ? "none" : decoded.error().message;
  }
};

TEST_F(ProofTest, ComesOutAsItWentIn) {
  auto decoded = decode_proof(encode_proof(proof));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->record.flow_id, 9u);
  EXPECT_EQ(decoded->own_id, proof.own_id);
  EXPECT_EQ(decoded->peer_id, proof.peer_id);
  EXPECT_EQ(decoded->detail, proof.detail);
}
TEST_F(ProofTest, TheLongestTextsFitAMessage) {
  proof.own_id.assign(kMaxIdentityBytes + 9, 'a');
  proof.peer_id.assign(kMaxIdentityBytes, 'b');
  proof.detail.assign(kMaxProofDetail + 1, 'c');
  auto packet = encode_proof(proof);
  EXPECT_LE(packet.size(), kMaxMessageBytes);
  auto decoded = decode_proof(packet);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(decoded->own_id, std::string(kMaxIdentityBytes, 'a'));
  EXPECT_EQ(decoded->peer_id, proof.peer_id);
  EXPECT_EQ(decoded->detail, std::string(kMaxProofDetail, 'c'));
}
TEST_F(ProofTest, CutShort) {
  auto packet = encode_proof(proof);
  packet.pop_back();
  EXPECT_NE(error(packet), "none");
  uint32_t bytes = static_cast<uint32_t>(packet.size());
  std::memcpy(packet.data() + offsetof(MessageHeader, bytes), &bytes, sizeof bytes);
  EXPECT_EQ(error(packet), "a ConnectionProof whose texts are not where it says");
  packet.resize(sizeof(ProofRecord) - 1);
  EXPECT_NE(error(packet), "none");
}
TEST_F(ProofTest, UnknownMomentRoleOrFlags) {
  proof.record.moment = static_cast<ProofMoment>(4);
  EXPECT_EQ(error(), "a ConnectionProof of an unknown moment");
  proof.record.moment = ProofMoment::kFailed;
  proof.record.role = static_cast<RelayRole>(0);
  EXPECT_EQ(error(), "a ConnectionProof of an unknown role");
  proof.record.role = RelayRole::kOriginate;
  proof.record.resumed = 2;
  EXPECT_EQ(error(), "a ConnectionProof with unknown flags");
}
TEST_F(ProofTest, OnlyWhatLivesHasNoEnd) {
  proof.record.end = RelayEnd::kCount;
  EXPECT_EQ(error(), "a ConnectionProof with an impossible end");
  proof.record.moment = ProofMoment::kEstablished;
  EXPECT_EQ(error(), "none");
  proof.record.end = RelayEnd::k_closed;
  EXPECT_EQ(error(), "a ConnectionProof with an impossible end");
}
TEST_F(ProofTest, OtherMessagesAreNoProof) {
  auto drain = make_message<RelayDrain>(MessageType::kRelayDrain);
  EXPECT_EQ(error(std::as_bytes(std::span(&drain, 1))),
            "a message of another type where a ConnectionProof is due");
}

TEST(RelayEnds, EachHasANameOfItsOwnAndHelp) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kRelayEndCount; ++i) {
    auto end = static_cast<RelayEnd>(i);
    EXPECT_TRUE(names.insert(name_of(end)).second) << name_of(end);
    EXPECT_GT(help_of(end).size(), 10u);
  }
  EXPECT_EQ(name_of(RelayEnd::kCount), "none");
}

}  // namespace
}  // namespace bulkhead
