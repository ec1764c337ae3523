// What a packet asks for, as one number: every service in a policy is a set of ranges on this axis.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "base/types.h"

namespace bulkhead {

/// protocol << 24 | rest: the destination port for TCP, UDP and SCTP; type << 8 | code for ICMP and
/// ICMPv6; 0 for every other protocol.
using ServiceKey = Strong<struct ServiceKeyKind, uint32_t>;

constexpr ServiceKey service_key(IpProto proto, uint16_t rest = 0) {
  return ServiceKey{uint32_t{static_cast<uint8_t>(proto)} << 24 | rest};
}
constexpr IpProto proto_of(ServiceKey key) {
  return static_cast<IpProto>(key.value >> 24);
}
constexpr uint16_t rest_of(ServiceKey key) {
  return static_cast<uint16_t>(key.value);
}

constexpr bool has_ports(IpProto proto) {
  return proto == IpProto::kTcp || proto == IpProto::kUdp || proto == IpProto::kSctp;
}

/// As in a policy: tcp/443, icmp/8/0 (echo: icmp/echo), proto/47.
std::string to_string(ServiceKey key);

}  // namespace bulkhead
