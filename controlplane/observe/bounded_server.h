// cpp-httplib's server with a bound on everything that a client may cost: how many connections there are,
// how long each lasts, how much it sends, how large an answer it makes.
#pragma once

#include <httplib.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "contract/memfd.h"

namespace bulkhead {

/// One request a connection, GET or HEAD, answered whole. The library by itself lets any number of
/// connections wait for a thread, each with a descriptor, and one of them send headers for ever.
///
/// Whoever came last is served first, and where too many wait, who has waited longest is let go: behind
/// connections that only stay open, somebody who asks is still answered.
class BoundedServer final : public httplib::Server {
 public:
  static constexpr size_t kThreads = 4;
  static constexpr size_t kMostWaiting = 32;
  static constexpr size_t kMaxRequestBytes = 8192;
  static constexpr std::chrono::seconds kAskWithin{2};    ///< from when a thread turns to the connection
  static constexpr std::chrono::seconds kTakeWithin{10};  ///< the answer, likewise

  BoundedServer();
  ~BoundedServer() override;

  /// Listens, with more room than the library's for those who are about to be accepted: without it they would
  /// be a second late behind a few others. False where the address can't be had.
  bool bind(const std::string& host, int port);

 private:
  bool process_and_close_socket(socket_t socket) override;  // on the thread that accepts
  void serve(const std::stop_token& stop);
  Fd next(std::stop_token stop);

  std::mutex mutex_;
  std::condition_variable_any came_;
  std::vector<Fd> waiting_;  ///< the last that came is the last here
  std::vector<std::jthread> threads_;
};

}  // namespace bulkhead
