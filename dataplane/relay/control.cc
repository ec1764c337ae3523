#include "dataplane/relay/control.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>

#include "dataplane/relay/log.h"

namespace bulkhead {

namespace {

constexpr size_t kMaxGuests = 8;
constexpr Nanoseconds kHelloPatience = std::chrono::seconds(2);
constexpr int kMessagesPerStep = 16;
constexpr int kProofsPerStep = 4096;
constexpr int kSendTimeoutMs = 100;

void refuse(Channel& channel, uint64_t generation, const Error& error) {
  auto refused = make_message<Refused>(MessageType::kRefused);
  refused.generation = generation;
  refused.code = error.code;
  std::snprintf(refused.reason, sizeof refused.reason, "%s", error.message.c_str());
  // Who doesn't read the answer needs none.
  static_cast<void>(channel.send(std::as_bytes(std::span(&refused, 1)), {}, kSendTimeoutMs));
}

/// Whether nobody is at the other end any more, whatever is still to be read.
bool has_hung_up(const Channel& channel) {
  pollfd watched{channel.fd(), POLLRDHUP, 0};
  return poll(&watched, 1, 0) == 1 && (watched.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

}  // namespace

Expected<RelayControl> RelayControl::serve_at(Fd listener, RelayOrders orders) {
  auto is = [&](int option, int value) {
    int found = 0;
    socklen_t length = sizeof found;
    return getsockopt(listener.get(), SOL_SOCKET, option, &found, &length) == 0 && found == value;
  };
  if (!is(SO_DOMAIN, AF_UNIX) || !is(SO_TYPE, SOCK_SEQPACKET) || !is(SO_ACCEPTCONN, 1))
    return fail(ErrorCode::kInvalid,
                "descriptor " + std::to_string(listener.get()) +
                    " is no listening SOCK_SEQPACKET Unix socket: hand over one that is");
  if (fcntl(listener.get(), F_SETFD, FD_CLOEXEC) != 0 || fcntl(listener.get(), F_SETFL, O_NONBLOCK) != 0)
    return fail_errno(errno, "the control socket");
  return RelayControl(std::move(orders), std::move(listener));
}

void RelayControl::add_fds(std::vector<int>& fds) const {
  fds.push_back(listener_.get());
  if (plane_ && pending_ == 0) fds.push_back(plane_->fd());
  for (const Guest& guest : guests_) fds.push_back(guest.channel.fd());
}

void RelayControl::step() {
  serve_plane();
  admit_guests();
  std::erase_if(guests_, [this](Guest& guest) { return !stays(guest); });
}

void RelayControl::admit_guests() {
  for (;;) {
    auto fd = accept_from(listener_);
    if (!fd || !*fd) return;
    Channel channel(std::move(*fd));
    if (guests_.size() == kMaxGuests)
      refuse(channel, 0, {ErrorCode::kUnavailable, "too many connections that never said Hello; try again"});
    else
      guests_.push_back({std::move(channel), boot_now() + kHelloPatience});
  }
}

/// Whether the guest is still to be waited for.
bool RelayControl::stays(Guest& guest) {
  auto packet = guest.channel.receive(0);
  if (!packet) return false;
  if (packet->bytes.empty()) return boot_now() < guest.deadline;
  greet(guest, *packet);
  return false;
}

void RelayControl::greet(Guest& guest, const Packet& packet) {
  if (auto hello = decode_message<Hello>(packet.bytes, MessageType::kHello); !hello)
    return refuse(guest.channel, 0, hello.error());
  if (plane_ && has_hung_up(*plane_)) keep_if(fail(ErrorCode::kUnavailable, "it hung up before its answer"));
  if (plane_)
    return refuse(guest.channel, 0, {ErrorCode::kExists, "a control plane is attached to this relay"});
  plane_.emplace(std::move(guest.channel));
  RelayWelcome welcome = orders_.welcome();
  keep_if(plane_->send(std::as_bytes(std::span(&welcome, 1)), {}, kSendTimeoutMs));
}

void RelayControl::serve_plane() {
  for (int i = 0; i < kMessagesPerStep && plane_ && pending_ == 0; ++i) {
    auto packet = plane_->receive(0);
    if (packet && packet->bytes.empty()) return;
    if (!packet)
      keep_if(std::unexpected(packet.error()));
    else
      keep_if(serve(std::move(*packet)));
  }
}

/// Errors: those of a peer that doesn't keep to the contract, which ends with it.
Expected<> RelayControl::serve(Packet packet) {
  auto header = decode_header(packet.bytes);
  if (!header) return std::unexpected(header.error());
  switch (header->type) {
    case MessageType::kPublishIdentities: {
      auto publish = decode_message<PublishIdentities>(packet.bytes, MessageType::kPublishIdentities);
      if (!publish) return std::unexpected(publish.error());
      if (packet.fds.size() != 1) return fail(ErrorCode::kInvalid, "identities without their memfd");
      pending_ = publish->generation;
      if (auto taken = orders_.take_identities(*publish, packet.fds[0]); !taken) {
        refuse(*plane_, publish->generation, taken.error());
        pending_ = 0;
      }
      return {};
    }
    case MessageType::kRelayDrain:
      orders_.drain();
      return {};
    case MessageType::kShutdown:
      orders_.shut_down();
      return {};
    default:
      return fail(ErrorCode::kInvalid, "a message that only the relay sends");
  }
}

void RelayControl::answer_identities(uint64_t generation, int64_t checked_ns, int64_t enforced_ns) {
  if (!plane_ || pending_ != generation) return;
  pending_ = 0;
  auto accepted = make_message<Accepted>(MessageType::kAccepted);
  accepted.generation = generation;
  accepted.checked_ns = static_cast<uint64_t>(checked_ns);
  accepted.enforced_ns = static_cast<uint64_t>(enforced_ns);
  keep_if(plane_->send(std::as_bytes(std::span(&accepted, 1)), {}, kSendTimeoutMs));
}

/// Whether a message would find room. A control plane that doesn't read for a while isn't gone.
bool RelayControl::can_send() const {
  if (!plane_) return false;
  pollfd waiting{plane_->fd(), POLLOUT, 0};
  return poll(&waiting, 1, 0) == 1 && (waiting.revents & POLLOUT) != 0;
}

void RelayControl::send_counters(RelayCounters counters) {
  counters.header = make_message<RelayCounters>(MessageType::kRelayCounters).header;
  if (can_send()) keep_if(plane_->send(std::as_bytes(std::span(&counters, 1)), {}, 0));
}

void RelayControl::send_proofs(ProofQueue& proofs) {
  for (int i = 0; i < kProofsPerStep && can_send(); ++i) {
    auto proof = proofs.take();
    if (!proof) return;
    if (auto sent = plane_->send(encode_proof(*proof), {}, 0); !sent) {
      proofs.put_back(std::move(*proof));
      return keep_if(sent);
    }
  }
}

/// A control plane that can't be spoken with is gone; the next may attach.
void RelayControl::keep_if(const Expected<>& sent) {
  if (sent) return;
  log_line("control plane: " + sent.error().message);
  plane_.reset();
  pending_ = 0;
}

}  // namespace bulkhead
