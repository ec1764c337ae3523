#include "dataplane/fastpath/replay.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "base/check.h"
#include "dataplane/fastpath/eal.h"
#include "dataplane/fastpath/fragments.h"
#include "dataplane/fastpath/overlay.h"
#include "dataplane/fastpath/parse.h"
#include "dataplane/fastpath/pipeline.h"

namespace bulkhead {
namespace {

constexpr uint64_t kFixedSeed[2] = {0x62756c6b68656164,
                                    0x7265706c61790001};  // any will do: captures don't attack their replay
constexpr size_t kPoolBytes = size_t{64} << 20;
constexpr uint32_t kLeastFlows = 65'536;
constexpr int64_t kSweepStepNs =
    100'000'000;                        // how often idle flows are looked at where nothing else happens
constexpr int64_t kTickNs = 1'000'000;  // the pipeline's own resolution

std::string joined(const std::vector<unsigned>& cpus) {
  std::string text;
  for (unsigned cpu : cpus) text += (text.empty() ? "" : ",") + std::to_string(cpu);
  return text;
}

/// Flows for as many packets as will come, with room between them; what the configuration allows at most.
uint32_t flow_capacity(const DataplaneSettings& settings, const ReplayOptions& options) {
  uint64_t wanted = std::max<uint64_t>(kLeastFlows, options.packets * 4);
  return static_cast<uint32_t>(std::min<uint64_t>(settings.max_flows, wanted));
}

rte_mempool* make_pool(const DataplaneSettings& settings, const ReplayOptions& options) {
  // Drivers' usual room at least, since the gateway's own packets come from here too.
  size_t room = RTE_PKTMBUF_HEADROOM + std::max<size_t>(options.longest_frame + 64, 2048);
  if (room > UINT16_MAX) return nullptr;
  // A short capture needs no time for a large pool, and what isn't captured can't be held.
  size_t count = std::min(std::clamp<size_t>(kPoolBytes / room, 1024, 16'384), 1024 + 4 * options.packets);
  count += std::min<uint64_t>(fragment_buffers(settings, 1), options.packets);
  static unsigned serial = 0;
  std::string name = "replay" + std::to_string(serial++);
  return rte_pktmbuf_pool_create(name.c_str(), static_cast<unsigned>(count), 0, 0,
                                 static_cast<uint16_t>(room), SOCKET_ID_ANY);
}

}  // namespace

Expected<void> start_replay_memory(uint32_t memory_mib) {
  static bool started = false;
  if (started) return {};
  // --no-huge and --in-memory exclude each other. The thread keeps all the CPUs that it may run on.
  std::vector<std::string> arguments{"bulkhead",
                                     "--no-huge",
                                     "--no-pci",
                                     "--no-shconf",
                                     "--no-telemetry",
                                     "--iova-mode=va",
                                     "--log-level=*:error",
                                     "--lcores=0@(" + joined(available_cpus()) + ")",
                                     "-m",
                                     std::to_string(memory_mib)};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  DpdkLog log;
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    std::string words = log.take_last_line();
    return fail(ErrorCode::kSystem, std::string("DPDK didn't start: ") + rte_strerror(rte_errno) +
                                        (words.empty() ? "" : " (" + words + ")"));
  }
  log.take_last_line();  // what it said on the way isn't news
  started = true;
  return {};
}

Expected<std::unique_ptr<Replay>> Replay::create(const DataplaneSettings& settings, const Snapshot* policy,
                                                 const ReplayOptions& options, ReplaySink& sink) {
  std::unique_ptr<Replay> replay(new Replay);
  replay->sink_ = &sink;
  if (!replay->allocate(settings, policy, options))
    return fail(ErrorCode::kExhausted, "no memory for replay within " + std::to_string(settings.memory_mib) +
                                           " MiB; raise `memory_mib`, or lower `max_flows`");
  return replay;
}

bool Replay::allocate(const DataplaneSettings& settings, const Snapshot* policy,
                      const ReplayOptions& options) {
  options_ = options;
  now_ = options.start;
  views_ = make_port_views(settings, std::vector<MacAddress>(settings.ports.size()));
  counters_ = std::make_unique<WorkerCounters>();
  shards_ = std::make_unique<ShardVersions>();
  if (policy != nullptr) {
    hits_ = std::vector<RuleHits>(policy->image->rules.size());
    snapshot_ = std::make_unique<Snapshot>(*policy);
    snapshot_->shards = shards_.get();
    snapshot_->hits[0] = hits_.data();
  }
  constexpr HashSeed kSeed{{kFixedSeed[0], kFixedSeed[1]}};
  if (size_t ports = neighbour_ports(settings); ports != 0) {
    neighbours_ = std::make_unique<NeighbourTable>(ports, kSeed);
    stations_ = std::make_unique<StationTable>(kSeed);
  }
  pool_ = make_pool(settings, options);
  if (pool_ == nullptr) return false;

  PipelineParts parts{};
  parts.settings = &settings;
  parts.ports = views_;
  parts.worker_count = 1;
  parts.pool = pool_;
  parts.counters = counters_.get();
  parts.max_flows = flow_capacity(settings, options);
  std::ranges::copy(kFixedSeed, parts.hash_seed);
  parts.epoch = options.start;
  parts.parse_flags = options.ignore_checksums ? kSkipL4Checksum | kSkipIpChecksum : 0;
  parts.neighbours = neighbours_.get();
  parts.stations = stations_.get();
  parts.keep_verdicts = true;
  pipeline_ = Pipeline::create(parts);
  return pipeline_ != nullptr;
}

Replay::Replay() = default;

Replay::~Replay() {
  pipeline_.reset();  // gives back what it holds
  rte_mempool_free(pool_);
}

Expected<void> Replay::feed(const ReplayPacket& packet) {
  advance_clock(packet.time);
  auto made = mbuf_of(packet);
  if (!made) return std::unexpected(made.error());
  rte_mbuf* mbuf = *made;
  add(counters_->received, 1);
  pipeline_->run(&mbuf, 1, now_, snapshot_.get());
  BULKHEAD_CHECK(pipeline_->verdicts().size() == 1);
  const PacketVerdict& verdict = pipeline_->verdicts()[0];
  bool held = verdict.fate == Fate::kHold;
  waiting_.push_back({{++count_, packet.time, packet.port, verdict}, held ? mbuf : nullptr});
  if (held) ++held_;
  settle();
  maintain();
  return {};
}

Expected<rte_mbuf*> Replay::mbuf_of(const ReplayPacket& packet) {
  if (packet.frame.size() > options_.longest_frame)
    return fail(ErrorCode::kInvalid, "packet " + std::to_string(count_ + 1) + " has " +
                                         std::to_string(packet.frame.size()) + " bytes, more than the " +
                                         std::to_string(options_.longest_frame) + " that were announced");
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
  if (mbuf == nullptr)
    return fail(ErrorCode::kExhausted, "packet " + std::to_string(count_ + 1) + ": " + std::to_string(held_) +
                                           " packets are held, no room for another one");
  void* at = rte_pktmbuf_append(mbuf, static_cast<uint16_t>(packet.frame.size()));
  BULKHEAD_CHECK(at != nullptr);
  if (!packet.frame.empty()) std::memcpy(at, packet.frame.data(), packet.frame.size());
  mbuf->port = packet.port.value;
  return mbuf;
}

/// Stops where the pipeline has something to do before `to`, and while flows live every kSweepStepNs, as an
/// idle worker's polls do.
void Replay::advance_clock(BootTime to) {
  BULKHEAD_CHECK(to >= now_);
  while (true) {
    BootTime next = pipeline_->next_timer();
    if (next <= now_) next.ns = now_.ns + kTickNs;  // a timer that stays due doesn't stop the clock
    if (pipeline_->flow_count() > 0) next.ns = std::min(next.ns, now_.ns + kSweepStepNs);
    if (next > to) break;
    now_ = next;
    maintain();
  }
  now_ = to;
}

void Replay::maintain() {
  pipeline_->maintain(now_, snapshot_.get());
  settle();
}

/// Takes note of what the last call into the pipeline has decided and sent.
void Replay::settle() {
  for (const LateVerdict& late : pipeline_->late_verdicts()) {
    auto waiting = std::ranges::find(waiting_, late.packet, &Waiting::held);
    BULKHEAD_CHECK(waiting != waiting_.end());
    PacketVerdict& verdict = waiting->verdict.verdict;
    if (late.judged) verdict = late.verdict;
    verdict.fate = late.verdict.fate;
    verdict.reason = late.verdict.reason;
    verdict.out = late.verdict.out;
    if (verdict.fate == Fate::kHold) continue;
    waiting->held = nullptr;
    --held_;
  }
  drain();
  for (; !waiting_.empty() && waiting_.front().held == nullptr; waiting_.pop_front())
    sink_->decided(waiting_.front().verdict);
}

/// Takes what waits for transmission on every port.
void Replay::drain() {
  for (const PortView& view : views_) {
    TxQueue& queue = pipeline_->out(view.id);
    for (uint16_t i = 0; i < queue.count; ++i) transmit(queue.packets[i], view.id);
    queue.clear();
  }
}

void Replay::transmit(rte_mbuf* mbuf, PortId port) {
  add(counters_->transmitted, 1);
  if (rte_pktmbuf_is_contiguous(mbuf)) {
    sink_->transmitted(port, now_, {rte_pktmbuf_mtod(mbuf, const std::byte*), rte_pktmbuf_pkt_len(mbuf)});
  } else {
    std::vector<std::byte> whole(rte_pktmbuf_pkt_len(mbuf));
    const void* at = rte_pktmbuf_read(mbuf, 0, static_cast<uint32_t>(whole.size()), whole.data());
    sink_->transmitted(port, now_, {static_cast<const std::byte*>(at), whole.size()});
  }
  rte_pktmbuf_free(mbuf);
}

Expected<void> Replay::finish() {
  for (const Waiting& waiting : waiting_) sink_->decided(waiting.verdict);
  uint64_t dropped = 0;
  for (const Counter& count : counters_->drops) dropped += read(count);
  uint64_t in = read(counters_->received) + read(counters_->originated);
  uint64_t out = read(counters_->transmitted) + read(counters_->consumed) + read(counters_->held) + dropped;
  if (in != out)
    return fail(ErrorCode::kSystem, "the counters don't add up: received and originated " +
                                        std::to_string(in) + ", transmitted, consumed, held and dropped " +
                                        std::to_string(out) + "; please report this");
  return {};
}

}  // namespace bulkhead
