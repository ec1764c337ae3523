#include "cli/gateway_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <chrono>
#include <cstring>

namespace bulkhead {

static constexpr std::chrono::seconds kPatience{10};
static constexpr int kLargestAnswer = 256 << 20;  // a million flows, listed

void add_socket_option(CLI::App& command, std::string& socket) {
  socket = "/run/bulkhead/control.sock";
  command.add_option("--socket", socket, "The gateway's control socket")
      ->envname("BULKHEAD_SOCKET")
      ->type_name("PATH")
      ->capture_default_str();
}

/// gRPC's target for a Unix socket; a relative path stays relative to here.
GatewayClient::GatewayClient(const std::string& socket) : socket_(socket) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kLargestAnswer);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  stub_ = v1::Operator::NewStub(
      grpc::CreateCustomChannel("unix:" + socket, grpc::InsecureChannelCredentials(), arguments));
}

void GatewayClient::prepare(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
}

Error GatewayClient::error_of(const grpc::Status& status) const {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      if (access(socket_.c_str(), F_OK) != 0)
        return {ErrorCode::kUnavailable, "no gateway at " + socket_ + ": " + std::strerror(errno) +
                                             "; is it running, or does --socket name another one?"};
      if (access(socket_.c_str(), W_OK) != 0)
        return {ErrorCode::kUnavailable,
                "no access to " + socket_ + ": " + std::strerror(errno) +
                    "; only root and `controlplane.socket_group` may speak to the gateway"};
      return {ErrorCode::kUnavailable,
              "the gateway at " + socket_ + " can't answer: " + status.error_message()};
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return {ErrorCode::kUnavailable, "the gateway at " + socket_ + " does not answer in time"};
    case grpc::StatusCode::INVALID_ARGUMENT:
      return {ErrorCode::kInvalid, status.error_message()};
    case grpc::StatusCode::NOT_FOUND:
      return {ErrorCode::kNotFound, status.error_message()};
    default:
      return {ErrorCode::kSystem, "the gateway says: " + status.error_message()};
  }
}

}  // namespace bulkhead
