// The running gateway: everything that main wires together once DPDK has started, in the order in which it is
// made.
#pragma once

#include <rte_mempool.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "contract/settings.h"
#include "dataplane/fastpath/control.h"
#include "dataplane/fastpath/exchange.h"
#include "dataplane/fastpath/flow_export.h"
#include "dataplane/fastpath/neighbour_table.h"
#include "dataplane/fastpath/pipeline.h"
#include "dataplane/fastpath/port.h"
#include "dataplane/fastpath/port_view.h"
#include "dataplane/fastpath/publisher.h"
#include "dataplane/fastpath/quiescence.h"
#include "dataplane/fastpath/relay_life.h"
#include "dataplane/fastpath/snapshot.h"
#include "dataplane/fastpath/station_table.h"
#include "dataplane/fastpath/telemetry.h"
#include "dataplane/fastpath/worker.h"

namespace bulkhead {

/// Buffers for packets, and how many descriptors a queue gets: as many as half of the memory can feed.
struct BufferPlan {
  uint32_t buffers;
  uint16_t descriptors;
  uint16_t room_bytes;  ///< of one buffer, headroom included
};
/// `queues`: of all ports together. Errors: kExhausted, saying how much memory it takes.
Expected<BufferPlan> plan_buffers(const DataplaneSettings& settings, uint32_t queues);

/// What becomes of the interfaces of a gateway that has stopped.
enum class AfterStop : uint8_t {
  kKeepGuards,          ///< their guards stay: between this end and the next start nothing gets around
  kHandInterfacesBack,  ///< they are the host's own, which may forward
};

/// Thread: the main thread, but for the workers' own.
class Gateway {
 public:
  /// Opens the ports and listens for a control plane; no packet moves yet.
  /// `relay_namespace`: where the relay's port has its interface; empty: there is none.
  /// Errors: of ports, memory and the socket, each with what to do.
  static Expected<std::unique_ptr<Gateway>> create(const DataplaneSettings& settings, ControlOptions control,
                                                   std::string relay_namespace);
  ~Gateway();

  /// Whether some port's interface may go away and come back, which takes privileges.
  bool may_reopen() const;
  /// Starts the workers. Without policy they drop everything.
  Expected<> start();
  /// Serves the control plane and watches the ports, until `stop` or the control plane asks for the end.
  void serve(const std::atomic<bool>& stop);
  /// Stops the workers and closes the ports. Until the next start their interfaces pass nothing, or are the
  /// host's own.
  void stop(AfterStop after);

 private:
  explicit Gateway(const DataplaneSettings& settings)
      : settings_(settings), flow_export_(static_cast<unsigned>(settings.cores.size())) {}
  /// What was last seen and said of a port.
  struct PortWatch {
    bool announced_up = false;
    bool failure_told = false;  ///< of opening it again
    BootTime next_try{};        ///< when a device that went away is looked for again
  };
  Expected<> make_ports();
  Expected<> open_ports();
  Expected<> make_workers();
  unsigned worker_count() const { return static_cast<unsigned>(settings_.cores.size()); }

  void end_workers();
  void watch_ports();
  void watch_port(Port& port);
  bool wait_for_workers();
  Expected<> open_port(Port& port);
  void reopen(Port& port);
  void tell_change(const Port& port);

  const DataplaneSettings settings_;
  FlowExport flow_export_;
  Published published_;
  BufferPlan buffers_{};
  rte_mempool* pool_ = nullptr;
  std::vector<std::unique_ptr<Port>> ports_;
  std::vector<PortView> views_;
  std::vector<PortWatch> watches_;  ///< by port
  std::optional<Telemetry> telemetry_;
  std::unique_ptr<Quiescence> quiescence_;
  std::unique_ptr<Exchange> exchange_;
  std::atomic<uint32_t> datagrams_in_rings_{0};
  std::unique_ptr<NeighbourTable> neighbours_;
  std::unique_ptr<StationTable> stations_;
  RelayLife relay_life_;
  std::string relay_namespace_;
  std::vector<std::unique_ptr<Pipeline>> pipelines_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Publisher> publisher_;
  std::unique_ptr<ControlServer> control_;
  std::atomic<bool> stop_workers_{false};
  bool running_ = false;
  BootTime next_watch_{};
};

}  // namespace bulkhead
