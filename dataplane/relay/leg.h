// One side of a connection: a TCP socket, spoken to plainly or by TLS, in one set of words for both.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/address.h"
#include "base/error.h"
#include "contract/memfd.h"
#include "svid/openssl.h"

namespace bulkhead {

enum class LegStatus {
  kDone,       ///< some of it was done
  kAgain,      ///< nothing can be done now; an event will come
  kLater,      ///< there is more, but others have their turn first; no event will come
  kEnd,        ///< the peer said that it is done: FIN, or close_notify
  kTruncated,  ///< the TLS peer's connection ended without close_notify
  kReset,      ///< RST
  kSilent,     ///< the peer doesn't answer any more
  kError,      ///< TLS went wrong: take_error() says how
  kNoMemory,   ///< there is none for what could be read
};

struct LegResult {
  LegStatus status;
  size_t bytes = 0;
};

/// Edge-triggered: `readable` and `writable` are set by events and cleared by attempts that find nothing.
/// Thread: its worker.
class Leg {
 public:
  Leg() = default;
  Leg(const Leg&) = delete;

  void take(Fd fd) { fd_ = std::move(fd); }
  int fd() const { return fd_.get(); }
  /// TLS from now on, over the socket that was taken. False: there is no memory for it.
  bool secure(SslPtr tls);
  SSL* tls() const { return tls_.get(); }

  /// One step of the TLS handshake: kDone when it is complete. kLater: its turn is used up.
  LegStatus handshake();
  LegResult read(std::span<std::byte> into);
  LegResult write(std::span<const std::byte> bytes);
  /// Says that nothing more will be written: FIN, after close_notify where it is TLS. kDone, kAgain or a
  /// failure.
  LegStatus finish();
  /// Whether the socket has failed; the error is taken.
  LegStatus failure();
  /// Ends it now: FIN where `politely` and nothing unread is left, else RST.
  void close(bool politely);

  /// From now on TLS may read as much from the socket as one turn allows, what it gives out as data not
  /// counted. It doesn't end by itself: a peer may send what TLS passes over (HelloRequests), or takes and
  /// asks for more (KeyUpdates, tickets, padding), faster than that is read.
  void begin_turn() { allowance_ = kTurnBytes; }

  std::string take_error() { return std::move(error_); }

  bool readable = false, writable = false;
  bool hung_up = false;  ///< the peer's FIN or RST is in the socket: a short read isn't the last

 private:
  static constexpr size_t kTurnBytes = 65'536;

  static int read_within_turn(BIO* bio, char* into, size_t size, size_t* got);
  static const BIO_METHOD* within_turn();
  LegStatus tls_status(int result);
  LegResult read_plain(std::span<std::byte> into);
  LegResult read_tls(std::span<std::byte> into);
  LegStatus system_status(int error);

  Fd fd_;
  SslPtr tls_;
  std::string error_;
  size_t allowance_ = kTurnBytes;  ///< bytes that TLS may still read in this turn
};

/// What a connection's sockets have in common: no delay, keepalive; and their end is a reset unless it is
/// said otherwise, so that a relay that dies leaves nobody with half of something that looks whole. Errors
/// don't matter.
void tune(int fd);

/// A socket with the client's own address and port that is connecting to the server's, whatever addresses
/// they are. Errors: kSystem, kExists.
Expected<Fd> connect_transparently(const IpAddress& client, uint16_t client_port, const IpAddress& server,
                                   uint16_t server_port);

/// An accepted connection and its ends; fd -1: none waits.
struct AcceptedConnection {
  Fd fd;
  IpAddress client, server;
  uint16_t client_port = 0, server_port = 0;
};
/// Errors: kExhausted without descriptors.
Expected<AcceptedConnection> accept_transparently(int listener);

}  // namespace bulkhead
