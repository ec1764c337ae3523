// A network namespace of the test's own, with virtual cables, and sockets that put frames on them and take
// them off.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "contract/memfd.h"
#include "tests/unit/guard/frames.h"

namespace bulkhead::test {

/// Runs a shell command; aborts the test program when it fails, since nothing that follows could mean
/// anything.
void run(const std::string& command);
/// What the command writes to standard output.
std::string output_of(const std::string& command);

/// Moves the calling process into a new, empty network namespace, which ends with the process. False without
/// the right to.
bool enter_new_network();

/// A cable: `gateway_end` is what the guard guards, with `mac`; `far_end` has no address and no stack of its
/// own, so that every frame on the cable is the test's.
void add_cable(const std::string& gateway_end, const std::string& far_end, std::string_view mac);

/// A packet socket on an interface: sees what comes in there, before tc does.
class PacketSocket {
 public:
  explicit PacketSocket(const std::string& interface);
  void send(const Frame& frame) const;
  /// The first frame that `wanted` accepts, or nothing when none comes before `patience` is over.
  std::optional<Frame> receive(const std::function<bool(const Frame&)>& wanted,
                               std::chrono::milliseconds patience = std::chrono::seconds(2)) const;
  /// True when no frame that `unwanted` accepts has arrived so far.
  bool saw_none(const std::function<bool(const Frame&)>& unwanted) const {
    return !receive(unwanted, std::chrono::milliseconds(0));
  }

 private:
  Fd socket_;
};

}  // namespace bulkhead::test
