#include "controlplane/observe/metrics_server.h"

#include <sys/socket.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <thread>

#include "controlplane/observe/bounded_server.h"

namespace bulkhead {
namespace {

struct HostPort {
  std::string host;
  int port;
};

Expected<HostPort> parse_host_port(const std::string& text) {
  size_t colon = text.rfind(':');
  int port = -1;
  if (colon != std::string::npos) {
    auto [end, error] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
    if (error != std::errc{} || end != text.data() + text.size()) port = -1;
  }
  if (port < 0 || port > 65535 || colon == 0)
    return fail(ErrorCode::kInvalid,
                "controlplane.metrics: '" + text + "' is not HOST:PORT; write for example 127.0.0.1:9464");
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return HostPort{host, port};
}

}  // namespace

struct MetricsServer::Running {
  BoundedServer server;
  std::atomic<bool> ended{false};
  std::thread thread;
};

MetricsServer::MetricsServer(std::unique_ptr<Running> running) : running_(std::move(running)) {}

MetricsServer::~MetricsServer() {
  running_->server.stop();
  if (running_->thread.joinable()) running_->thread.join();
}

Expected<std::unique_ptr<MetricsServer>> MetricsServer::start(
    const std::string& listen, std::function<std::string(MetricsFormat)> render) {
  auto where = parse_host_port(listen);
  if (!where) return std::unexpected(where.error());
  auto running = std::make_unique<Running>();
  BoundedServer& server = running->server;
  server.set_socket_options(
      [](socket_t socket) {  // never SO_REUSEPORT: a second gateway is to be told, not to share
        int yes = 1;
        ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
      });
  server.Get("/metrics",
             [render = std::move(render)](const httplib::Request& request, httplib::Response& response) {
               MetricsFormat format = format_accepted(request.get_header_value("Accept"));
               response.set_content(render(format), std::string(content_type_of(format)));
             });
  if (!server.bind(where->host, where->port))
    return fail(ErrorCode::kExists,
                "metrics can't listen on " + listen +
                    ": is another gateway using it? Set controlplane.metrics to a free HOST:PORT");
  running->thread = std::thread([&running = *running] {
    running.server.listen_after_bind();
    running.ended = true;
  });
  while (!server.is_running() && !running->ended)  // stop() does nothing before it listens
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(running)));
}

}  // namespace bulkhead
