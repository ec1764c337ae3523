// Whatever a peer sends: messages of every type, the relay's datagrams and identities, and settings as text.
// What decodes must come out the same when it is encoded and decoded again.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "contract/messages.h"
#include "contract/relay_flow.h"
#include "contract/relay_identities.h"
#include "contract/relay_messages.h"
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
  decode_twice<RelayWelcome>(packet, MessageType::kRelayWelcome);
  decode_twice<PublishIdentities>(packet, MessageType::kPublishIdentities);
  decode_twice<RelayDrain>(packet, MessageType::kRelayDrain);
  decode_twice<RelayCounters>(packet, MessageType::kRelayCounters);
  decode_twice<PublishSvids>(packet, MessageType::kPublishSvids);
  if (auto proof = decode_proof(packet)) BULKHEAD_CHECK(std::ranges::equal(encode_proof(*proof), packet));
}

/// Follows every reference of identities that were read.
static void read_all(const IdentitiesView& view) {
  size_t bytes = 0;
  for (const SegmentIdentities& segment : view.segments) {
    BULKHEAD_CHECK(view.segment(SegmentTag{segment.tag}) == &segment);
    bytes += view.text(segment.name).size() + view.text(segment.relay_id).size();
    for (StringRef pattern : view.patterns_of(segment)) bytes += view.text(pattern).size();
  }
  for (const WorkloadIdentity& workload : view.workloads)
    BULKHEAD_CHECK(view.workload_id(workload.number) == view.text(workload.id));
  BULKHEAD_CHECK(bytes <= SIZE_MAX / 2);
}

static void read_as_identities(std::span<const std::byte> input) {
  if (input.size() < sizeof(IdentitiesHeader)) return;
  std::vector<std::byte> bytes(input.begin(), input.end());
  auto& header = *reinterpret_cast<IdentitiesHeader*>(bytes.data());
  header.magic = kIdentitiesMagic, header.format = kIdentitiesFormat, header.reserved = 0;
  header.total_bytes = bytes.size();
  if (auto view = read_identities(bytes)) read_all(*view);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  decode_as_every_type({reinterpret_cast<const std::byte*>(input), size});
  // The header is hard to guess; the rest shouldn't be lost for want of one.
  if (size > 1 && size <= kMaxMessageBytes) {
    std::byte packet[sizeof(MessageHeader) + kMaxMessageBytes];
    auto type = static_cast<MessageType>(input[0] % 2 == 0 ? 1 + input[0] / 2 % 9 : 32 + input[0] / 2 % 6);
    MessageHeader header{kContractVersion, type, static_cast<uint32_t>(sizeof header + size - 1), 0};
    std::memcpy(packet, &header, sizeof header);
    std::memcpy(packet + sizeof header, input + 1, size - 1);
    decode_as_every_type({packet, header.bytes});
  }
  std::span bytes(reinterpret_cast<const std::byte*>(input), size);
  if (auto announced = read_relay_announcement(bytes))
    BULKHEAD_CHECK(announced->client.family() == announced->server.family());
  read_relay_heartbeat(bytes);
  read_as_identities(bytes);
  std::string_view text(reinterpret_cast<const char*>(input), size);
  for (std::string whole : {"", "bulkhead-settings 1\ncore 1\nport a\n"}) {
    auto settings = decode_settings(whole.append(text));
    if (!settings) continue;
    auto again = decode_settings(encode(*settings));
    BULKHEAD_CHECK(again && *again == *settings);
  }
  return 0;
}
