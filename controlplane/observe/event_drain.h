// The thread that takes flow events from the dataplane to the flow log, so that a slow disk never delays
// enforcement.
#pragma once

#include <memory>
#include <optional>
#include <thread>

#include "controlplane/observe/flow_log.h"
#include "controlplane/observe/readings.h"
#include "controlplane/observe/state.h"

namespace bulkhead {

/// Runs from construction to destruction; what is in the rings then is still written.
class EventDrain {
 public:
  /// `log`: nullptr where there is no flow log; events are taken and forgotten then. All outlive it.
  EventDrain(const StateBoard& board, FlowLog* log, BusyMeter& busy);

 private:
  void run(const std::stop_token& stop);
  void drain_all();
  bool drain_once();

  const StateBoard& board_;
  FlowLog* log_;
  BusyMeter& busy_;
  std::shared_ptr<Attachment> dataplane_;  ///< kept after its end until its last events are read
  std::vector<FlowRecord> batch_;
  BootTime next_sample_{};
  std::jthread thread_;
};

}  // namespace bulkhead
