#include "controlplane/api/operator_server.h"

#include <grp.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_builder.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "contract/memfd.h"

namespace bulkhead {
namespace {

constexpr int kMaxRequestBytes = 64 << 10;
constexpr int kThreads = 4;
constexpr size_t kMemoryBytes = size_t{64} << 20;
constexpr std::chrono::milliseconds kLastAnswers{500};

/// Makes sure that nobody serves at `path`, and takes a dead one's leftover away.
Expected<void> make_room_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return fail(
        ErrorCode::kInvalid,
        path + ": a Unix socket's path has at most 107 characters; set a shorter controlplane.socket");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(errno, path);
  }
  if (!S_ISSOCK(status.st_mode))
    return fail(ErrorCode::kExists,
                path + " is there and is no socket: move it away, or set another controlplane.socket");
  Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!probe) return fail_errno(errno, path + ": socket");
  int connected = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  if (connected == 0)
    return fail(ErrorCode::kExists,
                "a gateway is running at " + path +
                    " already: stop it first, or give this one another controlplane.socket");
  if (errno != ECONNREFUSED)
    return fail_errno(errno, path + ": connect, to see whether a gateway is running there");
  if (::unlink(path.c_str()) != 0) return fail_errno(errno, path + ": remove what a dead gateway left");
  return {};
}

/// Gives the socket to the operators' group, if there is one.
void give_to_group(const std::string& path, const std::string& group) {
  if (group.empty()) return;
  struct group* entry = ::getgrnam(group.c_str());
  if (entry == nullptr) {
    spdlog::info("group {} doesn't exist: only root and the control plane's own user may use {}", group,
                 path);
    return;
  }
  if (entry->gr_gid == 0 && ::geteuid() != 0)
    return;  // root may use it anyway, and the control plane is no member of its group
  if (::chown(path.c_str(), static_cast<uid_t>(-1), entry->gr_gid) != 0)
    spdlog::warn("{} can't be given to group {}: {}; only root and the control plane's own user may use it",
                 path, group, std::strerror(errno));
}

}  // namespace

Expected<std::unique_ptr<OperatorServer>> OperatorServer::start(const std::string& path,
                                                                const std::string& group,
                                                                OperatorSources sources) {
  if (auto room = make_room_at(path); !room) return std::unexpected(room.error());
  std::unique_ptr<OperatorServer> server(new OperatorServer(path, std::move(sources)));
  grpc::ResourceQuota quota("operators");
  quota.SetMaxThreads(kThreads).Resize(kMemoryBytes);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + path, grpc::InsecureServerCredentials());
  builder.RegisterService(&server->service_);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
  mode_t before = ::umask(0117);  // the socket is never open to others, not even for a moment
  server->server_ = builder.BuildAndStart();
  ::umask(before);
  if (!server->server_)
    return fail(ErrorCode::kSystem, "can't listen at " + path + ": does its directory exist, and may user " +
                                        std::to_string(::geteuid()) + " write to it?");
  give_to_group(path, group);
  return server;
}

OperatorServer::~OperatorServer() {
  if (!server_) return;
  server_->Shutdown(std::chrono::system_clock::now() + kLastAnswers);
  ::unlink(path_.c_str());
}

}  // namespace bulkhead
