// What the agent said last, from the thread that hears it to the one that passes it on.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace bulkhead {

/// Thread: one puts, another one looks.
class Mailbox {
 public:
  struct Item {
    uint64_t number = 0;                          ///< counts what was put; 0: nothing was
    std::shared_ptr<const std::string> response;  ///< an X509SVIDResponse; null: the agent grants nothing
  };

  static Expected<std::unique_ptr<Mailbox>> create();
  /// Replaces what is there. That the agent grants nothing counts once in a row.
  void put(std::shared_ptr<const std::string> response);
  Item latest();
  /// Readable when something was put since take_notice().
  int fd() const { return event_.get(); }
  void take_notice();

 private:
  std::mutex mutex_;
  Item latest_;
  Fd event_;
};

}  // namespace bulkhead
