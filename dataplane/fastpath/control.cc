#include "dataplane/fastpath/control.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <span>

namespace bulkhead {

namespace {

using std::chrono::microseconds, std::chrono::milliseconds, std::chrono::seconds;

constexpr size_t kMaxGuests = 8;
constexpr Nanoseconds kHelloPatience = seconds(2);
constexpr Nanoseconds kListingPatience = seconds(1);
constexpr size_t kMaxListings = 16;
/// After descriptors ran out: whoever waits at the socket keeps it readable, and would keep us from sleeping.
constexpr Nanoseconds kAcceptPause = milliseconds(100);
constexpr Nanoseconds kGracePatience = milliseconds(2);  ///< in one step
constexpr Nanoseconds kGraceNap = microseconds(20);      ///< a burst takes about as long
constexpr int kSendTimeoutMs = 100;
constexpr int kMessagesPerStep = 16;

void nap(Nanoseconds time) {
  timespec wanted{0, static_cast<long>(time.count())};
  nanosleep(&wanted, nullptr);
}

template <size_t N>
void copy_text(char (&to)[N], const std::string& text) {
  std::snprintf(to, N, "%s", text.c_str());
}

}  // namespace

Expected<std::unique_ptr<ControlServer>> ControlServer::listen(ControlOptions options, Publisher& publisher,
                                                               Telemetry& telemetry, FlowLister& flows) {
  auto listener = listen_at(options.socket);
  if (!listener) return std::unexpected(listener.error());
  if (options.control_plane &&
      lchown(options.socket.c_str(), *options.control_plane, static_cast<gid_t>(-1)) != 0)
    return fail_errno(errno, options.socket + ": give it to user " + std::to_string(*options.control_plane));
  return std::unique_ptr<ControlServer>(
      new ControlServer(std::move(options), std::move(*listener), publisher, telemetry, flows));
}

ControlServer::ControlServer(ControlOptions options, Fd listener, Publisher& publisher, Telemetry& telemetry,
                             FlowLister& flows)
    : options_(std::move(options)),
      listener_(std::move(listener)),
      publisher_(publisher),
      telemetry_(telemetry),
      flows_(flows),
      started_(boot_now()) {}

void ControlServer::step(int timeout_ms) {
  wait(timeout_ms);
  finish_publish();
  serve_plane();
  admit_guests();
  greet_guests();
  advance_listing();
  count_state();
}

void ControlServer::wait(int timeout_ms) {
  if (publisher_.pending()) return;  // finish_publish() waits better
  std::vector<pollfd> watched;
  if (next_accept_ <= boot_now()) watched.push_back({listener_.get(), POLLIN, 0});
  if (plane_) watched.push_back({plane_->channel.fd(), POLLIN, 0});
  for (const Guest& guest : guests_) watched.push_back({guest.channel.fd(), POLLIN, 0});
  poll(watched.data(), watched.size(), listings_.empty() ? timeout_ms : std::min(timeout_ms, 1));
}

/// Lets in who is allowed to speak at all; what they want they say with Hello.
void ControlServer::admit_guests() {
  while (next_accept_ <= boot_now()) {
    auto fd = accept_from(listener_);
    if (!fd) next_accept_ = boot_now() + kAcceptPause;
    if (!fd || !*fd) return;
    Channel channel(std::move(*fd));
    auto peer = channel.peer();
    if (!peer) continue;
    if (peer->uid != 0 && peer->uid != options_.control_plane) {
      refuse(channel, 0,
             {ErrorCode::kPermission, "user " + std::to_string(peer->uid) + " may not control this gateway"});
    } else if (guests_.size() == kMaxGuests) {
      refuse(channel, 0, {ErrorCode::kUnavailable, "too many connections that never said Hello; try again"});
    } else {
      guests_.push_back({std::move(channel), *peer, boot_now() + kHelloPatience});
    }
  }
}

void ControlServer::greet_guests() {
  if (publisher_.pending()) return;  // its control plane may be dead and not be known to be
  std::erase_if(guests_, [this](Guest& guest) { return !stays(guest); });
}

/// Whether the guest is still to be waited for.
bool ControlServer::stays(Guest& guest) {
  auto packet = guest.channel.receive(0);
  if (!packet) return false;
  if (!packet->bytes.empty()) return greet(guest, *packet);
  return boot_now() < guest.deadline;
}

bool ControlServer::greet(Guest& guest, const Packet& packet) {
  if (auto hello = decode_message<Hello>(packet.bytes, MessageType::kHello); !hello) {
    refuse(guest.channel, 0, hello.error());
  } else if (plane_) {
    refuse(
        guest.channel, 0,
        {ErrorCode::kExists, "a control plane, pid " + std::to_string(plane_->peer.pid) + ", is attached"});
  } else {
    attach(guest);
  }
  return false;
}

void ControlServer::attach(Guest& guest) {
  plane_.emplace(Plane{std::move(guest.channel), guest.peer});
  listings_.clear();  // the one before it asked for these
  std::vector<int> fds = telemetry_.fds();
  Welcome welcome = make_welcome();
  if (welcome.rule_hits_count != 0) fds.push_back(publisher_.image()->hits.fd.get());
  keep_if(plane_->channel.send(std::as_bytes(std::span(&welcome, 1)), fds, kSendTimeoutMs));
}

Welcome ControlServer::make_welcome() const {
  auto welcome = make_message<Welcome>(MessageType::kWelcome);
  welcome.pid = static_cast<uint64_t>(getpid());
  welcome.generation = publisher_.generation();
  if (const EnforcedImage* image = publisher_.image()) {
    welcome.image_generation = image->generation;
    welcome.image_checksum = image->checksum;
    welcome.rule_hits_count = image->view.rules.size();
  }
  welcome.endpoint_count = publisher_.endpoints().size();
  welcome.worker_count = telemetry_.worker_count();
  welcome.port_count = telemetry_.header().port_count;
  welcome.max_flows = options_.max_flows;
  welcome.started_boot_ns = static_cast<uint64_t>(started_.ns);
  copy_text(welcome.gateway, options_.gateway);
  return welcome;
}

/// Takes the control plane's messages one by one; none while a publish waits for the workers.
void ControlServer::serve_plane() {
  for (int i = 0; i < kMessagesPerStep && plane_ && !publisher_.pending(); ++i) {
    auto packet = plane_->channel.receive(0);
    if (packet && packet->bytes.empty()) return;
    Expected<void> served = packet ? serve(std::move(*packet)) : std::unexpected(packet.error());
    if (!served && served.error().code == ErrorCode::kInvalid && plane_)
      refuse(plane_->channel, 0, served.error());
    keep_if(served);
    finish_publish();
  }
}

/// Errors: kInvalid for a message that this side can't make sense of; kUnavailable where an answer can't be
/// sent. Either ends the connection.
Expected<void> ControlServer::serve(Packet packet) {
  auto header = decode_header(packet.bytes);
  if (!header) return std::unexpected(header.error());
  switch (header->type) {
    case MessageType::kPublish:
      return take_publish(std::move(packet));
    case MessageType::kListFlows:
      return take_list_flows(packet);
    case MessageType::kShutdown:
      shutdown_requested_ = true;
      return {};
    default:
      return fail(ErrorCode::kInvalid, "a message of type " +
                                           std::to_string(static_cast<uint32_t>(header->type)) +
                                           ", which isn't a control plane's to send once it is attached");
  }
}

Expected<void> ControlServer::take_publish(Packet packet) {
  BootTime arrived = boot_now();
  auto message = decode_message<Publish>(packet.bytes, MessageType::kPublish);
  if (!message) return std::unexpected(message.error());
  size_t expected_fds = size_t{message->image_bytes != 0} + size_t{message->batch_count != 0};
  if (packet.fds.size() != expected_fds)
    return fail(ErrorCode::kInvalid, "a Publish with " + std::to_string(packet.fds.size()) +
                                         " descriptors instead of " + std::to_string(expected_fds));
  Update update{.generation = message->generation,
                .base_image_generation = message->base_image_generation,
                .image_bytes = message->image_bytes,
                .image = message->image_bytes != 0 ? std::move(packet.fds.front()) : Fd(),
                .batch_count = message->batch_count,
                .batch = message->batch_count != 0 ? std::move(packet.fds.back()) : Fd(),
                .replace_endpoints = message->replace_endpoints == 1,
                .arrived = arrived};
  if (auto published = publisher_.publish(std::move(update)); !published)
    refuse(plane_->channel, message->generation, published.error());
  return {};
}

/// Waits a moment for the workers, and acknowledges once they are all there; if they aren't, the next step
/// goes on.
void ControlServer::finish_publish() {
  BootTime deadline = boot_now() + kGracePatience;
  while (publisher_.pending()) {
    if (auto enforcement = publisher_.complete()) {
      if (plane_) keep_if(send_accepted(*enforcement));
      return;
    }
    if (deadline < boot_now()) return;
    nap(kGraceNap);
  }
}

Expected<void> ControlServer::send_accepted(const Enforcement& enforcement) {
  auto accepted = make_message<Accepted>(MessageType::kAccepted);
  accepted.generation = enforcement.generation;
  accepted.checked_ns = enforcement.checked_ns;
  accepted.enforced_ns = enforcement.enforced_ns;
  std::vector<int> fds;
  if (enforcement.new_image) accepted.rule_hits_count = publisher_.image()->view.rules.size();
  if (accepted.rule_hits_count != 0) fds.push_back(publisher_.image()->hits.fd.get());
  return plane_->channel.send(std::as_bytes(std::span(&accepted, 1)), fds, kSendTimeoutMs);
}

/// One list is made at a time, the others wait for it.
Expected<void> ControlServer::take_list_flows(const Packet& packet) {
  auto message = decode_message<ListFlows>(packet.bytes, MessageType::kListFlows);
  if (!message) return std::unexpected(message.error());
  if (listings_.size() == kMaxListings)
    return fail(ErrorCode::kInvalid,
                "more than " + std::to_string(kMaxListings) + " lists of flows at a time");
  listings_.push_back({message->request, message->limit, boot_now() + kListingPatience});
  return {};
}

/// Goes on with the first of the lists, and answers it: with what there is once its time is over, which is
/// nothing where a worker still writes to the list before it.
void ControlServer::advance_listing() {
  if (listings_.empty()) return;
  Listing& first = listings_.front();
  bool late = first.deadline < boot_now();
  if (!first.begun) first.begun = flows_.begin(first.limit);
  std::optional<FlowListing> listing;
  if (first.begun)
    listing = flows_.collect(late);
  else if (late)
    listing.emplace();
  if (!listing) return;
  if (plane_) keep_if(send_listing(first.request, *listing));
  listings_.pop_front();
}

Expected<void> ControlServer::send_listing(uint64_t request, const FlowListing& listing) {
  auto page = make_message<FlowPage>(MessageType::kFlowPage);
  page.request = request;
  page.count = listing.flows.size();
  page.total = listing.total;
  Fd records;
  if (page.count != 0) {
    auto sealed = make_sealed("bulkhead-flows", std::as_bytes(std::span(listing.flows)));
    if (!sealed) {
      refuse(plane_->channel, 0, sealed.error());
      return {};
    }
    records = std::move(*sealed);
  }
  int fd = records.get();
  return plane_->channel.send(std::as_bytes(std::span(&page, 1)), std::span(&fd, page.count != 0 ? 1 : 0),
                              kSendTimeoutMs);
}

void ControlServer::announce_port(PortId port, bool up) {
  if (!plane_) return;
  auto event = make_message<PortEvent>(MessageType::kPortEvent);
  event.port = port.value;
  event.up = up ? 1 : 0;
  keep_if(plane_->channel.send(std::as_bytes(std::span(&event, 1)), {}, kSendTimeoutMs));
}

void ControlServer::refuse(Channel& channel, uint64_t generation, const Error& error) {
  auto refused = make_message<Refused>(MessageType::kRefused);
  refused.generation = generation;
  refused.code = error.code;
  copy_text(refused.reason, error.message);
  // Who doesn't take the answer is gone or will be found out by the next send.
  static_cast<void>(channel.send(std::as_bytes(std::span(&refused, 1)), {}, kSendTimeoutMs));
}

/// Ends the connection where it failed: what is enforced stays so, and the next control plane may attach.
void ControlServer::keep_if(const Expected<void>& sent) {
  if (!sent) plane_.reset();
}

void ControlServer::count_state() {
  CountersHeader& header = telemetry_.header();
  header.generation.store(publisher_.generation(), std::memory_order_relaxed);
  header.image_generation.store(publisher_.image() ? publisher_.image()->generation : 0,
                                std::memory_order_relaxed);
  header.endpoints.store(publisher_.endpoints().size(), std::memory_order_relaxed);
}

}  // namespace bulkhead
