#include "controlplane/observe/bounded_server.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace bulkhead {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLook{100};  ///< for the server's end

/// A client's socket until a deadline.
class Connection final : public httplib::Stream {
 public:
  Connection(int socket, std::stop_token stop) : socket_(socket), stop_(std::move(stop)) {}

  bool is_readable() const override { return wait_for(POLLIN, BoundedServer::kAskWithin); }
  bool is_writable() const override { return wait_for(POLLOUT, BoundedServer::kTakeWithin); }
  ssize_t read(char* to, size_t bytes) override {
    size_t most = std::min(bytes, bytes_left_);
    if (most == 0) return -1;
    ssize_t got = ::recv(socket_, to, most, MSG_DONTWAIT);
    while (got < 0 && (errno == EAGAIN || errno == EINTR) && is_readable())
      got = ::recv(socket_, to, most, MSG_DONTWAIT);
    if (got > 0) bytes_left_ -= static_cast<size_t>(got);
    return got;
  }
  ssize_t write(const char* from, size_t bytes) override {
    ssize_t sent = ::send(socket_, from, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && (errno == EAGAIN || errno == EINTR) && is_writable())
      sent = ::send(socket_, from, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent;
  }
  // Nobody asks who the client is.
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return socket_; }

 private:
  bool wait_for(short event, std::chrono::seconds patience) const {
    while (!stop_.stop_requested() && Clock::now() < begun_ + patience) {
      pollfd watched{socket_, event, 0};
      if (::poll(&watched, 1, kLook.count()) > 0) return true;
    }
    return false;
  }

  int socket_;
  std::stop_token stop_;
  Clock::time_point begun_ = Clock::now();
  size_t bytes_left_ = BoundedServer::kMaxRequestBytes;
};

/// Nothing here is told anything, and the library reads a body before it asks who wants it: unfolded, and a
/// kilobyte of brotli is more than a gigabyte.
httplib::Server::HandlerResponse refuse_body(const httplib::Request& request, httplib::Response& response) {
  using enum httplib::Server::HandlerResponse;
  if (request.method == "GET" || request.method == "HEAD") return Unhandled;
  response.status = 405;
  response.set_header("Allow", "GET, HEAD");
  return Handled;
}

/// An answer in ranges may be as many times the whole as the question has names for it. Whoever asks for some
/// may be given all (RFC 9110 §14.2).
void forget_ranges(httplib::Request& request) {
  request.ranges.clear();
}

/// Hands a connection over on the thread that accepted it.
struct AtOnce final : httplib::TaskQueue {
  void enqueue(std::function<void()> task) override { task(); }
  void shutdown() override {}
};

}  // namespace

BoundedServer::BoundedServer() {
  new_task_queue = [] { return new AtOnce; };
  set_pre_routing_handler(refuse_body);
  waiting_.reserve(kMostWaiting);
  for (size_t i = 0; i < kThreads; ++i)
    threads_.emplace_back([this](const std::stop_token& stop) { serve(stop); });
}

BoundedServer::~BoundedServer() {
  for (std::jthread& thread : threads_) thread.request_stop();  // all, before the first is waited for
  threads_.clear();
}

bool BoundedServer::bind(const std::string& host, int port) {
  return bind_to_port(host, port) && ::listen(svr_sock_, SOMAXCONN) == 0;
}

bool BoundedServer::process_and_close_socket(socket_t socket) {
  {
    std::lock_guard lock(mutex_);
    if (waiting_.size() == kMostWaiting) waiting_.erase(waiting_.begin());
    waiting_.emplace_back(socket);
  }
  came_.notify_one();
  return true;
}

/// The connection that came last; none at the server's end.
Fd BoundedServer::next(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  if (!came_.wait(lock, std::move(stop), [this] { return !waiting_.empty(); })) return {};
  Fd last = std::move(waiting_.back());
  waiting_.pop_back();
  return last;
}

void BoundedServer::serve(const std::stop_token& stop) {
  while (Fd socket = next(stop)) {
    try {
      Connection connection(socket.get(), stop);
      bool closed = false;
      process_request(connection, true, closed, forget_ranges);
    } catch (const std::exception&) {  // no memory for this client
    }
  }
}

}  // namespace bulkhead
