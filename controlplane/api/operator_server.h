// The operator's socket.
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <string>

#include "base/error.h"
#include "controlplane/api/operator_service.h"

namespace bulkhead {

/// Serves until it is destroyed, on a few threads of gRPC's.
class OperatorServer {
 public:
  /// Listens on a Unix socket at `path`, mode 0660, of `group` where that exists. The leftover of a dead
  /// gateway is replaced. Errors: kExists where a gateway answers there already; else why it can't listen.
  static Expected<std::unique_ptr<OperatorServer>> start(const std::string& path, const std::string& group,
                                                         OperatorSources sources);
  ~OperatorServer();

 private:
  OperatorServer(std::string path, OperatorSources sources)
      : path_(std::move(path)), service_(std::move(sources)) {}

  std::string path_;
  OperatorService service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace bulkhead
