#include "controlplane/publish/dataplane_client.h"

#include <unistd.h>
#include <algorithm>
#include <climits>
#include <utility>

#include "base/clock.h"

namespace bulkhead {

namespace {

std::unexpected<Error> broken(const std::string& what) {
  return fail(ErrorCode::kInvalid, "the dataplane sent " + what + ": start both planes from the same build");
}

/// Time that is left of a timeout, for calls that wait more than once.
class Patience {
 public:
  explicit Patience(int timeout_ms) : end_ns_(boot_now().ns + int64_t{timeout_ms} * 1'000'000) {}
  int left_ms() const {
    return static_cast<int>(std::clamp<int64_t>((end_ns_ - boot_now().ns + 999'999) / 1'000'000, 0, INT_MAX));
  }

 private:
  int64_t end_ns_;
};

}  // namespace

Expected<std::unique_ptr<DataplaneClient>> DataplaneClient::attach(const std::string& contract_socket,
                                                                   int timeout_ms) {
  auto channel = connect_to(contract_socket);
  if (!channel) return std::unexpected(channel.error());
  std::unique_ptr<DataplaneClient> client(new DataplaneClient(std::move(*channel)));
  auto hello = make_message<Hello>(MessageType::kHello);
  hello.pid = static_cast<uint64_t>(getpid());
  // A dataplane that refuses at once may have closed already: what it said is still there to be read.
  static_cast<void>(client->channel_.send_message(hello));
  auto answer = client->channel_.receive(timeout_ms);
  if (!answer) return with_context(answer.error(), contract_socket);
  if (answer->bytes.empty())
    return fail(ErrorCode::kUnavailable, contract_socket + ": the dataplane doesn't answer");
  if (auto welcomed = client->take_welcome(std::move(*answer)); !welcomed)
    return with_context(welcomed.error(), contract_socket);
  return client;
}

Expected<void> DataplaneClient::take_welcome(Packet packet) {
  if (auto refused = decode_message<Refused>(packet.bytes, MessageType::kRefused))
    return fail(refused->code, refused->reason);
  auto welcome = decode_message<Welcome>(packet.bytes, MessageType::kWelcome);
  if (!welcome) return std::unexpected(welcome.error());
  welcome_ = *welcome;
  size_t expected_fds = 1 + 2 * size_t{welcome_.worker_count} + (welcome_.rule_hits_count != 0 ? 1 : 0);
  if (packet.fds.size() != expected_fds)
    return broken("a Welcome with " + std::to_string(packet.fds.size()) + " descriptors");
  if (auto mapped = map_counters(packet.fds[0]); !mapped) return mapped;
  for (size_t worker = 0; worker < welcome_.worker_count; ++worker)
    if (auto mapped = map_ring(packet.fds[1 + 2 * worker], packet.fds[2 + 2 * worker]); !mapped)
      return mapped;
  if (welcome_.rule_hits_count == 0) return {};
  return map_rule_hits(packet.fds.back(), welcome_.rule_hits_count);
}

Expected<void> DataplaneClient::map_counters(const Fd& fd) {
  auto counters = map_read_only(fd, counters_bytes(welcome_.worker_count));
  if (!counters) return with_context(counters.error(), "counters");
  counters_ = std::move(*counters);
  const CountersHeader& header = this->counters();
  if (header.magic != kCountersMagic || header.format != kCountersFormat ||
      header.worker_bytes != sizeof(WorkerCounters) || header.worker_count != welcome_.worker_count)
    return broken("counters of another format");
  return {};
}

Expected<void> DataplaneClient::map_ring(const Fd& records, const Fd& tail) {
  auto mapped_records = map_read_only(records, kEventRingBytes);
  if (!mapped_records) return with_context(mapped_records.error(), "event ring");
  auto mapped_tail = map_read_write(tail, sizeof(EventRingTail));
  if (!mapped_tail) return with_context(mapped_tail.error(), "event ring");
  const auto* header = mapped_records->as<const EventRingHeader>();
  if (header->magic != kEventRingMagic || header->slots != kEventRingSlots ||
      header->record_bytes != sizeof(FlowRecord))
    return broken("an event ring of another format");
  EventReader reader(header, mapped_tail->as<EventRingTail>());
  rings_.push_back({std::move(*mapped_records), std::move(*mapped_tail), reader});
  return {};
}

Expected<void> DataplaneClient::map_rule_hits(const Fd& fd, uint64_t count) {
  if (count > kMaxImageBytes / sizeof(RuleRecord)) return broken("an impossible number of rules");
  auto hits = map_read_only(fd, count * welcome_.worker_count * sizeof(RuleHits));
  if (!hits) return with_context(hits.error(), "counters of rules");
  rule_hits_ = std::move(*hits);
  rule_count_ = count;
  return {};
}

Expected<void> DataplaneClient::publish(const PublishRequest& request) {
  if (request.image.size() > kMaxImageBytes)
    return fail(ErrorCode::kInvalid, "a policy image of " + std::to_string(request.image.size()) +
                                         " bytes, over the limit of 1 GiB");
  if (request.changes.size() > kMaxBatchCount)
    return fail(ErrorCode::kInvalid, std::to_string(request.changes.size()) +
                                         " endpoint changes, over the limit of " +
                                         std::to_string(kMaxBatchCount));
  auto message = make_message<Publish>(MessageType::kPublish);
  message.generation = request.generation;
  message.base_image_generation = request.base_image_generation;
  message.image_bytes = request.image.size();
  message.batch_count = request.changes.size();
  message.replace_endpoints = request.replace_endpoints ? 1 : 0;

  Fd memfds[2];
  int fds[2];
  size_t count = 0;
  for (auto part : {request.image, std::as_bytes(request.changes)}) {
    if (part.empty()) continue;
    auto sealed = make_sealed("bulkhead-publish", part);
    if (!sealed) return std::unexpected(sealed.error());
    memfds[count] = std::move(*sealed);
    fds[count] = memfds[count].get();
    ++count;
  }
  int64_t now = boot_now().ns;
  if (auto sent = channel_.send_message(message, {fds, count}); !sent) return sent;
  sent_.push_back({request.generation, !request.image.empty(), now});
  return {};
}

Expected<void> DataplaneClient::handle_readable() {
  for (;;) {
    auto packet = channel_.receive(0);
    if (!packet) return std::unexpected(packet.error());
    if (packet->bytes.empty()) return {};
    if (auto taken = take(std::move(*packet)); !taken) return taken;
  }
}

Expected<void> DataplaneClient::take(Packet packet) {
  auto header = decode_header(packet.bytes);
  if (!header) return std::unexpected(header.error());
  switch (header->type) {
    case MessageType::kAccepted:
      return take_accepted(packet);
    case MessageType::kRefused:
      return take_refused(packet);
    case MessageType::kFlowPage:
      return take_flow_page(packet);
    case MessageType::kPortEvent: {
      auto event = decode_message<PortEvent>(packet.bytes, MessageType::kPortEvent);
      if (!event) return std::unexpected(event.error());
      port_events_.push_back(*event);
      return {};
    }
    default:
      return broken("a message that isn't a dataplane's to send");
  }
}

/// Answers come in the order of requests.
Expected<DataplaneClient::Sent> DataplaneClient::take_sent(uint64_t generation) {
  if (sent_.empty() || sent_.front().generation != generation)
    return broken("an answer to generation " + std::to_string(generation) + ", which wasn't next");
  Sent sent = sent_.front();
  sent_.pop_front();
  return sent;
}

Expected<void> DataplaneClient::take_accepted(const Packet& packet) {
  auto accepted = decode_message<Accepted>(packet.bytes, MessageType::kAccepted);
  if (!accepted) return std::unexpected(accepted.error());
  auto sent = take_sent(accepted->generation);
  if (!sent) return std::unexpected(sent.error());
  if (sent->with_image) {
    rule_hits_ = Mapping();
    rule_count_ = 0;
  }
  if (packet.fds.size() != (accepted->rule_hits_count != 0 ? 1u : 0u))
    return broken("an Accepted with wrong descriptors");
  if (accepted->rule_hits_count != 0)
    if (auto mapped = map_rule_hits(packet.fds[0], accepted->rule_hits_count); !mapped) return mapped;
  results_.push_back({.generation = accepted->generation,
                      .refused = std::nullopt,
                      .new_image = sent->with_image,
                      .checked_ns = accepted->checked_ns,
                      .enforced_ns = accepted->enforced_ns,
                      .answered_ns = static_cast<uint64_t>(boot_now().ns - sent->at_boot_ns)});
  return {};
}

Expected<void> DataplaneClient::take_refused(const Packet& packet) {
  auto refused = decode_message<Refused>(packet.bytes, MessageType::kRefused);
  if (!refused) return std::unexpected(refused.error());
  if (refused->generation == 0)
    return fail(refused->code, std::string("the dataplane refuses: ") + refused->reason);
  auto sent = take_sent(refused->generation);
  if (!sent) return std::unexpected(sent.error());
  results_.push_back({.generation = refused->generation,
                      .refused = Error{refused->code, refused->reason},
                      .answered_ns = static_cast<uint64_t>(boot_now().ns - sent->at_boot_ns)});
  return {};
}

/// An answer that nobody waits for any more is let go.
Expected<void> DataplaneClient::take_flow_page(Packet& packet) {
  auto page = decode_message<FlowPage>(packet.bytes, MessageType::kFlowPage);
  if (!page) return std::unexpected(page.error());
  if (packet.fds.size() != (page->count != 0 ? 1u : 0u)) return broken("a FlowPage with wrong descriptors");
  if (page->request != list_request_) return {};
  list_ = FlowAnswer{page->count != 0 ? std::move(packet.fds[0]) : Fd(), page->count, page->total};
  return {};
}

Expected<FlowList> read_flows(const FlowAnswer& answer) {
  FlowList list{std::vector<FlowRecord>(answer.count), answer.total};
  if (answer.count != 0)
    if (auto copied = copy_sealed(answer.records, std::as_writable_bytes(std::span(list.flows))); !copied)
      return with_context(copied.error(), "list of flows");
  return list;
}

template <class Value>
static std::optional<Value> take_front(std::deque<Value>& queue) {
  if (queue.empty()) return std::nullopt;
  std::optional<Value> front = std::move(queue.front());
  queue.pop_front();
  return front;
}

std::optional<PublishResult> DataplaneClient::next_result() {
  return take_front(results_);
}

std::optional<PortEvent> DataplaneClient::next_port_event() {
  return take_front(port_events_);
}

/// Takes messages in until `enough`.
template <class Enough>
Expected<void> DataplaneClient::receive_until(int timeout_ms, Enough enough) {
  Patience patience(timeout_ms);
  while (!enough()) {
    int left_ms = patience.left_ms();
    auto packet = channel_.receive(left_ms);
    if (!packet) return std::unexpected(packet.error());
    if (!packet->bytes.empty()) {
      if (auto taken = take(std::move(*packet)); !taken) return taken;
    } else if (left_ms == 0) {
      return fail(ErrorCode::kUnavailable, "the dataplane didn't answer in time");
    }
  }
  return {};
}

Expected<PublishResult> DataplaneClient::wait_result(int timeout_ms) {
  auto received = receive_until(timeout_ms, [this] { return !results_.empty(); });
  if (!received) return std::unexpected(received.error());
  return *next_result();
}

Expected<void> DataplaneClient::ask_for_flows(uint64_t limit) {
  list_.reset();
  auto message = make_message<ListFlows>(MessageType::kListFlows);
  message.request = ++list_request_;
  message.limit = limit;
  return channel_.send_message(message);
}

std::optional<FlowAnswer> DataplaneClient::next_flows() {
  return std::exchange(list_, std::nullopt);
}

Expected<FlowList> DataplaneClient::list_flows(uint64_t limit, int timeout_ms) {
  if (auto asked = ask_for_flows(limit); !asked) return std::unexpected(asked.error());
  auto received = receive_until(timeout_ms, [this] { return list_.has_value(); });
  if (!received) return std::unexpected(received.error());
  return read_flows(*next_flows());
}

Expected<void> DataplaneClient::shut_down() {
  return channel_.send_message(make_message<Shutdown>(MessageType::kShutdown));
}

size_t DataplaneClient::drain_events(const std::function<void(const FlowRecord&)>& take, size_t limit) {
  size_t count = 0;
  FlowRecord record;
  for (size_t i = 0; i < rings_.size(); ++i) {
    EventReader& reader = rings_[(first_ring_ + i) % rings_.size()].reader;
    for (; count < limit && reader.read(record); ++count) take(record);
  }
  first_ring_ = (first_ring_ + 1) % rings_.size();
  return count;
}

uint64_t DataplaneClient::events_lost() const {
  uint64_t lost = 0;
  for (const Ring& ring : rings_) lost += ring.reader.lost();
  return lost;
}

std::span<const WorkerCounters> DataplaneClient::worker_counters() const {
  return {counters_.as<const WorkerCounters>(sizeof(CountersHeader)), welcome_.worker_count};
}

DataplaneClient::Hits DataplaneClient::rule_hits(RuleIndex rule) const {
  Hits hits;
  if (rule.value >= rule_count_) return hits;
  const auto* all = rule_hits_.as<const RuleHits>();
  for (size_t worker = 0; worker < welcome_.worker_count; ++worker) {
    const RuleHits& one = all[worker * rule_count_ + rule.value];
    hits.decided += read(one.decided);
    hits.audited += read(one.audited);
  }
  return hits;
}

}  // namespace bulkhead
