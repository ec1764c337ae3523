// The guard of an interface that the kernel sees too: keeps the kernel from being a way around the gateway.
//
// af_xdp ports                                   af_packet ports
//   auto guard = Guard::before_af_xdp(setting);    auto guard = Guard::for_af_packet(setting);
//   ... probe the port with ",xdp_prog=" + guard->xdp_object(),
//       set up its receive queues: the driver attaches the program with the first one
//   guard->adopt_xdp();
//   ... run, reading guard->counts() ...           ... run ...
//   ... rte_eth_dev_close(): the driver detaches the XDP program
//   guard->remove();                               guard->remove();
//
// Only what is addressed to one of the interface's `host_addresses` reaches the kernel: untagged ARP for it,
// neighbour solicitations and advertisements for it, and TCP, UDP, ICMP and ICMPv6 to it without IP options
// or IPv6 extension headers. That is a deliberate opening, for management: no policy judges it, whoever
// sends. What the host itself sends isn't touched.
//
// A tc ingress program drops everything else on both kinds of port. On af_xdp ports the XDP program in front
// of it redirects to the gateway's sockets, or drops where none is bound; the tc program is what closes the
// moments in which no XDP program is attached (the driver attaches only where nothing is, so a leftover goes
// first). Both stay attached when the process dies, however it dies, and hold no reference to it: then
// everything but the above is dropped, until the next start replaces them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"

namespace bulkhead {

inline constexpr size_t kGuardMaxHostAddresses = 256;

struct GuardSetting {
  std::string interface;  ///< the kernel's name, e.g. "eth1", in the calling thread's network namespace
  std::vector<IpAddress> host_addresses;  ///< left to the kernel; at most kGuardMaxHostAddresses
};

/// Frames since the guard was attached.
struct GuardCounts {
  uint64_t dropped = 0;  ///< neither for the host nor taken by a socket of the gateway
  uint64_t passed = 0;   ///< left to the kernel: for one of the host addresses
};

/// One interface's guard. Destroying it without remove() leaves the interface guarded: an exit by error stays
/// closed.
/// Thread: one at a time.
/// Capabilities: CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN (programs are looked up by id) until adopt_xdp() is
/// done, CAP_NET_ADMIN for remove(), none for counts().
class Guard {
 public:
  /// Guards an af_xdp port's interface, and makes it ready for DPDK to open: a leftover XDP program of ours
  /// is gone afterwards, and the device leaves VLAN tags in the frames (on veth it is the sender's end that
  /// must: `ethtool -K IF txvlan off` there).
  /// Errors: kNotFound (no such interface); kExists (somebody else's XDP program, tcx program or tc filter is
  /// in the way, or a gateway that runs holds the interface); kInvalid (too many host addresses, not
  /// Ethernet, a device that can't but strip tags); kPermission; kSystem. Somebody else's programs are never
  /// touched.
  static Expected<Guard> before_af_xdp(const GuardSetting& setting);

  /// Guards an af_packet port's interface: frames still reach packet sockets, which the kernel serves before
  /// tc. A leftover of ours is replaced without a gap; other filters stay as they are.
  /// Errors: as before_af_xdp(), but for somebody else's XDP program, which may stay, and tags.
  static Expected<Guard> for_af_packet(const GuardSetting& setting);

  /// The path for the driver's `xdp_prog=`. Valid in this process only, and until the guard is destroyed.
  const std::string& xdp_object() const;

  /// Gives the XDP program that the driver has attached its host addresses; until then it leaves nothing to
  /// the kernel. Call after rte_eth_rx_queue_setup().
  /// Errors: kNotFound (no program is attached), kExists (one is that isn't ours), kPermission, kSystem.
  Expected<> adopt_xdp();

  /// What both programs counted. Zero where the maps can't be read.
  GuardCounts counts() const;

  /// Leaves the interface to the kernel, as it was before: for a clean stop, after rte_eth_dev_close(). An
  /// interface that is gone is no error.
  /// Errors: kPermission, kSystem; the interface is then still guarded.
  Expected<> remove();

  Guard(Guard&&) noexcept;
  Guard& operator=(Guard&&) noexcept;
  ~Guard();

 private:
  struct State;
  /// What both kinds of port begin with: the interface claimed, the tc program attached.
  static Expected<std::unique_ptr<State>> with_tc(const GuardSetting& setting);
  explicit Guard(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace bulkhead
