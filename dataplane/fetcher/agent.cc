#include "dataplane/fetcher/agent.h"

#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "base/printable.h"
#include "contract/relay_messages.h"
#include "dataplane/fetcher/log.h"

namespace bulkhead {

namespace {

using std::chrono::milliseconds, std::chrono::steady_clock;

constexpr milliseconds kFirstPause{100}, kLongestPause{5000};

/// The service stands in no package (workload_api/workload_api.proto).
constexpr char kFetchX509Svid[] = "/SpiffeWorkloadAPI/FetchX509SVID";

/// Over a connection that is there, which it takes: gRPC may make none of its own here (confinement.h).
std::shared_ptr<grpc::Channel> channel_over(Fd connection) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(kMaxSvidResponseBytes));
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  return grpc::CreateCustomInsecureChannelFromFd("workload-api", connection.release(), arguments);
}

std::shared_ptr<const std::string> text_of(const grpc::ByteBuffer& message) {
  grpc::Slice bytes;
  if (!message.DumpToSingleSlice(&bytes).ok()) return std::make_shared<const std::string>();
  return std::make_shared<const std::string>(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
}

/// One call of FetchX509SVID, whose messages stay bytes: the relay reads them.
class Call {
 public:
  explicit Call(Fd connection) : stub_(channel_over(std::move(connection))) {
    context_.AddMetadata("workload.spiffe.io", "true");
    stream_ = stub_.PrepareCall(&context_, kFetchX509Svid, &events_);
    stream_->StartCall(this);
    if (!happened()) return;
    grpc::Slice no_fields;
    stream_->Write(grpc::ByteBuffer(&no_fields, 1), grpc::WriteOptions().set_last_message(), this);
    happened();
  }

  /// The next message; nothing where the stream has ended.
  std::optional<grpc::ByteBuffer> read() {
    grpc::ByteBuffer message;
    stream_->Read(&message, this);
    if (!happened()) return std::nullopt;
    return message;
  }

  /// Why it ended. After read() found nothing.
  grpc::Status finish() {
    grpc::Status status;
    stream_->Finish(&status, this);
    happened();
    return status;
  }

 private:
  /// Waits for what was begun; whether it succeeded.
  bool happened() {
    void* tag = nullptr;
    bool succeeded = false;
    return events_.Next(&tag, &succeeded) && succeeded;
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue events_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
};

/// Until the stream ends.
grpc::Status listen(const sockaddr_un& agent, Mailbox& mailbox) {
  auto connection = connect_to(agent, SOCK_STREAM | SOCK_NONBLOCK);
  if (!connection) return {grpc::StatusCode::UNAVAILABLE, connection.error().message};
  Call call(std::move(*connection));
  while (auto message = call.read()) mailbox.put(text_of(*message));
  return call.finish();
}

std::string describe(const sockaddr_un& agent, const grpc::Status& ended) {
  std::string why = "code " + std::to_string(ended.error_code()) + ", " + printable(ended.error_message());
  std::string who = "the agent at " + printable(agent.sun_path);
  if (ended.error_code() == grpc::StatusCode::PERMISSION_DENIED)
    return who + " grants this user no SVID (" + why + "); register it there";
  return who + " can't be heard (" + why + "); what it said last stays in force, and it is asked again";
}

}  // namespace

void follow_agent(const sockaddr_un& agent, Mailbox& mailbox) {
  std::string told;
  for (milliseconds pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    auto began = steady_clock::now();
    grpc::Status ended = listen(agent, mailbox);
    if (ended.error_code() == grpc::StatusCode::PERMISSION_DENIED) mailbox.put(nullptr);
    if (steady_clock::now() - began > kLongestPause) pause = kFirstPause, told.clear();
    if (auto why = describe(agent, ended); why != told) log_fetcher(told = why);
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace bulkhead
