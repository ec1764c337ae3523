// Whatever a peer sends: messages of every type, and settings as text. What decodes must come out the same
// when it is encoded and decoded again.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/check.h"
#include "contract/messages.h"
#include "contract/settings.h"

using namespace bulkhead;

template <class Message>
static void decode_twice(std::span<const std::byte> packet, MessageType type) {
  auto message = decode_message<Message>(packet, type);
  if (!message) return;
  auto again = decode_message<Message>(std::as_bytes(std::span(&*message, 1)), type);
  BULKHEAD_CHECK(again && std::memcmp(&*again, &*message, sizeof(Message)) == 0);
}

static void decode_as_every_type(std::span<const std::byte> packet) {
  decode_twice<Hello>(packet, MessageType::kHello);
  decode_twice<Welcome>(packet, MessageType::kWelcome);
  decode_twice<Publish>(packet, MessageType::kPublish);
  decode_twice<Accepted>(packet, MessageType::kAccepted);
  decode_twice<Refused>(packet, MessageType::kRefused);
  decode_twice<ListFlows>(packet, MessageType::kListFlows);
  decode_twice<FlowPage>(packet, MessageType::kFlowPage);
  decode_twice<PortEvent>(packet, MessageType::kPortEvent);
  decode_twice<Shutdown>(packet, MessageType::kShutdown);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  decode_as_every_type({reinterpret_cast<const std::byte*>(input), size});
  // The header is hard to guess; the rest shouldn't be lost for want of one.
  if (size > 1 && size <= kMaxMessageBytes) {
    std::byte packet[sizeof(MessageHeader) + kMaxMessageBytes];
    auto type = static_cast<MessageType>(1 + input[0] % 9);
    MessageHeader header{kContractVersion, type, static_cast<uint32_t>(sizeof header + size - 1), 0};
    std::memcpy(packet, &header, sizeof header);
    std::memcpy(packet + sizeof header, input + 1, size - 1);
    decode_as_every_type({packet, header.bytes});
  }
  std::string_view text(reinterpret_cast<const char*>(input), size);
  for (std::string whole : {"", "bulkhead-settings 1\ncore 1\nport a\n"}) {
    auto settings = decode_settings(whole.append(text));
    if (!settings) continue;
    auto again = decode_settings(encode(*settings));
    BULKHEAD_CHECK(again && *again == *settings);
  }
  return 0;
}
