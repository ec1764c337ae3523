/* The XDP program of an af_xdp port. DPDK's AF_XDP driver loads it, attaches it, and puts its sockets into
 * `xsks_map`. */
#include "for_host.h"

/* The driver looks for this name (DPDK, net/af_xdp). The kernel removes a socket from it when its process
 * dies. */
struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, GUARD_MAX_QUEUES);
  __type(key, __u32);
  __type(value, __u32);
} xsks_map SEC(".maps");

SEC("xdp")
int bulkhead_xdp(struct xdp_md* frame) {
  if (is_for_host((void*)(long)frame->data, (void*)(long)frame->data_end)) {
    count(GUARD_PASSED);
    return XDP_PASS;
  }
  const long verdict = bpf_redirect_map(&xsks_map, frame->rx_queue_index, XDP_DROP);
  if (verdict == XDP_DROP) count(GUARD_DROPPED);
  return verdict;
}

char program_license[] SEC("license") = "BSD-3-Clause";
