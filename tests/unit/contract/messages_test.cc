#include "contract/messages.h"

#include <cstring>

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

template <class Message>
std::vector<std::byte> bytes_of(const Message& message) {
  auto bytes = std::as_bytes(std::span(&message, 1));
  return {bytes.begin(), bytes.end()};
}

template <class Message>
std::string error_of(const std::vector<std::byte>& packet, MessageType type) {
  auto decoded = decode_message<Message>(packet, type);
  return decoded ? "none" : decoded.error().message;
}

/// Every type's message comes out as it went in.
template <class Message>
void round_trip(MessageType type) {
  auto message = make_message<Message>(type);
  auto packet = bytes_of(message);
  auto header = decode_header(packet);
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->type, type);
  auto decoded = decode_message<Message>(packet, type);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(bytes_of(*decoded), packet);
}

TEST(Messages, EachTypeSurvivesTheRoundTrip) {
  round_trip<Hello>(MessageType::kHello);
  round_trip<Publish>(MessageType::kPublish);
  round_trip<Accepted>(MessageType::kAccepted);
  round_trip<Refused>(MessageType::kRefused);
  round_trip<ListFlows>(MessageType::kListFlows);
  round_trip<FlowPage>(MessageType::kFlowPage);
  round_trip<PortEvent>(MessageType::kPortEvent);
  round_trip<Shutdown>(MessageType::kShutdown);
}

/// A message that decodes, of which each test changes one thing.
struct HeaderTest : testing::Test {
  Publish message = make_message<Publish>(MessageType::kPublish);
  std::string error() const { return error_of<Publish>(bytes_of(message), MessageType::kPublish); }
  void SetUp() override { ASSERT_EQ(error(), "none"); }
};

TEST_F(HeaderTest, ShorterThanAHeader) {
  auto packet = bytes_of(message);
  packet.resize(sizeof(MessageHeader) - 1);
  EXPECT_EQ(error_of<Publish>(packet, MessageType::kPublish), "a message shorter than its header");
  EXPECT_EQ(error_of<Publish>({}, MessageType::kPublish), "a message shorter than its header");
}
TEST_F(HeaderTest, AnotherVersion) {
  message.header.version = 1;
  EXPECT_EQ(error(),
            "a message of contract version 1, this is version 2: start both planes from the same build");
}
TEST_F(HeaderTest, UnknownType) {
  message.header.type = static_cast<MessageType>(10);
  EXPECT_EQ(error(), "a message of unknown type 10");
}
TEST_F(HeaderTest, AnotherType) {
  message.header.type = MessageType::kListFlows;
  EXPECT_EQ(error(), "a message of type 6 with 56 bytes instead of 32");
}
TEST_F(HeaderTest, LengthThatIsNotThePackets) {
  message.header.bytes += 1;
  EXPECT_EQ(error(), "a message of type 3 with 56 bytes instead of 56");
}
TEST_F(HeaderTest, Truncated) {
  auto packet = bytes_of(message);
  packet.pop_back();
  EXPECT_EQ(error_of<Publish>(packet, MessageType::kPublish),
            "a message of type 3 with 55 bytes instead of 56");
}
TEST_F(HeaderTest, ReservedField) {
  message.header.reserved = 1;
  EXPECT_EQ(error(), "a message with its reserved field set");
}
TEST_F(HeaderTest, NotTheTypeThatIsDue) {
  EXPECT_EQ(error_of<Hello>(bytes_of(message), MessageType::kHello),
            "a message of type 3 where type 1 is due");
}
TEST_F(HeaderTest, ImageOverTheLimit) {
  message.image_bytes = kMaxImageBytes;
  EXPECT_EQ(error(), "none");
  message.image_bytes = kMaxImageBytes + 1;
  EXPECT_EQ(error(), "a Publish with an image over 1 GiB");
}
TEST_F(HeaderTest, BatchOverTheLimit) {
  message.batch_count = kMaxBatchCount;
  EXPECT_EQ(error(), "none");
  message.batch_count = UINT64_MAX;
  EXPECT_EQ(error(), "a Publish with more than 16777216 endpoint changes");
}
TEST_F(HeaderTest, UnknownFlag) {
  message.replace_endpoints = 2;
  EXPECT_EQ(error(), "a Publish with unknown flags");
}

TEST(Messages, TextIsTerminatedWhateverCame) {
  auto refused = make_message<Refused>(MessageType::kRefused);
  std::memset(refused.reason, 'x', sizeof refused.reason);
  auto decoded = decode_message<Refused>(bytes_of(refused), MessageType::kRefused);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(std::strlen(decoded->reason), sizeof refused.reason - 1);

  auto welcome = make_message<Welcome>(MessageType::kWelcome);
  welcome.worker_count = 1;
  std::memset(welcome.gateway, 'x', sizeof welcome.gateway);
  auto greeted = decode_message<Welcome>(bytes_of(welcome), MessageType::kWelcome);
  ASSERT_TRUE(greeted);
  EXPECT_EQ(std::strlen(greeted->gateway), sizeof welcome.gateway - 1);
}

TEST(Messages, RefusedWithUnknownCodeIsInvalid) {
  auto refused = make_message<Refused>(MessageType::kRefused);
  refused.code = static_cast<ErrorCode>(7);
  EXPECT_EQ(error_of<Refused>(bytes_of(refused), MessageType::kRefused), "a Refused with an unknown code");
}

TEST(Messages, WelcomeWithImpossibleCountsIsInvalid) {
  auto welcome = make_message<Welcome>(MessageType::kWelcome);
  for (uint32_t workers : {0u, 65u, UINT32_MAX}) {
    welcome.worker_count = workers;
    EXPECT_EQ(error_of<Welcome>(bytes_of(welcome), MessageType::kWelcome),
              "a Welcome with an impossible number of workers");
  }
  welcome.worker_count = 64;
  EXPECT_EQ(error_of<Welcome>(bytes_of(welcome), MessageType::kWelcome), "none");
  welcome.port_count = 33;
  EXPECT_EQ(error_of<Welcome>(bytes_of(welcome), MessageType::kWelcome), "a Welcome with too many ports");
}

TEST(Messages, FlowPageOfMoreThanThereAreIsInvalid) {
  auto page = make_message<FlowPage>(MessageType::kFlowPage);
  page.count = page.total = 3;
  EXPECT_EQ(error_of<FlowPage>(bytes_of(page), MessageType::kFlowPage), "none");
  page.total = 2;
  EXPECT_EQ(error_of<FlowPage>(bytes_of(page), MessageType::kFlowPage),
            "a FlowPage with an impossible count");
  page.count = page.total = kMaxFlowPage + 1;
  EXPECT_EQ(error_of<FlowPage>(bytes_of(page), MessageType::kFlowPage),
            "a FlowPage with an impossible count");
}

}  // namespace
}  // namespace bulkhead
