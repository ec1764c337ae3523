/* Decides whether a frame is for one of the host's own addresses: the one question that both programs ask. */
#pragma once

#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "guard_layout.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, GUARD_MAX_HOST_ADDRESSES);
  __type(key, struct guard_address);
  __type(value, __u8);
} guard_hosts SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct guard_mac_address);
} guard_mac SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, GUARD_COUNTS);
  __type(key, __u32);
  __type(value, __u64);
} guard_counts SEC(".maps");

static __always_inline void count(enum guard_count which) {
  __u32 key = which;
  __u64* frames = bpf_map_lookup_elem(&guard_counts, &key);
  if (frames) ++*frames;
}

/* What of a frame hasn't been looked at yet. */
struct cursor {
  void* next;
  void* end;
};

/* The next `bytes` of the frame, or NULL where it ends before. */
static __always_inline void* take(struct cursor* frame, __u32 bytes) {
  void* taken = frame->next;
  if (taken + bytes > frame->end) return NULL;
  frame->next = taken + bytes;
  return taken;
}

/* ARP for IPv4 over Ethernet, RFC 826. */
struct arp_ipv4 {
  __be16 hardware_type;
  __be16 protocol_type;
  __u8 hardware_length;
  __u8 protocol_length;
  __be16 operation;
  __u8 sender_mac[ETH_ALEN];
  __u8 sender_ip[4];
  __u8 target_mac[ETH_ALEN];
  __u8 target_ip[4];
} __attribute__((packed));
#define ARP_HARDWARE_ETHERNET 1

/* Neighbour solicitation and advertisement up to their target, RFC 4861 §4.3 and §4.4. */
struct neighbour_discovery {
  struct icmp6hdr header;
  struct guard_address target;
};
#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136

/* The longest headers that is_for_host() reads. */
#define FOR_HOST_HEADER_BYTES (ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct neighbour_discovery))

static __always_inline bool is_host_address(const struct guard_address* address) {
  return bpf_map_lookup_elem(&guard_hosts, address) != NULL;
}

static __always_inline bool is_host_ipv4(const void* address) {
  struct guard_address mapped = {.bytes = {[10] = 0xff, [11] = 0xff}};
  __builtin_memcpy(mapped.bytes + 12, address, 4);
  return is_host_address(&mapped);
}

/* An IPv4-mapped address on the wire (RFC 4942 §2.2) must not be taken for the IPv4 address whose key it
 * equals. */
static __always_inline bool is_host_ipv6(const struct guard_address* address) {
  static const __u8 mapped[12] = {[10] = 0xff, [11] = 0xff};
  return __builtin_memcmp(address->bytes, mapped, 12) != 0 && is_host_address(address);
}

static __always_inline bool is_own_mac(const __u8* mac) {
  __u32 key = 0;
  const struct guard_mac_address* own = bpf_map_lookup_elem(&guard_mac, &key);
  return own && __builtin_memcmp(mac, own->bytes, ETH_ALEN) == 0;
}

static __always_inline bool is_broadcast_mac(const __u8* mac) {
  static const __u8 broadcast[ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  return __builtin_memcmp(mac, broadcast, ETH_ALEN) == 0;
}

static __always_inline bool arp_is_for_host(struct cursor* frame, const struct ethhdr* ethernet) {
  const struct arp_ipv4* arp = take(frame, sizeof *arp);
  if (!arp) return false;
  if (arp->hardware_type != bpf_htons(ARP_HARDWARE_ETHERNET) || arp->hardware_length != ETH_ALEN)
    return false;
  if (arp->protocol_type != bpf_htons(ETH_P_IP) || arp->protocol_length != 4) return false;
  return (is_own_mac(ethernet->h_dest) || is_broadcast_mac(ethernet->h_dest)) && is_host_ipv4(arp->target_ip);
}

/* No options: a source route (RFC 791 §3.1) would make the host a router. No tunnels, which the host might
 * open. */
static __always_inline bool ipv4_is_for_host(struct cursor* frame, const struct ethhdr* ethernet) {
  const struct iphdr* ip = take(frame, sizeof *ip);
  if (!ip || ip->version != 4 || ip->ihl != sizeof *ip / 4) return false;
  if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP && ip->protocol != IPPROTO_ICMP)
    return false;
  return is_own_mac(ethernet->h_dest) && is_host_ipv4(&ip->daddr);
}

/* Whether Ethernet and IPv6 destination are the multicast addresses that belong to `target` (RFC 4291 §2.7.1,
 * RFC 2464 §7), or to all nodes. */
static __always_inline bool is_multicast_for(const struct guard_address* target, const struct ipv6hdr* ip,
                                             const struct ethhdr* ethernet) {
  static const __u8 solicited_node[13] = {0xff, 0x02, [11] = 0x01, [12] = 0xff};
  static const __u8 all_nodes[16] = {0xff, 0x02, [15] = 0x01};
  const __u8* to = (const __u8*)&ip->daddr;
  const bool is_solicited_node =
      __builtin_memcmp(to, solicited_node, 13) == 0 && __builtin_memcmp(to + 13, target->bytes + 13, 3) == 0;
  if (!is_solicited_node && __builtin_memcmp(to, all_nodes, 16) != 0) return false;
  return ethernet->h_dest[0] == 0x33 && ethernet->h_dest[1] == 0x33 &&
         __builtin_memcmp(ethernet->h_dest + 2, to + 12, 4) == 0;
}

/* No extension headers: a routing header (RFC 8200 §4.4) would make the host a router. */
static __always_inline bool ipv6_is_for_host(struct cursor* frame, const struct ethhdr* ethernet) {
  const struct ipv6hdr* ip = take(frame, sizeof *ip);
  if (!ip || ip->version != 6) return false;
  if (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP && ip->nexthdr != IPPROTO_ICMPV6) return false;
  if (is_own_mac(ethernet->h_dest)) return is_host_ipv6((const struct guard_address*)&ip->daddr);
  if (ip->nexthdr != IPPROTO_ICMPV6) return false;
  const struct neighbour_discovery* nd = take(frame, sizeof *nd);
  if (!nd) return false;
  if (nd->header.icmp6_type != ND_SOLICITATION && nd->header.icmp6_type != ND_ADVERTISEMENT) return false;
  return is_multicast_for(&nd->target, ip, ethernet) && is_host_ipv6(&nd->target);
}

/* True for what a host needs to be reached at its addresses: ARP, neighbour discovery, TCP, UDP, ICMP and
 * ICMPv6; untagged frames only. */
static __always_inline bool is_for_host(void* data, void* data_end) {
  struct cursor frame = {.next = data, .end = data_end};
  const struct ethhdr* ethernet = take(&frame, sizeof *ethernet);
  if (!ethernet) return false;
  switch (ethernet->h_proto) {
    case bpf_htons(ETH_P_ARP):
      return arp_is_for_host(&frame, ethernet);
    case bpf_htons(ETH_P_IP):
      return ipv4_is_for_host(&frame, ethernet);
    case bpf_htons(ETH_P_IPV6):
      return ipv6_is_for_host(&frame, ethernet);
    default:
      return false;
  }
}
