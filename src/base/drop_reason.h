// Why a packet didn't pass: one counter, one name in every tool, and one line of help each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace bulkhead {

/// NAME(name, help). The names are promises to users; the order is the counters' and may grow at the end only
/// together with kCountersFormat.
#define BULKHEAD_DROP_REASONS(NAME)                                                               \
  NAME(policy_denied, "no rule allows it: the implicit deny")                                     \
  NAME(policy_explicit_deny, "a rule denies it")                                                  \
  NAME(contained, "one of its ends is in quarantine")                                             \
  NAME(grant_expired, "the only rule that would allow it has run out")                            \
  NAME(mtls_required, "policy requires mTLS and the flow does not speak it")                      \
  NAME(relay_unavailable, "policy requires the mTLS relay and it is not there")                   \
  NAME(ask_timeout, "the policy engine did not answer in time")                                   \
  NAME(no_policy, "no policy is in force yet")                                                    \
  NAME(spoofed_source, "the source address, MAC, VLAN or port contradicts the binding")           \
  NAME(tag_untrusted, "an identity tag on a port that does not trust tags")                       \
  NAME(identity_unknown, "no rule allows it, and one end has no binding")                         \
  NAME(frame_truncated, "shorter than its headers say")                                           \
  NAME(ethertype_unsupported, "neither IPv4, IPv6 nor ARP")                                       \
  NAME(vlan_unexpected, "a VLAN tag that the port does not list")                                 \
  NAME(llc_unsupported, "802.3 length or LLC/SNAP instead of an EtherType")                       \
  NAME(ip_malformed, "an IP header that contradicts itself or the frame")                         \
  NAME(ip_checksum, "a wrong IPv4 header checksum")                                               \
  NAME(ip_options, "source routing, record route or timestamp options (RFC 7126)")                \
  NAME(ip_address_invalid, "an address that must not be on the wire")                             \
  NAME(ip_ttl_expired, "TTL or hop limit ran out")                                                \
  NAME(ipv6_ext_header, "an IPv6 extension header that policy does not name")                     \
  NAME(ipv6_header_chain, "IPv6 extension headers repeated, misplaced, too many or too long")     \
  NAME(tunnel_denied, "a tunnel that policy does not name")                                       \
  NAME(no_route, "no route to the destination")                                                   \
  NAME(neighbour_unresolved, "the next hop does not answer ARP or neighbour discovery")           \
  NAME(packet_too_big, "longer than the output port's MTU")                                       \
  NAME(fragment_overlap, "a fragment that overlaps another one")                                  \
  NAME(fragment_tiny, "a first fragment without its whole L4 header")                             \
  NAME(fragment_incomplete, "a datagram whose fragments did not all come")                        \
  NAME(fragment_invalid, "a fragment of impossible offset or length")                             \
  NAME(fragment_limit, "no room to track another fragmented datagram")                            \
  NAME(l4_truncated, "shorter than its transport header says")                                    \
  NAME(l4_checksum, "a wrong TCP, UDP, SCTP, ICMP or ICMPv6 checksum")                            \
  NAME(tcp_flags_invalid, "a combination of TCP flags that nobody sends in earnest")              \
  NAME(tcp_out_of_window, "TCP data or acknowledgement outside the window")                       \
  NAME(tcp_no_state, "TCP without a connection that the gateway saw open")                        \
  NAME(icmp_unrelated, "an ICMP error or reply that belongs to no flow")                          \
  NAME(icmp_forbidden, "an ICMP message that never passes (redirects and the like)")              \
  NAME(flow_table_full, "no room for another flow")                                               \
  NAME(half_open_limit, "too many half-open TCP connections")                                     \
  NAME(arp_invalid, "ARP that contradicts a binding or itself")                                   \
  NAME(nd_invalid, "neighbour discovery that contradicts a binding or itself")                    \
  NAME(ra_forbidden, "a router advertisement from a workload's port")                             \
  NAME(tx_full, "the output port's queue is full")                                                \
  NAME(hold_limit, "no room to hold another packet")                                              \
  NAME(handoff_full, "the ring to the flow's own worker is full")                                 \
  NAME(link_down, "the output port is gone or has no link")                                       \
  NAME(multicast_unsupported, "IP multicast or broadcast, which this version does not forward")   \
  NAME(other_station, "route mode: a frame for another station's MAC address")                    \
  NAME(identity_changed, "an end's address belongs to another segment than when the flow began")  \
  NAME(fragment_duplicate, "the same fragment once more; its datagram is none the worse for it")  \
  NAME(tag_malformed, "an identity tag that no sender should write, or more than one")            \
  NAME(vxlan_peer_unknown, "VXLAN from an address that is none of the port's peers")              \
  NAME(vxlan_vni_unknown, "VXLAN with a VNI that is not the port's")                              \
  NAME(vxlan_malformed, "a VXLAN header without VNI, with reserved bits set, or without a frame") \
  NAME(vxlan_fragmented, "VXLAN in fragments (RFC 7348)")                                         \
  NAME(underlay_unexpected, "on an overlay port, neither VXLAN for it nor ARP or discovery of its address")

enum class DropReason : uint8_t {
#define BULKHEAD_NAME(name, help) k_##name,
  BULKHEAD_DROP_REASONS(BULKHEAD_NAME)
#undef BULKHEAD_NAME
      kCount,
  kNone = 255,  ///< not dropped
};
inline constexpr size_t kDropReasonCount = static_cast<size_t>(DropReason::kCount);

/// The name that every tool shows, e.g. "policy_denied". "none" for kNone.
std::string_view name_of(DropReason reason);
/// One line of help for a person.
std::string_view help_of(DropReason reason);
/// The reason of that name, if there is one.
std::optional<DropReason> drop_reason_named(std::string_view name);

}  // namespace bulkhead
