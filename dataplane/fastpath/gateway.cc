#include "dataplane/fastpath/gateway.h"

#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "base/check.h"
#include "dataplane/fastpath/fragments.h"
#include "dataplane/fastpath/interface.h"
#include "dataplane/fastpath/log.h"
#include "dataplane/fastpath/overlay.h"
#include "dataplane/fastpath/privileges.h"

namespace bulkhead {
namespace {

constexpr unsigned kPoolCache = 256;  // buffers that each worker keeps for itself
constexpr auto kWatchPeriod = std::chrono::milliseconds(100);
constexpr auto kRetryPeriod = std::chrono::seconds(1);
constexpr auto kGraceLimit = std::chrono::seconds(1);

/// Room for the largest frame behind DPDK's headroom and, on af_xdp ports, the kernel's.
uint16_t room_for(const DataplaneSettings& settings) {
  constexpr unsigned kLinkHeader = 30, kXdpHeadroom = 256;  // with 802.1Q, Cisco metadata and FCS
  unsigned most = 0;
  for (const PortSetting& port : settings.ports) most = std::max<unsigned>(most, port.mtu);
  unsigned room = std::max<unsigned>(RTE_MBUF_DEFAULT_DATAROOM, most + kLinkHeader + kXdpHeadroom);
  return static_cast<uint16_t>(RTE_PKTMBUF_HEADROOM + std::min(RTE_ALIGN_CEIL(room, 64u), 65'000u));
}

}  // namespace

Expected<BufferPlan> plan_buffers(const DataplaneSettings& settings, uint32_t queues) {
  // A queue can have its receive and transmit rings full, and with af_xdp a fill and a completion ring of
  // 2,048 each beside them.
  constexpr uint32_t kBesideRings = 4096, kElsewhere = 8192;
  uint16_t room = room_for(settings);
  uint64_t buffer_bytes = room + sizeof(rte_mbuf) + 64;
  uint64_t limit = uint64_t{settings.memory_mib} << 20;
  uint64_t least = 0;
  for (uint16_t descriptors : {2048, 1024, 512}) {
    uint64_t buffers = uint64_t{queues} * (kBesideRings + 2u * descriptors) + kElsewhere +
                       fragment_buffers(settings, static_cast<unsigned>(settings.cores.size())) +
                       settings.cores.size() * 2 * kPoolCache;
    buffers = std::max<uint64_t>(buffers, settings.buffers);
    least = buffers * buffer_bytes * 2;
    if (least <= limit) return BufferPlan{static_cast<uint32_t>(buffers), descriptors, room};
  }
  return fail(ErrorCode::kExhausted, "memory_mib: " + std::to_string(settings.memory_mib) +
                                         " is too little for the " + std::to_string(queues) +
                                         " queues of these ports" +
                                         (settings.buffers != 0 ? " and `buffers`" : "") +
                                         "; it takes at least " + std::to_string((least >> 20) + 1));
}

Expected<std::unique_ptr<Gateway>> Gateway::create(const DataplaneSettings& settings, ControlOptions control,
                                                   std::string relay_namespace) {
  std::unique_ptr<Gateway> gateway(new Gateway(settings));
  gateway->relay_namespace_ = std::move(relay_namespace);
  if (auto made = gateway->make_ports(); !made) return std::unexpected(made.error());
  auto telemetry = Telemetry::create(gateway->worker_count(), static_cast<unsigned>(settings.ports.size()),
                                     rte_get_tsc_hz());
  if (!telemetry) return std::unexpected(telemetry.error());
  gateway->telemetry_ = std::move(*telemetry);
  gateway->quiescence_ = Quiescence::create(gateway->worker_count());
  if (!gateway->quiescence_) return fail(ErrorCode::kExhausted, "no memory for the workers' quiescence");
  gateway->publisher_ =
      std::make_unique<Publisher>(gateway->published_, *gateway->quiescence_, gateway->worker_count(),
                                  static_cast<unsigned>(settings.ports.size()));
  // Before a port is touched: another gateway on the same socket owns them.
  auto server = ControlServer::listen(std::move(control), *gateway->publisher_, *gateway->telemetry_,
                                      gateway->flow_export_);
  if (!server) return std::unexpected(server.error());
  gateway->control_ = std::move(*server);
  if (auto opened = gateway->open_ports(); !opened) return std::unexpected(opened.error());
  if (auto made = gateway->make_workers(); !made) return std::unexpected(made.error());
  return gateway;
}

Expected<> Gateway::make_ports() {
  if (auto checked = check_devices(settings_.ports); !checked) return checked;
  uint32_t queues = 0;
  for (size_t i = 0; i < settings_.ports.size(); ++i) {
    const PortSetting& setting = settings_.ports[i];
    ports_.push_back(std::make_unique<Port>(setting, *parse_device(setting.device),
                                            PortId{static_cast<uint8_t>(i)}, worker_count()));
    auto wanted = ports_.back()->wanted_queues();
    if (!wanted) return with_context(wanted.error(), "port '" + setting.name + "' (" + setting.device + ")");
    queues += *wanted;
  }
  auto plan = plan_buffers(settings_, queues);
  if (!plan) return std::unexpected(plan.error());
  buffers_ = *plan;
  watches_.resize(ports_.size());
  return {};
}

Expected<> Gateway::open_ports() {
  pool_ =
      rte_pktmbuf_pool_create("packets", buffers_.buffers, kPoolCache, 0, buffers_.room_bytes, SOCKET_ID_ANY);
  if (pool_ == nullptr)
    return fail(ErrorCode::kExhausted, "no memory for " + std::to_string(buffers_.buffers) +
                                           " packet buffers; raise memory_mib or vm.nr_hugepages");
  std::vector<MacAddress> macs;
  for (const auto& port : ports_) {
    if (auto opened = open_port(*port); !opened) return opened;
    macs.push_back(port->device_mac());
  }
  views_ = make_port_views(settings_, macs);
  return {};
}

Expected<> Gateway::open_port(Port& port) {
  if (auto opened = port.open(pool_, buffers_.descriptors); !opened) return opened;
  if (!settings_.ports[port.id().value].relay) return {};
  if (relay_namespace_.empty())
    return fail(ErrorCode::kInvalid, "the settings have the mTLS relay's port: --relay-namespace is missing");
  return move_interface(port.device().argument, relay_namespace_, kRelayInterface);
}

Expected<> Gateway::make_workers() {
  auto exchange = Exchange::create(worker_count(), ports_.size());
  if (!exchange) return std::unexpected(exchange.error());
  exchange_ = std::move(*exchange);
  uint64_t seed[2];
  if (getrandom(seed, sizeof seed, 0) != sizeof seed) return fail_errno(errno, "a random seed");
  if (size_t ports = neighbour_ports(settings_); ports != 0) {
    neighbours_ = std::make_unique<NeighbourTable>(ports, HashSeed{{seed[0], seed[1]}});
    stations_ = std::make_unique<StationTable>(HashSeed{{seed[0], seed[1]}});
  }
  BootTime epoch = boot_now();
  for (unsigned worker = 0; worker < worker_count(); ++worker) {
    PipelineParts parts{.settings = &settings_,
                        .ports = views_,
                        .worker = worker,
                        .worker_count = worker_count(),
                        .pool = pool_,
                        .counters = &telemetry_->worker(worker),
                        .events = telemetry_->events(worker),
                        .neighbours = neighbours_.get(),
                        .relay = &relay_life_,
                        .stations = stations_.get(),
                        .hand_off = exchange_->hand_off_from(worker),
                        .max_flows = std::max(1u, settings_.max_flows / worker_count()),
                        .hash_seed = {seed[0], seed[1]},
                        .epoch = epoch,
                        .parse_flags = 0,
                        .keep_verdicts = false,
                        .datagrams_in_rings = &datagrams_in_rings_};
    auto pipeline = Pipeline::create(parts);
    if (!pipeline)
      return fail(ErrorCode::kExhausted, "no memory for " + std::to_string(parts.max_flows) +
                                             " flows; lower max_flows or raise memory_mib");
    workers_.push_back(std::make_unique<Worker>(WorkerParts{.number = worker,
                                                            .ports = ports_,
                                                            .pipeline = pipeline.get(),
                                                            .counters = parts.counters,
                                                            .exchange = exchange_.get(),
                                                            .published = &published_,
                                                            .quiescence = quiescence_.get(),
                                                            .flow_export = &flow_export_,
                                                            .stop = &stop_workers_,
                                                            .tsc_hz = rte_get_tsc_hz()}));
    pipelines_.push_back(std::move(pipeline));
  }
  return {};
}

bool Gateway::may_reopen() const {
  return std::ranges::any_of(ports_, [](const auto& port) { return port->device().is_kernel_interface(); });
}

static int run_worker(void* worker) {
  if (auto dropped = drop_all_privileges(); !dropped) {
    log_line("error: " + dropped.error().message);
    _exit(1);  // the guards stay, nothing passes; what the other workers use stays until they are gone
  }
  static_cast<Worker*>(worker)->run();
  return 0;
}

Expected<> Gateway::start() {
  watch_ports();
  running_ = true;  // even if only some of them will: they have to end before what they use
  for (unsigned worker = 0; worker < worker_count(); ++worker)
    if (int status = rte_eal_remote_launch(run_worker, workers_[worker].get(), worker + 1); status != 0)
      return fail_errno(-status, "starting worker " + std::to_string(worker));
  return {};
}

void Gateway::serve(const std::atomic<bool>& stop) {
  while (!stop.load(std::memory_order_relaxed) && !control_->shutdown_requested()) {
    control_->step(static_cast<int>(kWatchPeriod.count()));
    if (boot_now() >= next_watch_) watch_ports();
  }
}

void Gateway::watch_ports() {
  next_watch_ = boot_now() + kWatchPeriod;
  CountersHeader& header = telemetry_->header();
  for (const auto& port : ports_) {
    watch_port(*port);
    uint8_t id = port->id().value;
    GuardCounts guard = port->guard_counts();
    header.guard_drops[id].store(guard.dropped, std::memory_order_relaxed);
    header.guard_passes[id].store(guard.passed, std::memory_order_relaxed);
    header.nic_missed[id].store(port->nic_missed(), std::memory_order_relaxed);
    header.port_up[id].store(port->usable(), std::memory_order_relaxed);
  }
}

void Gateway::watch_port(Port& port) {
  bool there = port.refresh();
  tell_change(port);
  if (there) return;
  if (port.is_open()) {
    if (!wait_for_workers()) return;  // a worker may still be in the driver: the next watch tries again
    RaisedPrivileges raised;
    port.close();
    log_line("port '" + port.name() +
             "': its interface is gone; what goes there is dropped (link_down) until it is back");
  } else if (boot_now() >= watches_[port.id().value].next_try && port.present()) {
    reopen(port);
  }
}

void Gateway::tell_change(const Port& port) {
  bool up = port.usable();
  PortWatch& watch = watches_[port.id().value];
  if (up == watch.announced_up) return;
  watch.announced_up = up;
  log_line("port '" + port.name() + (up ? "' is up" : "' is down"));
  control_->announce_port(port.id(), up);
}

/// Until no worker can be using a port that isn't usable any more.
bool Gateway::wait_for_workers() {
  uint64_t grace = quiescence_->start_grace();
  BootTime limit = boot_now() + kGraceLimit;
  while (!quiescence_->passed(grace)) {
    if (boot_now() >= limit) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

void Gateway::reopen(Port& port) {
  PortWatch& watch = watches_[port.id().value];
  watch.next_try = boot_now() + kRetryPeriod;
  RaisedPrivileges raised;
  auto opened = open_port(port);
  if (!opened && !watch.failure_told)
    log_line("warning: can't open it again, trying on: " + opened.error().message);
  watch.failure_told = !opened;
}

void Gateway::end_workers() {
  stop_workers_.store(true);
  if (!running_) return;
  for (unsigned worker = 0; worker < worker_count(); ++worker) exchange_->doorbell(worker).ring();
  rte_eal_mp_wait_lcore();
  running_ = false;
}

void Gateway::stop(AfterStop after) {
  end_workers();
  RaisedPrivileges raised;
  for (const auto& port : ports_) {
    port->close();
    if (after == AfterStop::kKeepGuards) continue;
    if (auto removed = port->remove_guard(); !removed)
      log_line("warning: port '" + port->name() + "': " + removed.error().message);
  }
}

Gateway::~Gateway() {
  end_workers();
}

}  // namespace bulkhead
