/* What the programs' maps hold: read by the BPF compiler as C and by the loader as C++. */
#pragma once

#include <linux/types.h>

/* Host addresses of one interface. */
#define GUARD_MAX_HOST_ADDRESSES 256

/* Receive queues of one interface; frames of a queue past it are dropped. */
#define GUARD_MAX_QUEUES 256

/* Names by which the loader finds what a driver has loaded. At most 15 characters (BPF_OBJ_NAME_LEN). */
#define GUARD_XDP_PROGRAM "bulkhead_xdp"
#define GUARD_TC_PROGRAM "bulkhead_tc"
#define GUARD_HOSTS_MAP "guard_hosts"
#define GUARD_MAC_MAP "guard_mac"
#define GUARD_COUNTS_MAP "guard_counts"

/* Key of GUARD_HOSTS_MAP: an address in network order, IPv4 as ::ffff:a.b.c.d. */
struct guard_address {
  __u8 bytes[16];
};

/* Value of GUARD_MAC_MAP's only element: the interface's own address; all zero until the loader has written
 * it. */
struct guard_mac_address {
  __u8 bytes[6];
};

/* Elements of GUARD_COUNTS_MAP, frames, one number a CPU; written by the programs, read by the loader. */
enum guard_count {
  GUARD_DROPPED,
  GUARD_PASSED,
  GUARD_COUNTS,
};
