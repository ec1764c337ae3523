#include "dataplane/fetcher/delivery.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/printable.h"
#include "contract/channel.h"
#include "contract/relay_messages.h"
#include "dataplane/fetcher/log.h"

namespace bulkhead {

namespace {

using std::chrono::milliseconds, std::chrono::steady_clock;

constexpr milliseconds kFirstPause{100}, kLongestPause{1000};

Expected<Channel> connect_to_relay(const sockaddr_un& relay) {
  auto fd = connect_to(relay, SOCK_SEQPACKET | SOCK_NONBLOCK);
  if (!fd) return std::unexpected(fd.error());
  Channel channel(std::move(*fd));
  auto peer = channel.peer();
  if (!peer) return std::unexpected(peer.error());
  if (peer->uid != geteuid())
    return fail(ErrorCode::kPermission, std::string(relay.sun_path) + ": user " + std::to_string(peer->uid) +
                                            " listens there; private keys go to no other user than this");
  return channel;
}

Expected<> send(Channel& channel, const Mailbox::Item& item) {
  auto message = make_message<PublishSvids>(MessageType::kPublishSvids);
  if (!item.response) {
    message.withdrawn = 1;
    return channel.send_message(message);
  }
  message.response_bytes = item.response->size();
  auto sealed = make_sealed("bulkhead-svids", std::as_bytes(std::span(*item.response)));
  if (!sealed) return std::unexpected(sealed.error());
  int fd = sealed->get();
  return channel.send_message(message, std::span(&fd, 1));
}

/// One message after the other, so that no more than one is on its way. Until the relay is gone, which the
/// error says.
Error serve(Channel& channel, Mailbox& mailbox) {
  uint64_t sent = 0;
  for (bool is_read = true;;) {
    mailbox.take_notice();
    if (auto item = mailbox.latest(); is_read && item.number != sent) {
      if (auto done = send(channel, item); !done) return done.error();
      sent = item.number, is_read = false;
    }
    pollfd watched[] = {{channel.fd(), POLLIN, 0}, {mailbox.fd(), POLLIN, 0}};
    poll(watched, 2, -1);
    if (watched[0].revents == 0) continue;
    auto answer = channel.receive(0);
    if (!answer) return {ErrorCode::kUnavailable, "it closed the connection"};
    is_read = is_read || !answer->bytes.empty();
  }
}

}  // namespace

void deliver(const sockaddr_un& relay, Mailbox& mailbox) {
  std::string told;
  for (milliseconds pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    auto began = steady_clock::now();
    auto channel = connect_to_relay(relay);
    Error ended = channel ? serve(*channel, mailbox) : channel.error();
    if (steady_clock::now() - began > kLongestPause) pause = kFirstPause, told.clear();
    if (ended.message != told) log_fetcher("the relay: " + printable(ended.message) + "; it is tried again");
    told = ended.message;
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace bulkhead
