// What the pipeline alone costs: bursts of prepared frames through Pipeline::run, without devices. Both
// directions of a wire over many established flows, shuffled, 1,000 rules in force.
//
// Frames are copied into their buffers before each burst, outside of what is timed, as a driver would leave
// them. The tenth percentile of the bursts is the figure that a busy machine disturbs least.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_mbuf.h>

#include "base/bytes.h"
#include "config/gateway.h"
#include "config/policy.h"
#include "controlplane/compiler/compile.h"
#include "dataplane/fastpath/pipeline.h"
#include "dataplane/fastpath/publisher.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/ipv4.h"
#include "wire/transport.h"

namespace bulkhead {
namespace {

constexpr size_t kFrameBytes = 60;
constexpr unsigned kRules = 1000;
constexpr uint16_t kFirstPort =
    5000;  ///< the flows go to kRules ports from here on, each under a rule of its own

struct Frame {
  uint8_t bytes[kFrameBytes];
};

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "pipeline_clocks: %s\n", why.c_str());
  std::exit(1);
}

template <class T>
T or_give_up(Expected<T> value) {
  if (!value) give_up(value.error().message);
  return std::move(*value);
}

/// One flow, seen from one of its directions.
struct Direction {
  IpAddress source, destination;
  uint16_t source_port, destination_port;
};

Direction direction_of(uint32_t flow, bool back) {
  IpAddress web = IpAddress::v4(0x0a010000u | (flow & 0xffffu)),
            db = IpAddress::v4(0x0a020000u | ((flow >> 16) + 1));
  auto from = static_cast<uint16_t>(1024 + flow % 60000),
       to = static_cast<uint16_t>(kFirstPort + flow % kRules);
  return back ? Direction{db, web, to, from} : Direction{web, db, from, to};
}

/// A frame whose transport header and payload are `l4`, checksum field zero: it is filled in at
/// `checksum_at`.
Frame frame_of(const Direction& d, IpProto proto, std::vector<uint8_t> l4, size_t checksum_at) {
  Frame frame{};
  Ipv4Header ip{};
  ip.version_ihl = 0x45;
  ip.total_length = Be16(static_cast<uint16_t>(sizeof ip + l4.size()));
  ip.fragment = Be16(0x4000);
  ip.ttl = 64;
  ip.proto = proto;
  ip.source = Be32(d.source.v4_host());
  ip.destination = Be32(d.destination.v4_host());
  store(&ip.checksum, checksum_finish(checksum_sum(&ip, sizeof ip)));
  uint64_t pseudo = checksum_sum(&ip.source, 8) +
                    pseudo_header_sum(static_cast<uint8_t>(proto), static_cast<uint32_t>(l4.size()));
  store(l4.data() + checksum_at, checksum_finish(pseudo + checksum_sum(l4.data(), l4.size())));
  EthernetHeader ethernet{MacAddress{{2, 0, 0, 0, 0, 1}}, MacAddress{{2, 0, 0, 0, 0, 2}},
                          Be16(static_cast<uint16_t>(EtherType::kIpv4))};
  store(frame.bytes, ethernet);
  store(frame.bytes + sizeof ethernet, ip);
  std::memcpy(frame.bytes + sizeof ethernet + sizeof ip, l4.data(), l4.size());
  return frame;
}

constexpr size_t kL4Bytes = kFrameBytes - sizeof(EthernetHeader) - sizeof(Ipv4Header);

Frame udp_frame(uint32_t flow, bool back) {
  Direction d = direction_of(flow, back);
  std::vector<uint8_t> l4(kL4Bytes);
  UdpHeader udp{Be16(d.source_port), Be16(d.destination_port), Be16(static_cast<uint16_t>(kL4Bytes)),
                Be16(0)};
  store(l4.data(), udp);
  return frame_of(d, IpProto::kUdp, std::move(l4), offsetof(UdpHeader, checksum));
}

/// A segment of a connection whose ends begin at 1000 and 5000.
Frame tcp_frame(uint32_t flow, bool back, uint8_t flags, uint32_t sequence, uint32_t acknowledgement,
                size_t payload) {
  Direction d = direction_of(flow, back);
  std::vector<uint8_t> l4(sizeof(TcpHeader) + payload);
  TcpHeader tcp{Be16(d.source_port),
                Be16(d.destination_port),
                Be32(sequence),
                Be32(acknowledgement),
                0x50,
                flags,
                Be16(65000),
                Be16(0),
                Be16(0)};
  store(l4.data(), tcp);
  return frame_of(d, IpProto::kTcp, std::move(l4), offsetof(TcpHeader, checksum));
}

Frame data_frame(uint32_t flow, bool back, bool tcp) {
  if (!tcp) return udp_frame(flow, back);
  return tcp_frame(flow, back, kTcpAck | kTcpPsh, back ? 5001 : 1001, back ? 1001 : 5001,
                   kL4Bytes - sizeof(TcpHeader));
}

CompiledPolicy policy_for(const DataplaneSettings& settings) {
  std::string text =
      "segments:\n  web: {tag: 100, members: [10.1.0.0/16]}\n  db: {tag: 200, members: "
      "[10.2.0.0/16]}\npolicies:\n";
  for (unsigned rule = 0; rule < kRules; ++rule) {
    std::string port = std::to_string(kFirstPort + rule);
    text += "  - {name: r-" + std::to_string(rule) + ", from: web, to: db, allow: [tcp/" + port + ", udp/" +
            port + "]}\n";
  }
  auto loaded = load_policy_text({{"policy", text}}, WallTime{});
  if (!loaded.policy) give_up("the policy has errors");
  return or_give_up(compile(*loaded.policy, target_of(settings), wall_as_boot));
}

Update update_of(const CompiledPolicy& policy) {
  std::vector<EndpointChange> changes;
  for (const Endpoint& endpoint : policy.endpoints) changes.push_back({endpoint, ChangeKind::kPut, {}});
  Update update;
  update.generation = 1;
  update.image_bytes = policy.image.span().size();
  update.image = or_give_up(make_sealed("image", policy.image.span()));
  update.batch_count = changes.size();
  update.batch = or_give_up(make_sealed("batch", std::as_bytes(std::span(changes))));
  update.replace_endpoints = true;
  return update;
}

DataplaneSettings settings_for(uint32_t flows) {
  std::string text =
      "gateway: {name: gw}\ndataplane:\n  mode: wire\n  max_flows: " +
      std::to_string(std::max(65536u, 2 * flows)) +
      "\n  half_open: {total: 1048576}\n  ports: [{name: left}, {name: right}]\n  wires: [[left, right]]\n";
  auto loaded = load_gateway_text("gateway", text, true);
  if (!loaded.config) give_up("the gateway has errors");
  return loaded.config->dataplane;
}

/// A gateway of one worker without devices.
class Gateway {
 public:
  explicit Gateway(uint32_t flows) : settings_(settings_for(flows)) {
    views_ = make_port_views(settings_, std::vector<MacAddress>(settings_.ports.size()));
    auto published = publisher_.publish(update_of(policy_for(settings_)));
    if (!published) give_up(published.error().message);
    pool_ = rte_pktmbuf_pool_create("clocks", 4095, 250, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    if (pool_ == nullptr) give_up("no memory for packets");
    PipelineParts parts{};
    parts.settings = &settings_;
    parts.ports = views_;
    parts.worker_count = 1;
    parts.pool = pool_;
    parts.counters = &counters_;
    parts.max_flows = settings_.max_flows;
    parts.hash_seed[0] = 0x636c6f636b730001;
    parts.hash_seed[1] = 0x0123456789abcdef;
    pipeline_ = Pipeline::create(parts);
    if (pipeline_ == nullptr) give_up("no memory for the pipeline");
  }

  /// Clocks that the frames, which all arrive on one port, took in Pipeline::run.
  uint64_t run(PortId in, std::span<const Frame* const> frames) {
    rte_mbuf* packets[kBurst];
    auto count = static_cast<uint16_t>(frames.size());
    if (rte_pktmbuf_alloc_bulk(pool_, packets, count) != 0) give_up("the packet pool is empty");
    for (uint16_t i = 0; i < count; ++i) {
      std::memcpy(rte_pktmbuf_append(packets[i], kFrameBytes), frames[i]->bytes, kFrameBytes);
      packets[i]->port = in.value;
    }
    add(counters_.received, count);
    uint64_t begin = rte_rdtsc_precise();
    pipeline_->run(packets, count, BootTime{1'000'000'000},
                   published_.current.load(std::memory_order_acquire));
    uint64_t took = rte_rdtsc_precise() - begin;
    for (const PortView& view : views_) {
      TxQueue& queue = pipeline_->out(view.id);
      sent_ += queue.count;
      if (queue.count != 0) rte_pktmbuf_free_bulk(queue.packets, queue.count);
      queue.clear();
    }
    return took;
  }

  uint64_t sent() const { return sent_; }
  uint32_t flows() const { return pipeline_->flow_count(); }

 private:
  DataplaneSettings settings_;
  std::vector<PortView> views_;
  WorkerCounters counters_{};
  Published published_;
  std::unique_ptr<Quiescence> quiescence_ = Quiescence::create(1);
  Publisher publisher_{published_, *quiescence_, 1, 2};
  rte_mempool* pool_ = nullptr;
  std::unique_ptr<Pipeline> pipeline_;
  uint64_t sent_ = 0;
};

constexpr PortId kLeft{0}, kRight{1};

void open_flow(Gateway& gateway, uint32_t flow, bool tcp) {
  auto one = [&](PortId in, const Frame& frame) {
    const Frame* frames[] = {&frame};
    gateway.run(in, frames);
  };
  if (tcp) {
    one(kLeft, tcp_frame(flow, false, kTcpSyn, 1000, 0, 0));
    one(kRight, tcp_frame(flow, true, kTcpSyn | kTcpAck, 5000, 1001, 0));
  }
  one(kLeft, data_frame(flow, false, tcp));
  one(kRight, data_frame(flow, true, tcp));
}

void measure(uint32_t flows, double tcp_share, uint32_t bursts) {
  Gateway gateway(flows);
  std::mt19937 random(1);
  std::vector<Frame> frames[2];
  for (uint32_t flow = 0; flow < flows; ++flow) {
    bool tcp = std::uniform_real_distribution<>()(random) < tcp_share;
    open_flow(gateway, flow, tcp);
    for (bool back : {false, true}) frames[back].push_back(data_frame(flow, back, tcp));
  }
  if (gateway.flows() != flows) give_up("not every flow was opened");

  std::vector<const Frame*> order[2];
  for (int side : {0, 1}) {
    while (order[side].size() < std::max<size_t>(4096, flows))
      for (const Frame& frame : frames[side]) order[side].push_back(&frame);
    order[side].resize(order[side].size() / kBurst * kBurst);
    std::ranges::shuffle(order[side], random);
  }
  std::vector<uint64_t> clocks;
  uint64_t before = gateway.sent();
  for (uint32_t burst = 0; burst < bursts; ++burst) {
    auto& side = order[burst % 2];
    size_t at = size_t{burst / 2} * kBurst % side.size();
    clocks.push_back(gateway.run(burst % 2 == 0 ? kLeft : kRight, std::span(side).subspan(at, kBurst)));
  }
  if (gateway.sent() - before != uint64_t{bursts} * kBurst) give_up("not every packet was forwarded");
  std::ranges::sort(clocks);
  auto at = [&](size_t percent) {
    return static_cast<double>(clocks[clocks.size() * percent / 100]) / kBurst;
  };
  std::printf(
      "%8u flows, %3.0f %% TCP: %.1f clocks a packet in the tenth percentile of bursts, %.1f in the median\n",
      flows, 100 * tcp_share, at(10), at(50));
}

/// Huge pages, as a gateway has: without them every look-up would miss the TLB.
void start_memory(bool huge) {
  std::vector<std::string> arguments{
      "pipeline_clocks",    "--no-pci", "--no-telemetry", "--iova-mode=va", "--lcores=0@(0,1)", "-m", "192",
      "--log-level=*:error"};
  arguments.push_back(huge ? "--in-memory" : "--no-huge");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0)
    give_up("DPDK didn't start: run it as root, with 96 huge pages of 2 MiB free");
}

}  // namespace
}  // namespace bulkhead

int main(int argc, char** argv) {
  bool small_pages =
      argc == 5 && std::string_view(argv[4]) == "no-huge";  // under valgrind, to count instructions
  if (argc != 4 && !small_pages) {
    std::fprintf(stderr, "usage: pipeline_clocks FLOWS TCP-SHARE BURSTS [no-huge]\n");
    return 2;
  }
  bulkhead::start_memory(!small_pages);
  bulkhead::measure(static_cast<uint32_t>(std::atoi(argv[1])), std::atof(argv[2]),
                    static_cast<uint32_t>(std::atoi(argv[3])));
}
