// The control plane's end of the contract with the mTLS relay: hands over identities, and takes what the
// relay knows of its connections. Used as DataplaneClient is.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/error.h"
#include "contract/channel.h"
#include "contract/relay_messages.h"

namespace bulkhead {

/// One attachment. Thread: one.
class RelayClient {
 public:
  /// Connects, says Hello and takes the welcome. Errors: as DataplaneClient::attach()'s.
  static Expected<std::unique_ptr<RelayClient>> attach(const std::string& socket, int timeout_ms = 2000);

  const RelayWelcome& welcome() const { return welcome_; }
  int fd() const { return channel_.fd(); }

  /// Hands over identities as write_identities() has them. The answer comes later; until then no others may
  /// be handed over. Errors: kExhausted, kUnavailable.
  Expected<void> publish(uint64_t generation, std::span<const std::byte> identities);
  bool waits_for_answer() const { return waiting_for_ != 0; }
  /// So many messages handle_readable() takes at most, however fast they come.
  static constexpr unsigned kMessagesAtOnce = 64;
  /// Takes in messages that have come, kMessagesAtOnce of them at most; never blocks. Errors: kUnavailable
  /// where the relay is gone, kInvalid where it doesn't keep to the contract.
  Expected<void> handle_readable();

  /// The last answer to publish(), once; its error: the relay refused, and has what it had before.
  std::optional<Expected<uint64_t>> next_answer();
  /// The oldest proof that wasn't taken yet.
  std::optional<ConnectionProof> next_proof();
  /// The newest counters; all 0 before the first.
  const RelayCounters& counters() const { return counters_; }

 private:
  explicit RelayClient(Channel channel) : channel_(std::move(channel)) {}
  Expected<void> take(const Packet& packet);

  Channel channel_;
  RelayWelcome welcome_{};
  RelayCounters counters_{};
  uint64_t waiting_for_ = 0;
  std::optional<Expected<uint64_t>> answer_;
  std::deque<ConnectionProof> proofs_;
};

}  // namespace bulkhead
