#include "dataplane/fastpath/port.h"

#include <dirent.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "base/check.h"
#include "dataplane/fastpath/eal.h"
#include "dataplane/fastpath/interface.h"
#include "dataplane/fastpath/log.h"

namespace bulkhead {
namespace {

/// The Toeplitz key under which both directions of a flow have one hash (Woo and Park, 2012): 0x6d5a,
/// repeated.
std::array<uint8_t, 64> symmetric_key() {
  std::array<uint8_t, 64> key;
  for (size_t i = 0; i < key.size(); ++i) key[i] = i % 2 == 0 ? 0x6d : 0x5a;
  return key;
}

std::set<int> open_descriptors() {
  std::set<int> descriptors;
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return descriptors;
  while (dirent* entry = readdir(directory))
    if (entry->d_name[0] != '.') descriptors.insert(std::atoi(entry->d_name));
  descriptors.erase(dirfd(directory));
  closedir(directory);
  return descriptors;
}

/// Whether packets make the descriptor readable: a packet socket, an AF_XDP socket or a tap.
bool carries_packets(int fd) {
  int domain = 0;
  socklen_t length = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0)
    return domain == AF_PACKET || domain == AF_XDP;
  char target[32];
  ssize_t bytes = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target);
  return bytes > 0 && std::string_view(target, static_cast<size_t>(bytes)) == "/dev/net/tun";
}

/// Drivers keep their descriptors to themselves, but open one for each queue: while it is set up (af_xdp,
/// tap), or all when the device is probed, in the order of the queues (af_packet).
std::vector<int> packet_descriptors_since(const std::set<int>& before) {
  std::vector<int> found;
  for (int fd : open_descriptors())
    if (!before.contains(fd) && carries_packets(fd)) found.push_back(fd);
  return found;
}

/// A tap is made to be given to somebody, often into another network namespace, where its name says nothing
/// to us.
bool tap_exists(int fd) {
  ifreq request{};
  return ioctl(fd, TUNGETIFF, &request) == 0;
}

std::string hint_for(int error_number) {
  switch (error_number) {
    case EPERM:
    case EACCES:
      return "; run as root, or with the capabilities CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_SYS_ADMIN";
    case ENOMEM:
      return "; a larger memory_mib may help";
    case EBUSY:
      return "; another program has the device's queue";
    default:
      return "";
  }
}

std::unexpected<Error> driver_failed(const std::string& what, int error_number, DpdkLog& log) {
  std::string words = log.take_last_line();
  auto failed = fail_errno(error_number, what);
  return fail(failed.error().code,
              failed.error().message + (words.empty() ? "" : " (" + words + ")") + hint_for(error_number));
}

}  // namespace

Port::Port(const PortSetting& setting, Device device, PortId id, unsigned worker_count)
    : setting_(setting), id_(id), worker_count_(worker_count), device_(std::move(device)) {
  for (auto& fd : queue_fd_) fd.store(-1, std::memory_order_relaxed);
}

Port::~Port() {
  close();
}

Expected<uint16_t> Port::wanted_queues() const {
  if (device_.kind == DeviceKind::kPcap) return 1;
  if (device_.kind != DeviceKind::kAfXdp) return static_cast<uint16_t>(std::min(worker_count_, kMaxQueues));
  InterfaceQueues present = interface_queues(device_.argument);
  if (present.receive > 1)
    return fail(ErrorCode::kInvalid,
                "the interface has " + std::to_string(present.receive) +
                    " receive queues of its own, of which af_xdp binds the first; run `ethtool -L " +
                    device_.argument + " rx 1 tx 1`");
  if (present.combined > kMaxQueues)
    return fail(ErrorCode::kInvalid, "the interface has " + std::to_string(present.combined) +
                                         " queues, a port takes up to " + std::to_string(kMaxQueues) +
                                         "; run `ethtool -L " + device_.argument + " combined " +
                                         std::to_string(worker_count_) + "`");
  return static_cast<uint16_t>(std::max(present.combined, 1u));
}

Expected<> Port::open(rte_mempool* pool, uint16_t descriptors) {
  BULKHEAD_CHECK(!open_);
  if (auto opened = open_device(pool, descriptors); !opened) {
    close();
    return with_context(opened.error(), "port '" + setting_.name + "' (" + setting_.device + ")");
  }
  open_ = true;
  return {};
}

Expected<> Port::open_device(rte_mempool* pool, uint16_t descriptors) {
  if (device_.is_kernel_interface())
    if (auto done = prepare_interface(); !done) return done;
  auto queues = wanted_queues();
  if (!queues) return std::unexpected(queues.error());
  if (auto done = probe(*queues); !done) return done;
  if (auto done = configure(*queues); !done) return done;
  if (auto done = set_up_queues(pool, descriptors); !done) return done;
  return start();
}

Expected<> Port::prepare_interface() {
  const std::string& name = device_.argument;
  interface_index_ = interface_state(name).index;
  if (interface_index_ == 0)
    return fail(ErrorCode::kNotFound, "no interface '" + name + "' on this host; `ip link` lists them");
  guard_.reset();  // of an interface that is gone; it holds the claim to the name
  GuardSetting guarded{name, setting_.host_addresses};
  auto guard =
      device_.kind == DeviceKind::kAfXdp ? Guard::before_af_xdp(guarded) : Guard::for_af_packet(guarded);
  if (!guard) return std::unexpected(guard.error());
  guard_ = std::move(*guard);
  return bring_up(name);
}

Expected<> Port::probe(uint16_t queues) {
  DpdkLog log;
  OpenOptions options{.port = id_, .queues = queues, .mtu = setting_.mtu, .mac = setting_.mac};
  if (device_.kind == DeviceKind::kAfXdp) {
    options.xdp_object = guard_->xdp_object();
    options.busy_poll = is_hardware(device_.argument);
  }
  DevArgs args = dev_args(device_, options);
  std::set<int> before = open_descriptors();
  // What is on the PCI bus was probed when EAL started.
  if (!pci_allow(device_))
    if (int status = rte_dev_probe(args.text.c_str()); status < 0)
      return driver_failed("DPDK can't open it", -status, log);
  uint16_t number = 0;
  if (rte_eth_dev_get_port_by_name(args.name.c_str(), &number) != 0)
    return fail(ErrorCode::kNotFound,
                pci_allow(device_)
                    ? "no DPDK driver took the device; `dpdk-devbind.py --status` shows what is bound to it"
                    : "no DPDK driver made a port of '" + args.name + "'");
  number_ = number;
  probed_ = true;
  probe_fds_ = packet_descriptors_since(before);
  log.take_last_line();
  return {};
}

Expected<> Port::configure(uint16_t wanted_queues) {
  DpdkLog log;
  rte_eth_dev_info info{};
  if (int status = rte_eth_dev_info_get(number_, &info); status != 0)
    return driver_failed("can't ask the device", -status, log);
  if (info.max_mtu != 0 && setting_.mtu > info.max_mtu)
    return fail(ErrorCode::kInvalid,
                "mtu " + std::to_string(setting_.mtu) +
                    " is more than the device can carry: " + std::to_string(info.max_mtu));
  uint16_t queues = std::max<uint16_t>(1, std::min({wanted_queues, info.max_rx_queues, info.max_tx_queues}));
  if (queues_ != 0 && queues != queues_)
    return fail(ErrorCode::kUnavailable, "it has " + std::to_string(queues) + " queues, and had " +
                                             std::to_string(queues_) + "; restart the gateway");
  queues_ = queues;

  rte_eth_conf conf{};
  conf.rxmode.mtu = setting_.mtu;
  auto key = symmetric_key();
  if (queues_ > 1 && info.flow_type_rss_offloads != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf =
        (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_SCTP) & info.flow_type_rss_offloads;
    if (info.hash_key_size != 0 && info.hash_key_size <= key.size()) {
      conf.rx_adv_conf.rss_conf.rss_key = key.data();
      conf.rx_adv_conf.rss_conf.rss_key_len = info.hash_key_size;
    }
  }
  if (int status = rte_eth_dev_configure(number_, queues_, queues_, &conf); status != 0)
    return driver_failed("the device refuses its configuration", -status, log);
  if (int status = rte_eth_dev_set_mtu(number_, setting_.mtu); status != 0 && status != -ENOTSUP)
    return driver_failed("can't set its MTU to " + std::to_string(setting_.mtu), -status, log);
  log.take_last_line();
  return {};
}

Expected<> Port::set_up_queues(rte_mempool* pool, uint16_t descriptors) {
  DpdkLog log;
  uint16_t rx = descriptors, tx = descriptors;
  if (int status = rte_eth_dev_adjust_nb_rx_tx_desc(number_, &rx, &tx); status != 0)
    return driver_failed("the device has no descriptors", -status, log);
  int socket = rte_eth_dev_socket_id(number_);
  for (uint16_t queue = 0; queue < queues_; ++queue) {
    std::set<int> before = open_descriptors();
    int status = rte_eth_rx_queue_setup(number_, queue, rx, static_cast<unsigned>(socket), nullptr, pool);
    std::vector<int> opened = packet_descriptors_since(before);
    if (opened.size() != 1 && probe_fds_.size() == queues_) opened = {probe_fds_[queue]};
    if (opened.size() == 1) queue_fd_[queue].store(opened[0], std::memory_order_relaxed);
    if (status == 0)
      status = rte_eth_tx_queue_setup(number_, queue, tx, static_cast<unsigned>(socket), nullptr);
    if (status != 0) return driver_failed("can't set up queue " + std::to_string(queue), -status, log);
  }
  if (device_.kind == DeviceKind::kAfXdp)
    if (auto adopted = guard_->adopt_xdp(); !adopted) return adopted;
  log.take_last_line();
  return {};
}

Expected<> Port::start() {
  DpdkLog log;
  rte_ether_addr address;
  if (!setting_.mac.is_zero()) {
    std::memcpy(address.addr_bytes, setting_.mac.bytes.data(), sizeof address.addr_bytes);
    int status = rte_eth_dev_default_mac_addr_set(number_, &address);
    // A device without a MAC of its own to set still sends with what we write into frames, and receives all
    // of them.
    if (status != 0 && status != -ENOTSUP) return driver_failed("can't set its MAC", -status, log);
  }
  if (int status = rte_eth_dev_start(number_); status != 0)
    return driver_failed("the device doesn't start", -status, log);
  if (int status = rte_eth_promiscuous_enable(number_); status != 0 && status != -ENOTSUP)
    return driver_failed("can't receive all frames (promiscuous mode)", -status, log);
  if (rte_eth_macaddr_get(number_, &address) == 0)
    std::memcpy(device_mac_.bytes.data(), address.addr_bytes, sizeof address.addr_bytes);
  log.take_last_line();
  return {};
}

bool Port::present() const {
  return !device_.is_kernel_interface() || interface_state(device_.argument).index != 0;
}

bool Port::refresh() {
  bool there = open_, linked = false;
  if (open_ && device_.is_kernel_interface()) {
    InterfaceState state = interface_state(device_.argument);
    there = state.index == interface_index_;
    linked = there && state.running;
  } else if (open_ && device_.kind == DeviceKind::kTap && queue_fd(0) >= 0) {
    linked = tap_exists(queue_fd(0));
  } else if (open_) {
    rte_eth_link link{};
    linked = rte_eth_link_get_nowait(number_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
  }
  usable_.store(linked, std::memory_order_release);
  return there;
}

Expected<> Port::remove_guard() {
  BULKHEAD_CHECK(!open_);
  if (!guard_) return {};
  auto removed = guard_->remove();
  guard_.reset();
  return removed;
}

GuardCounts Port::guard_counts() const {
  GuardCounts counts = open_ && guard_ ? guard_->counts() : GuardCounts{};
  return {.dropped = guard_counted_.dropped + counts.dropped,
          .passed = guard_counted_.passed + counts.passed};
}

uint64_t Port::nic_missed() {
  rte_eth_stats stats{};
  if (usable() && rte_eth_stats_get(number_, &stats) == 0) missed_now_ = stats.imissed;
  return missed_before_ + missed_now_;
}

void Port::close() {
  usable_.store(false, std::memory_order_release);
  if (!probed_) return;
  guard_counted_ = guard_counts();
  missed_before_ += std::exchange(missed_now_, 0);
  for (auto& fd : queue_fd_) fd.store(-1, std::memory_order_relaxed);
  DpdkLog log;
  rte_eth_dev_info info{};
  rte_device* device = rte_eth_dev_info_get(number_, &info) == 0 ? info.device : nullptr;
  rte_eth_promiscuous_disable(number_);  // of the kernel's interface too
  rte_eth_dev_stop(number_);
  rte_eth_dev_close(number_);
  if (device != nullptr && !pci_allow(device_)) rte_dev_remove(device);
  probed_ = open_ = false;
  log.take_last_line();  // of an interface that is gone drivers complain, and nothing can be done
}

}  // namespace bulkhead
