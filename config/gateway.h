// A gateway's configuration as network engineers write it, typed and checked. The format's rules:
// docs/configuration.md.
#pragma once

#include <optional>
#include <string>

#include "config/diagnostic.h"
#include "contract/settings.h"

namespace bulkhead {

struct FlowLogConfig {
  std::string path;  ///< empty: no flow log
  uint32_t rotate_mib = 256;
  uint32_t keep = 8;
};

struct ControlplaneConfig {
  std::string user = "bulkhead";
  std::string socket = "/run/bulkhead/control.sock";
  std::string socket_group = "bulkhead-operators";
  std::string metrics = "127.0.0.1:9464";  ///< HOST:PORT; empty: off
  FlowLogConfig flow_log;
  std::string state = "/var/lib/bulkhead";
};

/// Where SVIDs come from, one of the two; with one of them the gateway has an mTLS relay.
struct SvidConfig {
  std::string directory;                ///< docs/svid.md; empty: none
  std::string workload_api;             ///< "unix:/PATH" of a SPIFFE Workload API; empty: none
  std::string user = "bulkhead-relay";  ///< whom the relay runs as, and whose the keys are
  bool is_there() const { return !directory.empty() || !workload_api.empty(); }
};

struct GatewayConfig {
  std::string file;  ///< that it was read from
  std::string trust_domain;
  DataplaneSettings dataplane;  ///< `name` and `file_prefix` included
  /// Directory, resolved against the file's own; `policy/` where the file names none and that is there, else
  /// empty: none.
  std::string policy;
  SvidConfig svid;
  ControlplaneConfig controlplane;
  /// The socket between the planes: beside the control socket, named after it ("control.sock.dataplane").
  std::string contract_socket() const { return controlplane.socket + ".dataplane"; }
  /// A directory of root's, and in it the socket where the control plane attaches to the relay.
  std::string relay_directory() const { return controlplane.socket + ".tls"; }
  std::string relay_socket() const { return relay_directory() + "/relay"; }
  /// A directory of the relay's own, and in it the socket where its SVIDs' fetcher attaches.
  std::string svid_directory() const { return controlplane.socket + ".svid"; }
  std::string svid_socket() const { return svid_directory() + "/sets"; }
};

struct LoadedGateway {
  std::optional<GatewayConfig> config;
  Diagnostics diagnostics;
};
/// Output: the configuration where no diagnostic is an error; else nothing. `for_replay`: `device:` and
/// `controlplane:` may be missing.
LoadedGateway load_gateway(const std::string& path, bool for_replay = false);
LoadedGateway load_gateway_text(const std::string& file, const std::string& text, bool for_replay = false);

/// Whether the YAML file at `path` has a top-level `gateway:` (then it is a gateway's, else policy).
bool is_gateway_file(const std::string& path);

}  // namespace bulkhead
