// The relay as a whole: what its main thread does between its workers, the dataplane, the control plane and
// its SVIDs.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/relay/control.h"
#include "dataplane/relay/network.h"
#include "dataplane/relay/svid_source.h"
#include "dataplane/relay/worker.h"

namespace bulkhead {

struct RelayOptions {
  int control = -1;         ///< RelayControl's listening socket, inherited
  std::string svids;        ///< directory; empty: `svid_socket`
  std::string svid_socket;  ///< where the SVIDs' fetcher attaches
  std::string interface = "relay0";
  std::string user_namespace, network_namespace;  ///< paths; empty: new ones
  unsigned threads = 1;
  uint64_t memory_mib = 2048;
  AdmissionLimits limits{};
  bool check_confinement = false;
};

class Relay {
 public:
  /// Opens all that confinement forbids later. The process is in its namespaces and has one thread.
  static Expected<std::unique_ptr<Relay>> open(const RelayOptions& options);
  ~Relay();

  /// Until the control plane or `stop` ends it. Starts the workers.
  Expected<> run(const std::atomic<bool>& stop);

 private:
  explicit Relay(const RelayOptions& options, Fd port);
  Expected<> open_parts(const RelayOptions& options);
  void wait();
  void watch_link();
  void ask_again();
  void watch_svids();
  void speak();
  Expected<> take_identities(const PublishIdentities& message, const Fd& image);
  void publish();
  void answer_when_judged();
  RelayState state() const;
  RelayWelcome welcome() const;
  RelayCounters counters();

  const BootTime started_ = boot_now();
  RelayShared shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  std::optional<SvidSource> svids_;
  std::optional<DataplaneLink> link_;
  std::optional<RelayControl> control_;
  RelayPolicy policy_;  ///< as it was published last
  bool shutdown_ = false;
  bool has_forgotten_ = false;  ///< identities, which nobody handed over since
  std::optional<BootTime> handed_over_by_;

  /// Identities that wait for every connection to have been judged.
  struct Pending {
    uint64_t epoch, generation;
    BootTime since;
    int64_t checked_ns;
  };
  std::optional<Pending> pending_;
  std::optional<BootTime> svids_due_;  ///< files change one after the other: read when it is quiet
  BootTime svids_since_{}, next_heartbeat_{}, next_counters_{};
};

}  // namespace bulkhead
