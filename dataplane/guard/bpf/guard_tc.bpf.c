/* The tc ingress program: drops what isn't for the host, after packet sockets have had their copy. */
#include "for_host.h"

#include <linux/pkt_cls.h>

SEC("tc")
int bulkhead_tc(struct __sk_buff* frame) {
  const __u32 headers = frame->len < FOR_HOST_HEADER_BYTES ? frame->len : FOR_HOST_HEADER_BYTES;
  const bool readable = bpf_skb_pull_data(frame, headers) == 0;
  /* A tag that the device or the kernel has taken off stands beside the frame. */
  if (readable && !frame->vlan_present &&
      is_for_host((void*)(long)frame->data, (void*)(long)frame->data_end)) {
    count(GUARD_PASSED);
    return TC_ACT_UNSPEC; /* other filters on the interface still have their say */
  }
  count(GUARD_DROPPED);
  return TC_ACT_SHOT;
}

char program_license[] SEC("license") = "BSD-3-Clause";
