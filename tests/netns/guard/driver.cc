#include "tests/netns/guard/driver.h"

#include <bpf/bpf.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <atomic>

#include "base/check.h"

namespace bulkhead::test {
namespace {

constexpr uint32_t kFrames = 64, kFrameBytes = 4096;

Mapping map_ring(const Fd& socket, size_t bytes, off_t which) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, socket.get(), which);
  BULKHEAD_CHECK(at != MAP_FAILED);
  return Mapping(at, bytes);
}

template <class Option>
void set(const Fd& socket, int name, const Option& value) {
  BULKHEAD_CHECK(setsockopt(socket.get(), SOL_XDP, name, &value, sizeof value) == 0);
}

}  // namespace

Driver::Driver(const std::string& interface, const std::string& object_path)
    : interface_index_(static_cast<int>(if_nametoindex(interface.c_str()))) {
  object_.reset(bpf_object__open_file(object_path.c_str(), nullptr));
  BULKHEAD_CHECK(object_ != nullptr && bpf_object__load(object_.get()) == 0);
  const int program = bpf_program__fd(bpf_object__next_program(object_.get(), nullptr));
  error_ = bpf_xdp_attach(interface_index_, program, XDP_FLAGS_UPDATE_IF_NOEXIST, nullptr);
}

void Driver::bind_socket() {
  void* memory =
      mmap(nullptr, kFrames * kFrameBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  BULKHEAD_CHECK(memory != MAP_FAILED);
  frames_ = Mapping(memory, kFrames * kFrameBytes);

  socket_ = Fd(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  set(socket_, XDP_UMEM_REG,
      xdp_umem_reg{.addr = reinterpret_cast<uintptr_t>(memory),
                   .len = kFrames * kFrameBytes,
                   .chunk_size = kFrameBytes,
                   .headroom = 0,
                   .flags = 0});
  for (const int ring : {XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING})
    set(socket_, ring, kFrames);
  xdp_mmap_offsets offsets{};
  socklen_t length = sizeof offsets;
  BULKHEAD_CHECK(getsockopt(socket_.get(), SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &length) == 0);

  fill_ = map_ring(socket_, offsets.fr.desc + kFrames * sizeof(uint64_t),
                   static_cast<off_t>(XDP_UMEM_PGOFF_FILL_RING));
  for (uint32_t i = 0; i < kFrames; ++i) fill_.as<uint64_t>(offsets.fr.desc)[i] = uint64_t{i} * kFrameBytes;
  std::atomic_ref(*fill_.as<uint32_t>(offsets.fr.producer)).store(kFrames, std::memory_order_release);
  received_ = map_ring(socket_, offsets.rx.desc + kFrames * sizeof(xdp_desc), XDP_PGOFF_RX_RING);
  received_producer_ = offsets.rx.producer;

  sockaddr_xdp address{};
  address.sxdp_family = AF_XDP;
  address.sxdp_flags = XDP_COPY;
  address.sxdp_ifindex = static_cast<uint32_t>(interface_index_);
  BULKHEAD_CHECK(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  const uint32_t queue = 0;
  const int fd = socket_.get();
  const bpf_map* sockets = bpf_object__find_map_by_name(object_.get(), "xsks_map");
  BULKHEAD_CHECK(sockets != nullptr && bpf_map_update_elem(bpf_map__fd(sockets), &queue, &fd, BPF_ANY) == 0);
}

uint32_t Driver::received() const {
  return std::atomic_ref(*received_.as<uint32_t>(received_producer_)).load(std::memory_order_acquire);
}

void Driver::close() {
  socket_ = Fd();
  BULKHEAD_CHECK(bpf_xdp_detach(interface_index_, XDP_FLAGS_UPDATE_IF_NOEXIST, nullptr) == 0);
}

}  // namespace bulkhead::test
