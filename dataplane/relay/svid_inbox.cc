// SVIDs that another process fetches, which alone speaks with the agent.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <optional>
#include <thread>

#include <openssl/crypto.h>

#include "base/printable.h"
#include "contract/channel.h"
#include "contract/relay_messages.h"
#include "dataplane/relay/log.h"
#include "dataplane/relay/svid_response.h"
#include "dataplane/relay/svid_source.h"

namespace bulkhead {

namespace {

std::shared_ptr<const SvidSet> no_svids(bool awaited) {
  auto none = std::make_shared<SvidSet>();
  none->trust = std::make_shared<const TrustStore>();
  none->awaited = awaited;
  return none;
}

Expected<Fd> make_event() {
  Fd event(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event) return fail_errno(errno, "eventfd");
  return event;
}

/// Has a thread of its own, since a large set takes longer to read than a heartbeat may be late.
class SvidInbox {
 public:
  /// `changed`: an eventfd, which counts the sets that came into force.
  static Expected<std::shared_ptr<SvidInbox>> listen(const std::string& path, const Fd& changed) {
    auto inbox = std::make_shared<SvidInbox>();
    auto listener = listen_at(path);
    if (!listener) return std::unexpected(listener.error());
    auto stop = make_event();
    if (!stop) return std::unexpected(stop.error());
    inbox->listener_ = std::move(*listener), inbox->stop_ = std::move(*stop);
    inbox->changed_ = Fd(dup(changed.get()));
    if (!inbox->changed_) return fail_errno(errno, "eventfd");
    return inbox;
  }

  ~SvidInbox() {
    if (!thread_.joinable()) return;
    eventfd_write(stop_.get(), 1);
    thread_.join();
  }

  void take_notice() {
    eventfd_t count;
    eventfd_read(changed_.get(), &count);
  }

  /// What is in force. Thread: any one. Begins to listen at the first call, so that the process is confined
  /// before there is another thread.
  std::shared_ptr<const SvidSet> set() {
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
    std::lock_guard lock(mutex_);
    return set_;
  }

 private:
  void run() {
    for (;;) {
      pollfd watched[] = {{stop_.get(), POLLIN, 0},
                          {listener_.get(), POLLIN, 0},
                          {fetcher_ ? fetcher_->fd() : -1, POLLIN, 0}};
      if (poll(watched, 3, -1) < 0) continue;
      if (watched[0].revents != 0) return;
      if (watched[2].revents != 0) hear();
      if (watched[1].revents != 0) admit();
    }
  }

  /// One message of the fetcher's.
  void hear() {
    auto packet = fetcher_->receive(0);
    if (packet && packet->bytes.empty()) return;
    auto taken = packet ? take(*packet) : std::unexpected(packet.error());
    if (taken) taken = fetcher_->send_message(make_message<Accepted>(MessageType::kAccepted));
    if (taken) return;
    log_line("the SVIDs' fetcher: " + taken.error().message + "; what it said last stays in force");
    fetcher_.reset();
  }

  /// The last to come is the one that lives: the one before it was killed, or is about to be told so.
  void admit() {
    auto fd = accept_from(listener_);
    if (!fd || !*fd) return;
    Channel channel(std::move(*fd));
    if (auto peer = channel.peer(); !peer || peer->uid != geteuid())
      return log_line("somebody else than the relay's own user offered SVIDs, and was turned away");
    fetcher_.emplace(std::move(channel));
  }

  /// Errors: those of a fetcher that doesn't keep to the contract, which ends with it.
  Expected<> take(const Packet& packet) {
    auto message = decode_message<PublishSvids>(packet.bytes, MessageType::kPublishSvids);
    if (!message) return std::unexpected(message.error());
    if (message->withdrawn == 1) {
      log_line("the agent grants no SVID any more: none is in force");
      known_.clear();
      enforce(no_svids(false));
      return {};
    }
    if (packet.fds.size() != 1) return fail(ErrorCode::kInvalid, "SVIDs without their memfd");
    std::string bytes(message->response_bytes, '\0');
    auto copied = copy_sealed(packet.fds[0], std::as_writable_bytes(std::span(bytes)));
    if (copied) adopt(read_svid_response(bytes, known_));
    OPENSSL_cleanse(bytes.data(), bytes.size());
    return copied;
  }

  void adopt(Expected<SvidResponse> response) {
    if (!response)
      return log_line("what the agent sent changes nothing: " + printable(response.error().message));
    for (const Error& error : response->left_out) log_line("not trusted: " + printable(error.message));
    log_line("the agent has " + std::to_string(response->set->own.size()) + " SVIDs and " +
             std::to_string(response->set->trust->size()) + " trust domains");
    known_ = std::move(response->read);
    enforce(std::move(response->set));
  }

  void enforce(std::shared_ptr<const SvidSet> set) {
    {
      std::lock_guard lock(mutex_);
      set_ = std::move(set);
    }
    eventfd_write(changed_.get(), 1);
  }

  Fd listener_, stop_, changed_;
  std::optional<Channel> fetcher_;
  KnownSvids known_;
  std::mutex mutex_;
  std::shared_ptr<const SvidSet> set_ = no_svids(true);  ///< under the mutex
  std::thread thread_;
};

}  // namespace

Expected<SvidSource> open_svid_inbox(const std::string& path) {
  auto changed = make_event();
  if (!changed) return std::unexpected(changed.error());
  auto inbox = SvidInbox::listen(path, *changed);
  if (!inbox) return std::unexpected(inbox.error());
  return SvidSource{.changed = std::move(*changed),
                    .take = [inbox = *inbox] { inbox->take_notice(); },
                    .read = [inbox = *inbox] { return inbox->set(); }};
}

}  // namespace bulkhead
