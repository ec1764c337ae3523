// The running gateway, through the control plane's socket.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "bulkhead.grpc.pb.h"

namespace CLI {
class App;
}

namespace bulkhead {

/// Adds --socket: by default $BULKHEAD_SOCKET, else /run/bulkhead/control.sock.
void add_socket_option(CLI::App& command, std::string& socket);

/// A client of one gateway. Every call ends within a few seconds.
class GatewayClient {
 public:
  explicit GatewayClient(const std::string& socket);

  /// Calls `method` of the Operator service with `request`.
  /// Errors: kUnavailable when nobody answers at the socket, kInvalid for a request that the gateway doesn't
  /// understand, kNotFound and kSystem as the gateway says.
  template <class Request, class Answer>
  Expected<Answer> call(grpc::Status (v1::Operator::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                   Answer*),
                        const Request& request) const {
    grpc::ClientContext context;
    prepare(context);
    Answer answer;
    grpc::Status status = ((*stub_).*method)(&context, request, &answer);
    if (!status.ok()) return std::unexpected(error_of(status));
    return answer;
  }

 private:
  static void prepare(grpc::ClientContext& context);
  Error error_of(const grpc::Status& status) const;
  std::string unavailable(const std::string& said) const;

  std::string socket_;
  std::unique_ptr<v1::Operator::Stub> stub_;
};

}  // namespace bulkhead
