// The relay's network namespace: what makes TCP packets for anybody end here, and the interface to the
// dataplane.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "contract/memfd.h"
#include "dataplane/relay/route_socket.h"

namespace bulkhead {

/// Where transparent listeners are bound: an address that no client has, so that no client's port is taken.
inline constexpr uint16_t kTransparentPort = 4791;

/// Makes the calling process's network namespace one that only serves `interface`: forwards nothing, answers
/// nothing but what this process does, takes TCP that comes in there as for itself (nftables tproxy to
/// kTransparentPort on 127.0.0.1 and ::1), and may be done again in a namespace that was prepared before.
/// Errors: kPermission, kSystem. Thread: the process's only one, before confinement: it reads and writes
/// files.
Expected<> prepare_network(const std::string& interface);

/// A TCP socket that listens at kTransparentPort, beside others (SO_REUSEPORT): what it accepts has the
/// address and port that the client meant.
Expected<Fd> listen_transparently(Family family);

/// The interface to the dataplane, which comes and goes with it.
class DataplaneLink {
 public:
  static Expected<DataplaneLink> open(std::string interface);
  int fd() const { return events_.fd(); }
  enum class Change { kNone, kCame, kWent };
  /// Looks at the interface, and configures it where it is new or was changed. kWent also where another one
  /// has taken its place, which is then configured.
  Change look();
  bool present() const { return current_.has_value(); }

 private:
  DataplaneLink(std::string interface, RouteSocket routes, LinkEvents events)
      : interface_(std::move(interface)), routes_(std::move(routes)), events_(std::move(events)) {}
  Expected<> configure(const LinkState& link);

  std::string interface_;
  RouteSocket routes_;
  LinkEvents events_;
  std::optional<int> current_;  ///< the index of the one that is configured
};

}  // namespace bulkhead
