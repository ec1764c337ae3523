// Metrics over HTTP: GET /metrics.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "controlplane/observe/metrics_text.h"

namespace bulkhead {

/// Answers until it is destroyed, on threads of its own, within BoundedServer's bounds.
class MetricsServer {
 public:
  /// `listen`: HOST:PORT, IPv6 in brackets. `render` is called for each request, from several threads.
  /// Errors: kInvalid for an address that isn't one; kExists where the port is taken.
  static Expected<std::unique_ptr<MetricsServer>> start(const std::string& listen,
                                                        std::function<std::string(MetricsFormat)> render);
  ~MetricsServer();

 private:
  struct Running;
  explicit MetricsServer(std::unique_ptr<Running> running);
  std::unique_ptr<Running> running_;
};

}  // namespace bulkhead
