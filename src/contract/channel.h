// The SEQPACKET socket between the planes: messages with file descriptors, and who may speak.
#pragma once

#include <sys/types.h>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "contract/memfd.h"

namespace bulkhead {

inline constexpr size_t kMaxMessageFds = 253;  // SCM_MAX_FD

/// One message as received.
struct Packet {
  std::vector<std::byte> bytes;
  std::vector<Fd> fds;
};

struct PeerCredentials {
  pid_t pid;
  uid_t uid;
  gid_t gid;
};

/// A connected end. Thread: one at a time.
class Channel {
 public:
  explicit Channel(Fd fd) : fd_(std::move(fd)) {}
  /// Sends one message. Errors: kUnavailable when the peer is gone or its queue stays full for `timeout_ms`.
  Expected<void> send(std::span<const std::byte> message, std::span<const int> fds = {},
                      int timeout_ms = 1000);
  template <class Message>
  Expected<void> send_message(const Message& message, std::span<const int> fds = {}) {
    return send(std::as_bytes(std::span(&message, 1)), fds);
  }
  /// Waits up to `timeout_ms` (-1: for ever, 0: not at all). An empty `bytes` means that nothing came in
  /// time. Errors: kUnavailable when the peer closed; kInvalid for a truncated message or too many
  /// descriptors (all are closed).
  Expected<Packet> receive(int timeout_ms);
  int fd() const { return fd_.get(); }
  Expected<PeerCredentials> peer() const;

 private:
  Fd fd_;
};

/// Listens at `path` (mode 0600 until the owner is changed). A socket file that nobody listens on is
/// replaced; a live one is kExists.
Expected<Fd> listen_at(const std::string& path);
/// Errors: kUnavailable where nobody listens.
Expected<Channel> connect_to(const std::string& path);
/// Takes one waiting connection from a listening socket. An fd of -1: none was waiting.
Expected<Fd> accept_from(const Fd& listener);

}  // namespace bulkhead
