#include "dataplane/relay/leg.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace bulkhead {

namespace {

// A peer that is gone without a word is known to be after about two minutes.
constexpr int kKeepaliveIdle = 60, kKeepaliveInterval = 10, kKeepaliveCount = 6;
constexpr unsigned kUserTimeoutMs = 120'000;

/// Whether close() resets.
void set_linger(int fd, bool reset) {
  linger now{.l_onoff = reset ? 1 : 0, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void set(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof value);
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

SocketAddress socket_address(const IpAddress& address, uint16_t port) {
  SocketAddress out;
  if (address.is_v4()) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(out.storage);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    v4.sin_addr.s_addr = htonl(address.v4_host());
    out.length = sizeof v4;
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(out.storage);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&v6.sin6_addr, address.bytes.data(), address.bytes.size());
    out.length = sizeof v6;
  }
  return out;
}

std::pair<IpAddress, uint16_t> ip_address(const sockaddr_storage& from) {
  if (from.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(from);
    return {IpAddress::v4(ntohl(v4.sin_addr.s_addr)), ntohs(v4.sin_port)};
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(from);
  return {IpAddress::v6(&v6.sin6_addr), ntohs(v6.sin6_port)};
}

}  // namespace

/// What the next BIO, the socket's, has, as far as the turn allows. errno stays as it was where it doesn't.
int Leg::read_within_turn(BIO* bio, char* into, size_t size, size_t* got) {
  Leg& leg = *static_cast<Leg*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  *got = 0;
  if (leg.allowance_ == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  int result = BIO_read_ex(BIO_next(bio), into, std::min(size, leg.allowance_), got);
  leg.allowance_ -= *got;
  BIO_copy_next_retry(bio);
  if (result == 1) return 1;
  return BIO_should_retry(bio) ? -1 : 0;  // as the socket's BIO has it
}

const BIO_METHOD* Leg::within_turn() {
  static BIO_METHOD* const kMethod = [] {
    BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER, "within a turn");
    if (method == nullptr) return method;
    BIO_meth_set_read_ex(method, read_within_turn);
    BIO_meth_set_ctrl(method, [](BIO* bio, int what, long number, void* pointer) {
      return BIO_ctrl(BIO_next(bio), what, number, pointer);
    });
    return method;
  }();
  return kMethod;
}

bool Leg::secure(SslPtr tls) {
  BIO* socket = BIO_new_socket(fd_.get(), BIO_NOCLOSE);
  BIO* reads = within_turn() != nullptr ? BIO_new(within_turn()) : nullptr;
  if (socket == nullptr || reads == nullptr) {
    BIO_free(socket);
    BIO_free(reads);
    return false;
  }
  BIO_set_data(reads, this);
  BIO_set_init(reads, 1);
  BIO_up_ref(socket);  // both ways lead to it
  tls_ = std::move(tls);
  SSL_set0_wbio(tls_.get(), socket);
  SSL_set0_rbio(tls_.get(), BIO_push(reads, socket));
  SSL_set_mode(tls_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                               SSL_MODE_RELEASE_BUFFERS);
  return true;
}

LegStatus Leg::system_status(int error) {
  if (error == EAGAIN || error == EINTR) return LegStatus::kAgain;
  if (error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH) return LegStatus::kSilent;
  return LegStatus::kReset;
}

/// What a call that failed found, and what it waits for.
LegStatus Leg::tls_status(int result) {
  int error = errno;
  switch (SSL_get_error(tls_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      if (allowance_ == 0) return LegStatus::kLater;
      readable = false;
      return LegStatus::kAgain;
    case SSL_ERROR_WANT_WRITE:
      writable = false;
      return LegStatus::kAgain;
    case SSL_ERROR_ZERO_RETURN:
      return LegStatus::kEnd;
    case SSL_ERROR_SYSCALL:
      ERR_clear_error();
      if (error != 0 && error != EAGAIN) return system_status(error);
      return LegStatus::kTruncated;
    default:
      break;
  }
  unsigned long code = ERR_peek_error();
  bool truncated =
      ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
  const char* reason = ERR_reason_error_string(code);
  error_ = reason ? reason : "TLS failed";
  ERR_clear_error();
  return truncated ? LegStatus::kTruncated : LegStatus::kError;
}

LegStatus Leg::handshake() {
  ERR_clear_error();
  errno = 0;
  int result = SSL_do_handshake(tls_.get());
  if (result != 1) return tls_status(result);
  readable = true;  // what came with the handshake's end is in TLS's own buffer, of which no event tells
  return LegStatus::kDone;
}

LegResult Leg::read(std::span<std::byte> into) {
  return tls_ ? read_tls(into) : read_plain(into);
}

LegResult Leg::read_plain(std::span<std::byte> into) {
  ssize_t n = recv(fd_.get(), into.data(), into.size(), 0);
  if (n > 0) {
    auto got = static_cast<size_t>(n);
    if (got < into.size() && !hung_up) readable = false;
    return {LegStatus::kDone, got};
  }
  if (n == 0) return {LegStatus::kEnd};
  LegStatus status = system_status(errno);
  if (status == LegStatus::kAgain && errno != EINTR) readable = false;
  return {status};
}

/// As many records as there are, and fit.
LegResult Leg::read_tls(std::span<std::byte> into) {
  size_t done = 0;
  while (done < into.size()) {
    ERR_clear_error();
    errno = 0;
    size_t got = 0;
    int result = SSL_read_ex(tls_.get(), into.data() + done, into.size() - done, &got);
    if (result != 1) {
      if (done != 0 && SSL_get_error(tls_.get(), result) != SSL_ERROR_WANT_READ)
        break;  // it will say so again
      LegStatus status = tls_status(result);
      return done != 0 ? LegResult{LegStatus::kDone, done} : LegResult{status};
    }
    done += got;
    allowance_ = std::min(allowance_ + got, kTurnBytes);
  }
  return {LegStatus::kDone, done};
}

LegResult Leg::write(std::span<const std::byte> bytes) {
  if (!tls_) {
    ssize_t n = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      if (static_cast<size_t>(n) < bytes.size()) writable = false;
      return {LegStatus::kDone, static_cast<size_t>(n)};
    }
    LegStatus status = system_status(errno);
    if (status == LegStatus::kAgain && errno != EINTR) writable = false;
    return {status};
  }
  size_t done = 0;
  while (done < bytes.size()) {
    ERR_clear_error();
    errno = 0;
    size_t put = 0;
    int result = SSL_write_ex(tls_.get(), bytes.data() + done, bytes.size() - done, &put);
    if (result != 1) {
      LegStatus status = tls_status(result);
      if (status == LegStatus::kAgain && done != 0) break;
      return {status};
    }
    done += put;
  }
  return {LegStatus::kDone, done};
}

LegStatus Leg::finish() {
  if (tls_ && (SSL_get_shutdown(tls_.get()) & SSL_SENT_SHUTDOWN) == 0) {
    ERR_clear_error();
    errno = 0;
    if (int result = SSL_shutdown(tls_.get()); result < 0)
      if (LegStatus status = tls_status(result); status != LegStatus::kEnd) return status;
  }
  return shutdown(fd_.get(), SHUT_WR) == 0 ? LegStatus::kDone : LegStatus::kReset;
}

LegStatus Leg::failure() {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error == 0)
    return LegStatus::kDone;
  char buffer[128];
  error_ = strerror_r(error, buffer, sizeof buffer);
  return system_status(error);
}

void Leg::close(bool politely) {
  if (!fd_) return;
  if (politely) set_linger(fd_.get(), false);
  if (tls_) SSL_set_quiet_shutdown(tls_.get(), 1);
  tls_.reset();
  fd_ = Fd();
}

void tune(int fd) {
  set_linger(fd, true);
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveIdle);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveInterval);
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveCount);
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(kUserTimeoutMs));
}

Expected<Fd> connect_transparently(const IpAddress& client, uint16_t client_port, const IpAddress& server,
                                   uint16_t server_port) {
  bool v4 = client.is_v4();
  Fd fd(socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno(errno, "socket");
  int on = 1;
  int transparent = v4 ? setsockopt(fd.get(), IPPROTO_IP, IP_TRANSPARENT, &on, sizeof on)
                       : setsockopt(fd.get(), IPPROTO_IPV6, IPV6_TRANSPARENT, &on, sizeof on);
  if (transparent != 0) return fail_errno(errno, "transparent socket");
  set(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);  // the port is the client's, which uses it for several servers
  SocketAddress from = socket_address(client, client_port), to = socket_address(server, server_port);
  if (bind(fd.get(), from.get(), from.length) != 0) return fail_errno(errno, "taking the client's address");
  if (connect(fd.get(), to.get(), to.length) != 0 && errno != EINPROGRESS)
    return fail_errno(errno, "connecting");
  return fd;
}

Expected<AcceptedConnection> accept_transparently(int listener) {
  SocketAddress peer, meant;
  peer.length = meant.length = sizeof peer.storage;
  for (;;) {
    Fd fd(accept4(listener, peer.get(), &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd && errno == EINTR) continue;
    if (!fd && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
      return fail(ErrorCode::kExhausted, std::string("accepting a connection: ") + std::strerror(errno));
    if (!fd) return AcceptedConnection{};  // none, or one that is gone already
    if (getsockname(fd.get(), meant.get(), &meant.length) != 0) return AcceptedConnection{};
    auto [client, client_port] = ip_address(peer.storage);
    auto [server, server_port] = ip_address(meant.storage);
    return AcceptedConnection{std::move(fd), client, server, client_port, server_port};
  }
}

}  // namespace bulkhead
