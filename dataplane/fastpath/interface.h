// Network interfaces as the kernel knows them, by name, in the calling thread's network namespace.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace bulkhead {

struct InterfaceState {
  unsigned index = 0;    ///< 0: there is no such interface
  bool up = false;       ///< administratively
  bool running = false;  ///< up, and with a carrier
};

/// What the interface is now. Needs no capability; three system calls.
InterfaceState interface_state(const std::string& name);

/// Sets the interface up if it isn't.
/// Errors: kNotFound, kPermission (CAP_NET_ADMIN), kSystem.
Expected<> bring_up(const std::string& name);

/// Queues in use, as `ethtool -l` shows them.
struct InterfaceQueues {
  unsigned combined = 0;  ///< that receive and transmit
  unsigned receive = 0;   ///< that only receive (veth counts its queues so)
};
/// All zero where the driver doesn't tell: then there is one.
InterfaceQueues interface_queues(const std::string& name);

/// Moves the interface into the network namespace that `path` names, under the name `as`.
/// Errors: kNotFound, kPermission (CAP_NET_ADMIN in both namespaces), kExists where one of that name is
/// there.
Expected<> move_interface(const std::string& name, const std::string& path, const std::string& as);

/// Whether it is a piece of hardware (or looks like one to this machine), not a virtual interface of the
/// kernel's.
bool is_hardware(const std::string& name);

}  // namespace bulkhead
