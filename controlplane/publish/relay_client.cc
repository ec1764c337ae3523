#include "controlplane/publish/relay_client.h"

#include <unistd.h>

#include <utility>

#include "contract/memfd.h"

namespace bulkhead {

Expected<std::unique_ptr<RelayClient>> RelayClient::attach(const std::string& socket, int timeout_ms) {
  auto channel = connect_to(socket);
  if (!channel) return std::unexpected(channel.error());
  std::unique_ptr<RelayClient> client(new RelayClient(std::move(*channel)));
  auto hello = make_message<Hello>(MessageType::kHello);
  hello.pid = static_cast<uint64_t>(getpid());
  static_cast<void>(client->channel_.send_message(hello));  // who refuses may have closed: it said why
  auto answer = client->channel_.receive(timeout_ms);
  if (!answer) return with_context(answer.error(), socket);
  if (answer->bytes.empty()) return fail(ErrorCode::kUnavailable, socket + ": the relay doesn't answer");
  if (auto refused = decode_message<Refused>(answer->bytes, MessageType::kRefused))
    return fail(refused->code, socket + ": " + refused->reason);
  auto welcome = decode_message<RelayWelcome>(answer->bytes, MessageType::kRelayWelcome);
  if (!welcome) return with_context(welcome.error(), socket);
  client->welcome_ = *welcome;
  return client;
}

Expected<void> RelayClient::publish(uint64_t generation, std::span<const std::byte> identities) {
  auto memfd = make_sealed("bulkhead-identities", identities);
  if (!memfd) return std::unexpected(memfd.error());
  auto message = make_message<PublishIdentities>(MessageType::kPublishIdentities);
  message.generation = generation;
  message.image_bytes = identities.size();
  int fd = memfd->get();
  if (auto sent = channel_.send_message(message, std::span(&fd, 1)); !sent) return sent;
  waiting_for_ = generation;
  return {};
}

Expected<void> RelayClient::handle_readable() {
  for (unsigned i = 0; i < kMessagesAtOnce; ++i) {
    auto packet = channel_.receive(0);
    if (!packet) return std::unexpected(packet.error());
    if (packet->bytes.empty()) return {};
    if (auto taken = take(*packet); !taken) return taken;
  }
  return {};
}

Expected<void> RelayClient::take(const Packet& packet) {
  auto header = decode_header(packet.bytes);
  if (!header) return std::unexpected(header.error());
  switch (header->type) {
    case MessageType::kConnectionProof: {
      auto proof = decode_proof(packet.bytes);
      if (!proof) return std::unexpected(proof.error());
      proofs_.push_back(std::move(*proof));
      return {};
    }
    case MessageType::kRelayCounters: {
      auto counters = decode_message<RelayCounters>(packet.bytes, MessageType::kRelayCounters);
      if (!counters) return std::unexpected(counters.error());
      counters_ = *counters;
      return {};
    }
    case MessageType::kAccepted: {
      auto accepted = decode_message<Accepted>(packet.bytes, MessageType::kAccepted);
      if (!accepted) return std::unexpected(accepted.error());
      answer_ = accepted->generation;
      waiting_for_ = 0;
      return {};
    }
    case MessageType::kRefused: {
      auto refused = decode_message<Refused>(packet.bytes, MessageType::kRefused);
      if (!refused) return std::unexpected(refused.error());
      answer_ = fail(refused->code, refused->reason);
      waiting_for_ = 0;
      return {};
    }
    default:
      return fail(ErrorCode::kInvalid,
                  "the relay sent what only a dataplane sends: start all from the same build");
  }
}

std::optional<Expected<uint64_t>> RelayClient::next_answer() {
  return std::exchange(answer_, std::nullopt);
}

std::optional<ConnectionProof> RelayClient::next_proof() {
  if (proofs_.empty()) return std::nullopt;
  ConnectionProof proof = std::move(proofs_.front());
  proofs_.pop_front();
  return proof;
}

}  // namespace bulkhead
