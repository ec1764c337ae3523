// What DPDK's AF_XDP driver does with the guard's object, and no more: load it from its path, attach where
// nothing is attached, put a socket into `xsks_map` (DPDK 22.11, drivers/net/af_xdp).
#pragma once

#include <bpf/libbpf.h>

#include <memory>
#include <string>

#include "contract/memfd.h"

namespace bulkhead::test {

class Driver {
 public:
  /// Loads and attaches. `error()` is libbpf's, 0 for success.
  Driver(const std::string& interface, const std::string& object_path);
  int error() const { return error_; }
  /// Binds an AF_XDP socket to the interface's queue 0.
  void bind_socket();
  /// Frames that the socket has received, ever.
  uint32_t received() const;
  /// Closes the socket and detaches, as rte_eth_dev_close() does.
  void close();

 private:
  int interface_index_;
  int error_ = 0;
  std::unique_ptr<bpf_object, decltype(&bpf_object__close)> object_{nullptr, bpf_object__close};
  Fd socket_;
  Mapping frames_, fill_, received_;
  size_t received_producer_ = 0;  ///< its offset in `received_`
};

}  // namespace bulkhead::test
