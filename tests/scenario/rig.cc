#include "rig.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "dataplane/fastpath/flow_hash.h"
#include "dataplane/fastpath/fragments.h"
#include "dataplane/fastpath/link.h"
#include "dataplane/fastpath/overlay.h"
#include "dataplane/fastpath/parse.h"

namespace bulkhead::test {
namespace {

constexpr unsigned kPoolPackets = 511;  // one less than a power of two suits the pool best
constexpr uint32_t kUsualFlows = 4096;  // a scenario that wants another limit sets max_flows under this
constexpr uint16_t kRoom = 9 * 1024;    // jumbo frames too
constexpr HashSeed kSeed{{0x7363656e6172696f, 0x0123456789abcdef}};

std::string unique_name(const char* kind) {
  static unsigned serial = 0;
  return std::string(kind) + std::to_string(serial++);
}

Bytes bytes_of(rte_mbuf* packet) {
  Bytes bytes;
  for (const rte_mbuf* part = packet; part != nullptr; part = part->next) {
    auto* at = rte_pktmbuf_mtod(part, const uint8_t*);
    bytes.insert(bytes.end(), at, at + part->data_len);
  }
  return bytes;
}

void expect(const Expected<void>& done) {
  if (!done) throw std::runtime_error(done.error().message);
}

void expect_chained(int error) {
  if (error != 0) throw std::runtime_error("more buffers than a chain may have");
}

Fd sealed(std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  auto fd = make_sealed("scenario", bytes);
  if (!fd) throw std::runtime_error(fd.error().message);
  return std::move(*fd);
}

}  // namespace

Rig::Rig(const DataplaneSettings& settings, unsigned workers, BootTime start, Nanoseconds uptime,
         uint8_t parse_flags)
    : settings_(settings), parse_flags_(parse_flags), now_(start) {
  for (size_t i = 0; i < settings_.ports.size(); ++i)
    if (settings_.ports[i].mac.is_zero())
      settings_.ports[i].mac = MacAddress{{0x02, 0xff, 0, 0, 0, static_cast<uint8_t>(i + 1)}};
  views_ = make_port_views(settings_, std::vector<MacAddress>(settings_.ports.size()));
  for (unsigned i = 0; i < workers; ++i) counters_.push_back(std::make_unique<WorkerCounters>());
  quiescence_ = Quiescence::create(workers);
  publisher_ =
      std::make_unique<Publisher>(published_, *quiescence_, workers, static_cast<unsigned>(views_.size()));
  if (size_t ports = neighbour_ports(settings_); ports != 0) {
    neighbours_ = std::make_unique<NeighbourTable>(ports, kSeed);
    stations_ = std::make_unique<StationTable>(kSeed);
  }
  pool_ =
      rte_pktmbuf_pool_create(unique_name("scenario_pool").c_str(), kPoolPackets, 0, 0, kRoom, SOCKET_ID_ANY);
  if (pool_ == nullptr) throw std::runtime_error(std::string("no packet pool: ") + rte_strerror(rte_errno));
  create_rings();
  create_pipelines(BootTime{start.ns - uptime.count()});
}

Rig::~Rig() {
  close();
  for (rte_ring* ring : rings_) rte_ring_free(ring);
  rte_mempool_free(pool_);
}

void Rig::create_rings() {
  size_t workers = counters_.size();
  rings_.resize(workers * workers);
  for (size_t from = 0; from < workers; ++from) {
    for (size_t to = 0; to < workers; ++to) {
      if (from == to) continue;
      rte_ring*& ring = rings_[from * workers + to];
      ring = rte_ring_create(unique_name("scenario_ring").c_str(), 64, SOCKET_ID_ANY,
                             RING_F_SP_ENQ | RING_F_SC_DEQ);
      if (ring == nullptr) throw std::runtime_error(std::string("no ring: ") + rte_strerror(rte_errno));
    }
  }
}

void Rig::create_pipelines(BootTime epoch) {
  auto workers = static_cast<unsigned>(counters_.size());
  for (unsigned worker = 0; worker < workers; ++worker) {
    PipelineParts parts{};
    parts.settings = &settings_;
    parts.ports = views_;
    parts.worker = worker;
    parts.worker_count = workers;
    parts.pool = pool_;
    parts.counters = counters_[worker].get();
    parts.neighbours = neighbours_.get();
    parts.stations = stations_.get();
    parts.relay = &relay_;
    parts.datagrams_in_rings = &datagrams_in_rings_;
    parts.hand_off = std::span(rings_).subspan(size_t{worker} * workers, workers);
    parts.max_flows = std::min(settings_.max_flows, kUsualFlows) / workers;
    std::ranges::copy(kSeed.words, parts.hash_seed);
    parts.epoch = epoch;
    parts.parse_flags = parse_flags_;
    parts.keep_verdicts = true;
    pipelines_.push_back(Pipeline::create(parts));
    if (pipelines_.back() == nullptr) throw std::runtime_error("no memory for a pipeline");
  }
}

void Rig::publish(Update update) {
  update.generation = publisher_->generation() + 1;
  if (publisher_->image() != nullptr) update.base_image_generation = publisher_->image()->generation;
  expect(publisher_->publish(std::move(update)));
  if (!publisher_->complete()) throw std::runtime_error("a publish isn't complete though no worker runs");
}

void Rig::publish(const CompiledPolicy& policy) {
  std::vector<EndpointChange> changes;
  for (const Endpoint& endpoint : policy.endpoints) changes.push_back({endpoint, ChangeKind::kPut, {}});
  Update update;
  auto image = policy.image.span();
  update.image_bytes = image.size();
  update.image = sealed(image);
  update.batch_count = changes.size();
  update.batch = sealed(std::as_bytes(std::span(changes)));
  update.replace_endpoints = true;
  publish(std::move(update));
}

void Rig::publish(const std::vector<EndpointChange>& changes) {
  Update update;
  update.batch_count = changes.size();
  update.batch = sealed(std::as_bytes(std::span(changes)));
  publish(std::move(update));
}

/// A worker that doesn't own the frame's flow, another one each time; none where nobody owns it, or there is
/// one worker alone.
std::optional<unsigned> Rig::wrong_worker_for(PortId port, std::span<const uint8_t> frame) {
  if (workers() == 1 || snapshot() == nullptr) return std::nullopt;
  PacketMeta meta;
  PacketKey key;
  Bytes opened(frame.begin(), frame.end());
  const PortView& view = views_[port.value];
  if (view.reads_link()) {
    Link link;
    if (read_link(frame, view, parse_flags_, meta, link) != DropReason::kNone || link.resolves)
      return std::nullopt;
    auto inner = frame.subspan(link.at, link.bytes);
    opened.assign(inner.begin(), inner.end());
    if (link.cmd.at != 0)
      opened.erase(opened.begin() + static_cast<ptrdiff_t>(link.cmd.at),
                   opened.begin() + static_cast<ptrdiff_t>(link.cmd.at + kCmdBytes));
  }
  frame = opened;
  parse_frame(frame, views_[port.value], settings_.mode == Mode::kRoute, parse_flags_, meta, key);
  bool fragment = meta.kind == PacketKind::kFragment;
  bool owned = meta.kind == PacketKind::kFlow || meta.kind == PacketKind::kIcmpError || fragment;
  if (!owned || meta.reason != DropReason::kNone) return std::nullopt;
  bool v4 = meta.family == 4;
  unsigned owner = fragment ? fragment_owner(source_of(frame.data() + meta.l3, v4), kSeed, workers())
                            : owner_of(v4 ? rss_hash(key.v4) : rss_hash(key.v6), workers());
  unsigned wrong = (owner + 1 + deliveries_++ % (workers() - 1)) % workers();
  return wrong == blind_ ? std::nullopt : std::optional(wrong);
}

/// A frame as a driver hands it over.
rte_mbuf* Rig::buffers_with(std::span<const uint8_t> frame) {
  size_t first = frame.size(), second = 0;
  if (chains_ && frame.size() > 2) {
    constexpr uint64_t kHeaders = 90;  // link, IPv6, an extension header, TCP
    first = 1 + injections_ * 7 % std::min<uint64_t>(kHeaders, frame.size() - 2);
    second = (frame.size() - first) / 2;
  }
  rte_mbuf* packet = nullptr;
  for (size_t at = 0, bytes = first; at < frame.size() || packet == nullptr; at += bytes) {
    bytes = at == 0 ? first : at == first && second != 0 ? second : frame.size() - at;
    rte_mbuf* buffer = rte_pktmbuf_alloc(pool_);
    if (buffer == nullptr) throw std::runtime_error("the packet pool is empty: something leaks");
    void* to = rte_pktmbuf_append(buffer, static_cast<uint16_t>(bytes));
    if (to == nullptr) throw std::runtime_error("the frame is longer than a buffer");
    std::memcpy(to, frame.data() + at, bytes);
    if (packet == nullptr)
      packet = buffer;
    else
      expect_chained(rte_pktmbuf_chain(packet, buffer));
  }
  return packet;
}

Outcome Rig::inject(PortId port, std::span<const uint8_t> frame) {
  rte_mbuf* packet = buffers_with(frame);
  packet->port = port.value;
  rte_mbuf_refcnt_update(packet, 1);  // so that nothing else gets its place while its fate is open

  auto wrong = wrong_worker_for(port, frame);
  unsigned worker = wrong.value_or(0);
  injected_ = packet;
  forwarded_.reset();
  add(counters_[worker]->received, 1);
  pipelines_[worker]->run(&packet, 1, now_, seen_by(worker));
  PacketVerdict verdict = pipelines_[worker]->verdicts()[0];
  settle(worker);
  bool for_nobody = verdict.reason == DropReason::k_other_station;  // whichever worker sees that may drop it
  if (wrong && verdict.fate != Fate::kHandOff && !for_nobody)
    throw std::runtime_error("a worker kept a packet of a flow that it doesn't own");
  if (verdict.fate == Fate::kHandOff) {
    auto handed = run_hand_off();
    if (!handed) throw std::runtime_error("a packet was handed off and never arrived");
    verdict = *handed;
  }
  injected_ = nullptr;
  if (verdict.fate == Fate::kHold)
    held_.push_back({packet, injections_, verdict});
  else
    rte_pktmbuf_free_seg(packet);  // a datagram's other fragments have references of their own
  return {injections_++, verdict, std::move(forwarded_)};
}

/// Until nothing is in any ring: a datagram's last fragment may go on to the worker of its flow. Output: the
/// last packet's verdict.
std::optional<PacketVerdict> Rig::run_hand_off() {
  std::optional<PacketVerdict> verdict;
  for (bool moved = true; moved;) {
    moved = false;
    for (unsigned to = 0; to < workers(); ++to) {
      for (unsigned from = 0; from < workers(); ++from) {
        rte_ring* ring = rings_[from * workers() + to];
        rte_mbuf* packet = nullptr;
        while (ring != nullptr && rte_ring_dequeue(ring, reinterpret_cast<void**>(&packet)) == 0) {
          add(counters_[to]->held, static_cast<uint64_t>(-1));
          pipelines_[to]->run(&packet, 1, now_, seen_by(to));
          verdict = pipelines_[to]->verdicts()[0];
          settle(to);
          moved = true;
        }
      }
    }
  }
  return verdict;
}

void Rig::maintain() {
  for (unsigned worker = 0; worker < workers(); ++worker) {
    pipelines_[worker]->maintain(now_, seen_by(worker));
    settle(worker);
  }
  run_hand_off();
}

/// Takes note of what the worker's last call has decided and sent.
void Rig::settle(unsigned worker) {
  collect(worker);
  for (const LateVerdict& late : pipelines_[worker]->late_verdicts()) {
    auto held = std::ranges::find(held_, late.packet, &Held::packet);
    if (held == held_.end()) continue;  // one that arrives just now: its verdict is the run's
    PacketVerdict& verdict = held->verdict;
    if (late.judged) verdict = late.verdict;
    verdict.fate = late.verdict.fate;
    verdict.reason = late.verdict.reason;
    verdict.out = late.verdict.out;
    if (verdict.fate == Fate::kHold) continue;  // it waits on
    std::optional<Sent> sent;
    if (verdict.fate == Fate::kForward) sent = Sent{verdict.out, bytes_of(held->packet)};
    released_.push_back({held->number, verdict, std::move(sent)});
    rte_pktmbuf_free_seg(held->packet);
    held_.erase(held);
  }
}

/// Takes what waits for transmission, as a driver would.
void Rig::collect(unsigned worker) {
  for (const PortView& view : views_) {
    TxQueue& queue = pipelines_[worker]->out(view.id);
    for (uint16_t i = 0; i < queue.count; ++i) {
      rte_mbuf* packet = queue.packets[i];
      add(counters_[worker]->transmitted, 1);
      transmitted_.push_back({view.id, bytes_of(packet)});
      if (packet == injected_)
        forwarded_ = transmitted_.back();
      else if (std::ranges::find(held_, packet, &Held::packet) == held_.end())
        own_frames_.push_back(transmitted_.back());
      rte_pktmbuf_free(packet);
    }
    queue.clear();
  }
}

uint32_t Rig::flow_count() const {
  uint32_t sum = 0;
  for (const auto& pipeline : pipelines_) sum += pipeline->flow_count();
  return sum;
}

std::vector<FlowRecord> Rig::flows() const {
  std::vector<FlowRecord> all;
  for (const auto& pipeline : pipelines_) {
    for (uint32_t cursor = 0; cursor != UINT32_MAX;) {
      FlowRecord page[64];
      size_t count = pipeline->list_flows(cursor, 1024, page, snapshot());
      all.insert(all.end(), page, page + count);
    }
  }
  return all;
}

uint64_t Rig::drops(DropReason reason) const {
  return total(
      [reason](const WorkerCounters& c) -> const Counter& { return c.drops[static_cast<size_t>(reason)]; });
}

std::string Rig::broken_conservation() const {
  auto sum = [this](Counter WorkerCounters::* member) {
    return total([member](const WorkerCounters& c) -> const Counter& { return c.*member; });
  };
  uint64_t dropped = 0;
  for (size_t reason = 0; reason < kDropReasonCount; ++reason)
    dropped += drops(static_cast<DropReason>(reason));
  uint64_t received = sum(&WorkerCounters::received), originated = sum(&WorkerCounters::originated);
  uint64_t transmitted = sum(&WorkerCounters::transmitted), consumed = sum(&WorkerCounters::consumed),
           held = sum(&WorkerCounters::held);
  if (received + originated == transmitted + consumed + held + dropped) return {};
  return "received " + std::to_string(received) + " + originated " + std::to_string(originated) +
         " != transmitted " + std::to_string(transmitted) + " + consumed " + std::to_string(consumed) +
         " + held " + std::to_string(held) + " + dropped " + std::to_string(dropped);
}

size_t Rig::close() {
  pipelines_.clear();
  for (const Held& held : held_) rte_pktmbuf_free_seg(held.packet);
  held_.clear();
  return rte_mempool_in_use_count(pool_);
}

}  // namespace bulkhead::test
