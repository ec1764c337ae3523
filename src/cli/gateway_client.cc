#include "cli/gateway_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "contract/memfd.h"

namespace bulkhead {

static constexpr std::chrono::seconds kPatience{10};
static constexpr int kLargestAnswer = 128 << 20;  // 100,000 flows, and large policies' segments

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

/// Why nobody can be asked at a socket; 0: somebody listens there.
static int trouble_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return ENAMETOOLONG;
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

std::string GatewayClient::unavailable(const std::string& said) const {
  int trouble = trouble_at(socket_);
  switch (trouble) {
    case 0:
      return "the gateway at " + socket_ + " can't answer: " + said;
    case ENOENT:
      return "no gateway at " + socket_ + ": " + std::strerror(trouble) +
             "; is it running, or does --socket name another one?";
    case EACCES:
      return "no access to " + socket_ + ": " + std::strerror(trouble) +
             "; only root and `controlplane.socket_group` may speak to the gateway";
    default:
      return "nobody answers at " + socket_ + ": " + std::strerror(trouble) +
             "; is the gateway running, or does --socket name another one?";
  }
}

Error GatewayClient::error_of(const grpc::Status& status) const {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return {ErrorCode::kUnavailable, unavailable(status.error_message())};
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
