#include "base/service.h"

namespace bulkhead {

std::string to_string(ServiceKey key) {
  auto number = [](unsigned n) { return std::to_string(n); };
  unsigned type = rest_of(key) >> 8, code = rest_of(key) & 0xff;
  switch (proto_of(key)) {
    case IpProto::kTcp:
      return "tcp/" + number(rest_of(key));
    case IpProto::kUdp:
      return "udp/" + number(rest_of(key));
    case IpProto::kSctp:
      return "sctp/" + number(rest_of(key));
    case IpProto::kIcmp:
      return type == 8 && code == 0 ? "icmp/echo" : "icmp/" + number(type) + "/" + number(code);
    case IpProto::kIcmpv6:
      return type == 128 && code == 0 ? "icmp6/echo" : "icmp6/" + number(type) + "/" + number(code);
    default:
      return "proto/" + number(key.value >> 24);
  }
}

}  // namespace bulkhead
