#include "contract/channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "contract/host_lock.h"
#include "contract/messages.h"

namespace bulkhead {

namespace {

constexpr int kBacklog = 8;
constexpr auto kLockPatience = std::chrono::seconds(5);  ///< it is held for as long as a bind takes

/// Waits until `fd` is ready for `events`; false when time ran out.
Expected<bool> wait_for(int fd, short events, int timeout_ms) {
  pollfd waiting{fd, events, 0};
  for (;;) {
    int ready = poll(&waiting, 1, timeout_ms);
    if (ready >= 0) return ready > 0;
    if (errno != EINTR) return fail_errno(errno, "wait for the other plane");
  }
}

std::unexpected<Error> peer_gone() {
  return fail(ErrorCode::kUnavailable, "the other plane closed the connection");
}

/// Takes every descriptor out of a received message, so that each is closed whatever happens next.
std::vector<Fd> take_descriptors(msghdr& message) {
  std::vector<Fd> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

/// recvmsg(2) that looks twice: a peer that closed with mail unread is reported once, before what it still
/// had to say.
ssize_t receive_once_more_after_reset(int fd, msghdr& message) {
  constexpr int kFlags = MSG_CMSG_CLOEXEC | MSG_DONTWAIT;
  msghdr fresh = message;
  ssize_t n = recvmsg(fd, &message, kFlags);
  if (n >= 0 || errno != ECONNRESET) return n;
  message = fresh;
  return recvmsg(fd, &message, kFlags);
}

Expected<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(ErrorCode::kInvalid, path + ": a socket's path has 1 to " +
                                         std::to_string(sizeof address.sun_path - 1) + " characters");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Expected<Fd> make_socket() {
  Fd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(errno, "socket");
  return fd;
}

int connect_address(const Fd& fd, const sockaddr_un& address) {
  return connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

int bind_address(const Fd& fd, const sockaddr_un& address) {
  return bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

/// Of two that start at once, one looks and binds after the other. Where the lock can't be had at all (no
/// root, a read-only /run) the second of the two may take the path from the first.
Expected<Fd> lock_against_other_starts() {
  auto lock = lock_host(HostLock::kSockets, kLockPatience);
  if (!lock && lock.error().code != ErrorCode::kExists) return Fd();
  return lock;
}

/// Removes the socket file at `path` if nobody listens on it.
Expected<void> remove_if_dead(const std::string& path, const sockaddr_un& address) {
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) return fail_errno(errno, path);
  if (!S_ISSOCK(status.st_mode))
    return fail(ErrorCode::kExists, path + ": is not a socket; remove it, or configure another path");
  auto probe = make_socket();
  if (!probe) return std::unexpected(probe.error());
  if (connect_address(*probe, address) != ECONNREFUSED)
    return fail(ErrorCode::kExists, path + ": somebody else listens there; is this gateway running already?");
  if (unlink(path.c_str()) != 0) return fail_errno(errno, path);
  return {};
}

}  // namespace

Expected<void> Channel::send(std::span<const std::byte> message, std::span<const int> fds, int timeout_ms) {
  if (fds.size() > kMaxMessageFds || message.empty() || message.size() > kMaxMessageBytes)
    return fail(ErrorCode::kInvalid, "a message of " + std::to_string(message.size()) + " bytes with " +
                                         std::to_string(fds.size()) + " descriptors can't be sent");
  iovec part{const_cast<std::byte*>(message.data()), message.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxMessageFds * sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  for (;;) {
    if (sendmsg(fd_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return {};
    if (errno == EINTR) continue;
    if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) return peer_gone();
    if (errno != EAGAIN) return fail_errno(errno, "send to the other plane");
    auto ready = wait_for(fd_.get(), POLLOUT, timeout_ms);
    if (!ready) return std::unexpected(ready.error());
    if (!*ready) return fail(ErrorCode::kUnavailable, "the other plane doesn't read what it is sent");
  }
}

Expected<Packet> Channel::receive(int timeout_ms) {
  std::byte bytes[kMaxMessageBytes];
  iovec part{bytes, sizeof bytes};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxMessageFds * sizeof(int))];
  for (;;) {
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    ssize_t n = receive_once_more_after_reset(fd_.get(), header);
    if (n > 0) {
      Packet packet{{bytes, bytes + n}, take_descriptors(header)};
      if (header.msg_flags & MSG_TRUNC) return fail(ErrorCode::kInvalid, "a message that is too long");
      if (header.msg_flags & MSG_CTRUNC)
        return fail(ErrorCode::kInvalid, "a message with more descriptors than can be taken");
      return packet;
    }
    if (n == 0 || errno == ECONNRESET || errno == ENOTCONN) {
      if (n == 0)
        take_descriptors(header);  // an empty message may carry some; it ends the connection all the same
      return peer_gone();
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return fail_errno(errno, "receive from the other plane");
    auto ready = wait_for(fd_.get(), POLLIN, timeout_ms);
    if (!ready) return std::unexpected(ready.error());
    if (!*ready) return Packet{};
  }
}

Expected<PeerCredentials> Channel::peer() const {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
    return fail_errno(errno, "credentials of the other plane");
  return PeerCredentials{credentials.pid, credentials.uid, credentials.gid};
}

Expected<Fd> listen_at(const std::string& path) {
  auto address = address_of(path);
  if (!address) return std::unexpected(address.error());
  auto lock = lock_against_other_starts();
  if (!lock) return lock;
  auto fd = make_socket();
  if (!fd) return fd;
  if (fchmod(fd->get(), 0600) != 0) return fail_errno(errno, path);  // bind() gives the file this mode
  int error = bind_address(*fd, *address);
  if (error == EADDRINUSE) {
    if (auto removed = remove_if_dead(path, *address); !removed) return std::unexpected(removed.error());
    error = bind_address(*fd, *address);
  }
  if (error != 0) return fail_errno(error, path);
  if (listen(fd->get(), kBacklog) != 0) return fail_errno(errno, path);
  return fd;
}

Expected<Channel> connect_to(const std::string& path) {
  auto address = address_of(path);
  if (!address) return std::unexpected(address.error());
  auto fd = make_socket();
  if (!fd) return std::unexpected(fd.error());
  int error = connect_address(*fd, *address);
  if (error == ECONNREFUSED || error == ENOENT || error == EAGAIN)
    return fail(ErrorCode::kUnavailable, path + ": nobody answers there");
  if (error != 0) return fail_errno(error, path);
  return Channel(std::move(*fd));
}

Expected<Fd> accept_from(const Fd& listener) {
  for (;;) {
    Fd fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd || errno == EAGAIN || errno == ECONNABORTED) return fd;
    if (errno != EINTR) return fail_errno(errno, "accept a connection");
  }
}

}  // namespace bulkhead
