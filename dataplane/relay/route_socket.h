// rtnetlink: requests with their answers, and events of interfaces, in the calling thread's network
// namespace.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/address.h"
#include "base/error.h"
#include "contract/memfd.h"

struct nlmsghdr;

namespace bulkhead {

/// An interface as rtnetlink describes it.
struct LinkState {
  int index = 0;
  bool up = false;       ///< administratively
  bool resolves = true;  ///< asks for neighbours: not IFF_NOARP
  MacAddress mac;
  bool operator==(const LinkState&) const = default;
};

/// Requests that need CAP_NET_ADMIN in the namespace. What is there already is left as it is and no error.
/// Thread: one.
class RouteSocket {
 public:
  static Expected<RouteSocket> open();

  /// Nothing: there is no such interface.
  Expected<std::optional<LinkState>> link(const std::string& name);
  Expected<> set_up(int index);
  /// Sets the MAC address, IFF_NOARP and IFF_UP.
  Expected<> configure(int index, const MacAddress& mac);
  Expected<> add_address(int index, const IpAddress& address, uint8_t length);
  /// The default route of the main table, straight into the interface.
  Expected<> add_default_route(Family family, int index);
  /// "local default dev lo" in `table`: what is looked up there is for this host, whatever its destination.
  Expected<> add_local_table(Family family, uint32_t table, int loopback);
  /// What comes in through the interface of that name, now or later, is looked up in `table`.
  Expected<> add_rule(Family family, const std::string& incoming, uint32_t table);

 private:
  explicit RouteSocket(Fd fd) : fd_(std::move(fd)) {}
  Expected<> request(nlmsghdr* message, const char* what);
  Fd fd_;
  uint32_t sequence_ = 0;
};

/// Tells that interfaces came, went or changed.
class LinkEvents {
 public:
  static Expected<LinkEvents> open();
  int fd() const { return fd_.get(); }
  /// Takes all events that are waiting; whether there were any.
  bool take();

 private:
  explicit LinkEvents(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace bulkhead
