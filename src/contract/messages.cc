#include "contract/messages.h"

#include <cstring>

#include "contract/relay_messages.h"
#include "contract/settings.h"

namespace bulkhead {

namespace {

/// The length of a type's message, without the texts that may follow; 0: no such type.
size_t length_of(MessageType type) {
  switch (type) {
    case MessageType::kHello:
      return sizeof(Hello);
    case MessageType::kWelcome:
      return sizeof(Welcome);
    case MessageType::kPublish:
      return sizeof(Publish);
    case MessageType::kAccepted:
      return sizeof(Accepted);
    case MessageType::kRefused:
      return sizeof(Refused);
    case MessageType::kListFlows:
      return sizeof(ListFlows);
    case MessageType::kFlowPage:
      return sizeof(FlowPage);
    case MessageType::kPortEvent:
      return sizeof(PortEvent);
    case MessageType::kShutdown:
      return sizeof(Shutdown);
    case MessageType::kRelayWelcome:
      return sizeof(RelayWelcome);
    case MessageType::kPublishIdentities:
      return sizeof(PublishIdentities);
    case MessageType::kRelayDrain:
      return sizeof(RelayDrain);
    case MessageType::kConnectionProof:
      return sizeof(ProofRecord);
    case MessageType::kRelayCounters:
      return sizeof(RelayCounters);
    case MessageType::kPublishSvids:
      return sizeof(PublishSvids);
  }
  return 0;
}

template <size_t N>
void terminate(char (&text)[N]) {
  text[N - 1] = '\0';
}

/// What a message's own fields must satisfy: an error's text, or nullptr.
template <class Message>
const char* check(Message&) {
  return nullptr;
}
template <>
const char* check(Welcome& m) {
  terminate(m.gateway);
  if (m.worker_count == 0 || m.worker_count > kMaxCores)
    return "a Welcome with an impossible number of workers";
  return m.port_count > kMaxPorts ? "a Welcome with too many ports" : nullptr;
}
template <>
const char* check(Publish& m) {
  if (m.image_bytes > kMaxImageBytes) return "a Publish with an image over 1 GiB";
  if (m.batch_count > kMaxBatchCount) return "a Publish with more than 16777216 endpoint changes";
  if (m.replace_endpoints > 1 || m.reserved != 0) return "a Publish with unknown flags";
  return nullptr;
}
template <>
const char* check(Refused& m) {
  terminate(m.reason);
  return m.code < ErrorCode::kInvalid || m.code > ErrorCode::kSystem ? "a Refused with an unknown code"
                                                                     : nullptr;
}
template <>
const char* check(FlowPage& m) {
  return m.count > kMaxFlowPage || m.count > m.total ? "a FlowPage with an impossible count" : nullptr;
}
template <>
const char* check(PortEvent& m) {
  return m.port >= kMaxPorts || m.up > 1 ? "a PortEvent of an impossible port or state" : nullptr;
}
template <>
const char* check(RelayWelcome& m) {
  bool possible = m.state >= RelayState::kStarting && m.state <= RelayState::kDraining;
  return possible ? nullptr : "a RelayWelcome with an impossible state";
}
template <>
const char* check(PublishIdentities& m) {
  if (m.generation == 0) return "a PublishIdentities without a generation";
  bool possible = m.image_bytes != 0 && m.image_bytes <= kMaxRelayIdentitiesBytes;
  return possible ? nullptr : "a PublishIdentities with an image of no length, or over 1 GiB";
}
template <>
const char* check(PublishSvids& m) {
  if (m.withdrawn > 1 || m.reserved != 0) return "a PublishSvids with unknown flags";
  if (m.withdrawn == 1 && m.response_bytes != 0) return "a PublishSvids that withdraws and publishes";
  return m.response_bytes > kMaxSvidResponseBytes ? "a PublishSvids with a response over 32 MiB" : nullptr;
}

}  // namespace

Expected<MessageHeader> decode_header(std::span<const std::byte> packet) {
  MessageHeader header;
  if (packet.size() < sizeof header) return fail(ErrorCode::kInvalid, "a message shorter than its header");
  std::memcpy(&header, packet.data(), sizeof header);
  if (header.version != kContractVersion)
    return fail(ErrorCode::kInvalid, "a message of contract version " + std::to_string(header.version) +
                                         ", this is version " + std::to_string(kContractVersion) +
                                         ": start both planes from the same build");
  size_t length = length_of(header.type);
  if (length == 0)
    return fail(ErrorCode::kInvalid,
                "a message of unknown type " + std::to_string(static_cast<uint32_t>(header.type)));
  bool texts_follow = header.type == MessageType::kConnectionProof;
  if (header.bytes != packet.size() || (texts_follow ? header.bytes < length : header.bytes != length))
    return fail(ErrorCode::kInvalid,
                "a message of type " + std::to_string(static_cast<uint32_t>(header.type)) + " with " +
                    std::to_string(packet.size()) + " bytes instead of " + std::to_string(length));
  if (header.reserved != 0) return fail(ErrorCode::kInvalid, "a message with its reserved field set");
  return header;
}

template <class Message>
Expected<Message> decode_message(std::span<const std::byte> packet, MessageType type) {
  auto header = decode_header(packet);
  if (!header) return std::unexpected(header.error());
  if (header->type != type || packet.size() != sizeof(Message))
    return fail(ErrorCode::kInvalid,
                "a message of type " + std::to_string(static_cast<uint32_t>(header->type)) + " where type " +
                    std::to_string(static_cast<uint32_t>(type)) + " is due");
  Message message;
  std::memcpy(&message, packet.data(), sizeof message);
  if (const char* wrong = check(message)) return fail(ErrorCode::kInvalid, wrong);
  return message;
}

template Expected<Hello> decode_message(std::span<const std::byte>, MessageType);
template Expected<Welcome> decode_message(std::span<const std::byte>, MessageType);
template Expected<Publish> decode_message(std::span<const std::byte>, MessageType);
template Expected<Accepted> decode_message(std::span<const std::byte>, MessageType);
template Expected<Refused> decode_message(std::span<const std::byte>, MessageType);
template Expected<ListFlows> decode_message(std::span<const std::byte>, MessageType);
template Expected<FlowPage> decode_message(std::span<const std::byte>, MessageType);
template Expected<PortEvent> decode_message(std::span<const std::byte>, MessageType);
template Expected<Shutdown> decode_message(std::span<const std::byte>, MessageType);
template Expected<RelayWelcome> decode_message(std::span<const std::byte>, MessageType);
template Expected<PublishIdentities> decode_message(std::span<const std::byte>, MessageType);
template Expected<RelayDrain> decode_message(std::span<const std::byte>, MessageType);
template Expected<PublishSvids> decode_message(std::span<const std::byte>, MessageType);
template Expected<RelayCounters> decode_message(std::span<const std::byte>, MessageType);

}  // namespace bulkhead
