// The load for TLS terminators under test: clients on one side, the backend on the other, in one thread.
//
//   client (TLS 1.3, P-256, its certificate) -> what is tested -> backend (plain)
//
// It does less a connection than what it loads: the server's chain isn't verified, and the backend is its
// own. What limits it is nevertheless one CPU, so `cpu_seconds` of what is tested says more than `seconds`
// where the two are near each other in speed. Prints one JSON object.
#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/address.h"
#include "contract/relay_flow.h"

namespace bulkhead {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kPiece = 16384;
constexpr uint16_t kFirstPort = 10000, kLastPort = 60000;
constexpr auto kWarmUp = std::chrono::milliseconds(250);
constexpr size_t kOpeningAtOnce = 64;  // of idle ones

const char kUsage[] =
    "usage: tls_load NAME=VALUE...\n"
    "  mode=handshake|resume|up|down|echo|idle  connections one after the other, full or resumed; bytes to "
    "or from the\n"
    "                                           backend; 64 bytes there and back; connections that stay\n"
    "  client_ns= server_ns=                    names of namespaces\n"
    "  from=ADDRESS to=ADDRESS port=N           of the client; where it connects\n"
    "  backend=N                                the backend's port\n"
    "  certificate=FILE key=FILE                the client's; without: plain\n"
    "  connections=N seconds=N pid=N            at once; measured, after a warm-up, or idle; the process "
    "under test\n"
    "  announce=FD                              tells a relay of each connection, on a socket that is "
    "inherited\n";

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "tls_load: %s: %s\n", what.c_str(), std::strerror(errno));
  ERR_print_errors_fp(stderr);
  std::exit(1);
}

/// The command's NAME=VALUEs.
class Options {
 public:
  Options(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      std::string word = argv[i];
      size_t at = word.find('=');
      if (at == std::string::npos) {
        std::fputs(kUsage, stderr);
        std::exit(2);
      }
      values_[word.substr(0, at)] = word.substr(at + 1);
    }
  }
  std::string text(const std::string& name) const {
    auto found = values_.find(name);
    return found == values_.end() ? "" : found->second;
  }
  int number(const std::string& name, int otherwise) const {
    std::string value = text(name);
    int parsed = otherwise;
    if (!value.empty()) std::from_chars(value.data(), value.data() + value.size(), parsed);
    return parsed;
  }

 private:
  std::map<std::string, std::string> values_;
};

void enter(const std::string& ns) {
  int fd = open(("/run/netns/" + ns).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) fail("namespace " + ns);
  close(fd);
}

sockaddr_in ipv4(const std::string& address, int port) {
  sockaddr_in made{};
  made.sin_family = AF_INET;
  made.sin_port = htons(static_cast<uint16_t>(port));
  if (!address.empty() && inet_pton(AF_INET, address.c_str(), &made.sin_addr) != 1)
    fail("address " + address);
  return made;
}

/// Seconds of CPU that a process has had, in user and kernel (proc(5)).
double cpu_seconds(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  if (line.empty()) fail("process " + std::to_string(pid) + " is gone");
  std::istringstream fields(line.substr(line.rfind(')') + 2));
  std::string field;
  for (int i = 0; i < 11; ++i) fields >> field;
  double user = 0, kernel = 0;
  fields >> user >> kernel;
  return (user + kernel) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

long resident_kib(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("VmRSS:")) return std::atol(line.c_str() + 6);
  fail("process " + std::to_string(pid) + " is gone");
}

/// One end: a client, or what the backend has accepted.
struct End {
  int fd = -1;
  SSL* tls = nullptr;
  bool backend = false;
  bool connected = false;    // a client's: TCP
  bool established = false;  // a client's: the first byte has come back
  bool asked = false;
  Clock::time_point asked_at{};
};

class Load {
 public:
  explicit Load(const Options& options) : options_(options), mode_(options.text("mode")) {
    raise_descriptors();
    make_tls();
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    enter(options.text("server_ns"));
    listen_for(options.number("backend", 7001));
    enter(options.text("client_ns"));
    pid_ = options.number("pid", getpid());
    wanted_ = static_cast<size_t>(options.number("connections", 1));
    announce_ = options.number("announce", -1);
  }

  void run() {
    long resident = resident_kib(pid_);
    mode_ == "idle" ? stay() : measure();
    report(resident);
  }

 private:
  static void raise_descriptors() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }

  void make_tls() {
    std::string certificate = options_.text("certificate");
    if (certificate.empty()) return;
    context_ = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context_, TLS1_3_VERSION);
    SSL_CTX_set1_groups_list(context_, "P-256");
    SSL_CTX_set_mode(context_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (SSL_CTX_use_certificate_chain_file(context_, certificate.c_str()) != 1 ||
        SSL_CTX_use_PrivateKey_file(context_, options_.text("key").c_str(), SSL_FILETYPE_PEM) != 1)
      fail("certificate");
    if (mode_ != "resume") return;
    SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_set_ex_data(context_, 0, this);
    SSL_CTX_sess_set_new_cb(context_, [](SSL* tls, SSL_SESSION* session) {
      auto* load = static_cast<Load*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(tls), 0));
      SSL_SESSION_free(load->session_);
      load->session_ = session;
      return 1;
    });
  }

  void listen_for(int port) {
    auto* end = new End{};
    end->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    setsockopt(end->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in to = ipv4("", port);
    if (bind(end->fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0 || listen(end->fd, 4096) != 0)
      fail("backend");
    listener_ = end;
    watch(end, EPOLLIN, EPOLL_CTL_ADD);
  }

  void watch(End* end, uint32_t events, int how) {
    epoll_event event{events, {end}};
    if (epoll_ctl(epoll_, how, end->fd, &event) != 0) fail("epoll");
  }

  void announce(uint16_t port) {
    if (announce_ < 0) return;
    RelayAnnouncement a = make_relay_announcement();
    a.flow_id = ++flows_;
    a.image_generation = 1;
    a.client = *parse_address(options_.text("from"));
    a.server = *parse_address(options_.text("to"));
    a.client_port = port;
    a.server_port = static_cast<uint16_t>(options_.number("port", 0));
    a.source_tag = 100;
    a.destination_tag = 200;
    a.source_workload = 1;
    a.destination_workload = 9;
    a.role = RelayRole::kTerminate;
    sockaddr_in relay = ipv4("169.254.254.2", kRelayPort);
    if (sendto(announce_, &a, sizeof a, 0, reinterpret_cast<sockaddr*>(&relay), sizeof relay) != sizeof a)
      fail("announcing");
  }

  void open_one() {
    auto* end = new End{};
    end->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    setsockopt(end->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(end->fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    port_ = port_ == kLastPort ? kFirstPort : static_cast<uint16_t>(port_ + 1);
    sockaddr_in from = ipv4(options_.text("from"), port_),
                to = ipv4(options_.text("to"), options_.number("port", 0));
    // Another's connection may have that port, or an earlier one from it isn't quite over: then the next one.
    auto give_up = [&] {
      close(end->fd);
      delete end;
    };
    if (bind(end->fd, reinterpret_cast<sockaddr*>(&from), sizeof from) != 0)
      return errno == EADDRINUSE ? give_up() : fail("bind");
    announce(port_);
    if (connect(end->fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0 && errno != EINPROGRESS)
      return errno == EADDRNOTAVAIL ? give_up() : fail("connect");
    if (context_ != nullptr) {
      end->tls = SSL_new(context_);
      SSL_set_fd(end->tls, end->fd);
      SSL_set_connect_state(end->tls);
      if (session_ != nullptr) SSL_set_session(end->tls, session_);
    }
    clients_.insert(end);
    watch(end, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
  }

  void drop(End* end, bool orderly) {
    if (end->tls != nullptr) {
      if (orderly) SSL_shutdown(end->tls);
      SSL_free(end->tls);
    }
    close(end->fd);
    clients_.erase(end);
    gone_.emplace_back(end);
  }

  void failed(End* end) {
    ERR_clear_error();
    ++failed_;
    if (failed_ > 100 && failed_ > done_) fail("most connections fail");
    drop(end, false);
  }

  /// Bytes moved; 0: later; -1: it is over.
  long move(End* end, void* bytes, size_t size, bool out) {
    if (end->tls == nullptr) {
      ssize_t n = out ? send(end->fd, bytes, size, MSG_NOSIGNAL) : recv(end->fd, bytes, size, 0);
      return n > 0 ? n : (n < 0 && (errno == EAGAIN || errno == ENOTCONN) ? 0 : -1);
    }
    size_t n = 0;
    int result = out ? SSL_write_ex(end->tls, bytes, size, &n) : SSL_read_ex(end->tls, bytes, size, &n);
    if (result == 1) return static_cast<long>(n);
    int error = SSL_get_error(end->tls, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
  }

  void serve(End* end, uint32_t events) {
    if (!end->asked || mode_ != "down") {
      long n = move(end, buffer_, sizeof buffer_, false);
      if (n < 0) return drop(end, false);
      if (n > 0 && (!end->asked || mode_ != "up")) move(end, buffer_, static_cast<size_t>(n), true);
      if (n > 0 && end->asked && mode_ == "up") bytes_ += static_cast<uint64_t>(n);
      if (n > 0 && !end->asked) {
        end->asked = true;
        if (mode_ == "down") watch(end, EPOLLOUT, EPOLL_CTL_MOD);
      }
    } else if ((events & EPOLLOUT) != 0 && move(end, buffer_, sizeof buffer_, true) < 0) {
      drop(end, false);
    }
  }

  /// A client's question; after it only what comes is waited for.
  void ask(End* end, size_t size) {
    end->asked_at = Clock::now();
    long n = move(end, buffer_, size, true);
    if (n < 0) return failed(end);
    if (n == 0) return;
    end->asked = true;
    watch(end, EPOLLIN, EPOLL_CTL_MOD);
  }

  void step_client(End* end, uint32_t events) {
    if (!end->connected) {
      if ((events & (EPOLLERR | EPOLLHUP)) != 0) return failed(end);
      if ((events & EPOLLOUT) == 0) return;
      end->connected = true;
    }
    if (end->tls != nullptr && !SSL_is_init_finished(end->tls)) {
      int result = SSL_do_handshake(end->tls);
      if (result != 1) {
        int error = SSL_get_error(end->tls, result);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return failed(end);
        if (error == SSL_ERROR_WANT_READ) watch(end, EPOLLIN, EPOLL_CTL_MOD);
        return;
      }
    }
    if (!end->established && !end->asked) return ask(end, 1);
    if (!end->established) {
      long n = move(end, buffer_, 1, false);
      if (n < 0) return failed(end);
      if (n > 0) established(end);
      return;
    }
    if (mode_ == "idle") {
      if (move(end, buffer_, sizeof buffer_, false) < 0) fail("an idle connection was closed");
    } else if (mode_ == "up") {
      if (move(end, buffer_, sizeof buffer_, true) < 0) failed(end);
    } else if (mode_ == "down") {
      long n = move(end, buffer_, sizeof buffer_, false);
      if (n < 0) return failed(end);
      bytes_ += static_cast<uint64_t>(n);
    } else if (mode_ == "echo" && move(end, buffer_, 64, false) > 0) {
      times_.push_back(std::chrono::duration<double, std::micro>(Clock::now() - end->asked_at).count());
      ++done_;
      ask(end, 64);
    }
  }

  void established(End* end) {
    end->established = true;
    if (mode_ == "handshake" || mode_ == "resume") {
      ++done_;
      if (end->tls != nullptr) resumed_ += static_cast<uint64_t>(SSL_session_reused(end->tls));
      return drop(end, true);
    }
    if (mode_ == "idle") ++done_;
    if (mode_ == "up") watch(end, EPOLLOUT, EPOLL_CTL_MOD);
    if (mode_ == "echo") ask(end, 64);
  }

  void accept_all() {
    for (int fd; (fd = accept4(listener_->fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
      auto* end = new End{};
      end->fd = fd;
      end->backend = true;
      int on = 1;
      setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
      watch(end, EPOLLIN, EPOLL_CTL_ADD);
    }
  }

  void turn() {
    epoll_event events[256];
    int count = epoll_wait(epoll_, events, 256, 100);
    for (int i = 0; i < count; ++i) {
      auto* end = static_cast<End*>(events[i].data.ptr);
      if (end == listener_)
        accept_all();
      else if (end->backend)
        serve(end, events[i].events);
      else
        step_client(end, events[i].events);
    }
    gone_.clear();
  }

  void measure() {
    auto until = Clock::now() + kWarmUp;
    for (bool measured : {false, true}) {
      begin();
      while (Clock::now() < until) {
        while (clients_.size() < wanted_) open_one();
        turn();
      }
      if (measured) finish();
      until = Clock::now() + std::chrono::seconds(options_.number("seconds", 3));
    }
  }

  void begin() {
    done_ = bytes_ = resumed_ = failed_ = 0;
    times_.clear();
    began_ = Clock::now();
    cpu_ = cpu_seconds(pid_);
    own_cpu_ = cpu_seconds(getpid());
  }
  void finish() {
    seconds_ = std::chrono::duration<double>(Clock::now() - began_).count();
    cpu_ = cpu_seconds(pid_) - cpu_;
    own_cpu_ = cpu_seconds(getpid()) - own_cpu_;
  }

  void stay() {
    begin();
    while (done_ < wanted_) {
      while (clients_.size() < std::min(wanted_, done_ + kOpeningAtOnce)) open_one();
      turn();
    }
    finish();
    auto end = Clock::now() + std::chrono::seconds(options_.number("seconds", 2));
    while (Clock::now() < end) turn();
  }

  double percentile(double share) {
    if (times_.empty()) return 0;
    auto at = times_.begin() + static_cast<long>(share * static_cast<double>(times_.size() - 1));
    std::nth_element(times_.begin(), at, times_.end());
    return *at;
  }

  void report(long resident) {
    std::printf(
        "{\"done\":%llu,\"failed\":%llu,\"resumed\":%llu,\"bytes\":%llu,\"seconds\":%.4f,\"cpu_seconds\":%."
        "3f,"
        "\"load_cpu_seconds\":%.3f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"kib\":%ld}\n",
        static_cast<unsigned long long>(done_), static_cast<unsigned long long>(failed_),
        static_cast<unsigned long long>(resumed_), static_cast<unsigned long long>(bytes_), seconds_, cpu_,
        own_cpu_, percentile(0.5), percentile(0.99), resident_kib(pid_) - resident);
  }

  const Options& options_;
  std::string mode_;
  SSL_CTX* context_ = nullptr;
  SSL_SESSION* session_ = nullptr;
  End* listener_ = nullptr;
  int epoll_ = -1, announce_ = -1, pid_ = 0;
  size_t wanted_ = 1;
  uint16_t port_ = static_cast<uint16_t>(kFirstPort + getpid() % 30000);
  std::set<End*> clients_;
  std::vector<std::unique_ptr<End>> gone_;  // an event of the same turn may still name them
  std::vector<double> times_;
  uint64_t flows_ = 0, done_ = 0, failed_ = 0, resumed_ = 0, bytes_ = 0;
  Clock::time_point began_{};
  double seconds_ = 0, cpu_ = 0, own_cpu_ = 0;
  char buffer_[kPiece] = {};
};

}  // namespace
}  // namespace bulkhead

int main(int argc, char** argv) {
  bulkhead::Options options(argc, argv);
  bulkhead::Load(options).run();
}
