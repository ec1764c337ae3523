// Services as policy writes them.
#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>

#include "config/policy.h"
#include "config/report.h"

namespace bulkhead {
namespace {

struct NamedProtocol {
  std::string_view name;
  IpProto proto;
  unsigned echo_type;  ///< of ICMP's two kinds
};
constexpr NamedProtocol kProtocols[] = {{"tcp", IpProto::kTcp, 0},
                                        {"udp", IpProto::kUdp, 0},
                                        {"sctp", IpProto::kSctp, 0},
                                        {"icmp", IpProto::kIcmp, 8},
                                        {"icmp6", IpProto::kIcmpv6, 128}};

std::unexpected<Error> bad(std::string_view text, std::string_view wanted) {
  return fail(ErrorCode::kInvalid, in_quotes(text) + " isn't a service: " + std::string(wanted));
}

std::optional<unsigned> parse_number(std::string_view text, unsigned most) {
  unsigned value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool leading_zero = text.size() > 1 && text[0] == '0';
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || value > most ||
      leading_zero)
    return std::nullopt;
  return value;
}

ServiceRange whole(IpProto proto) {
  return {service_key(proto, 0), service_key(proto, 0xffff)};
}

Expected<ServiceRange> parse_ports(std::string_view text, IpProto proto, std::string_view rest) {
  size_t dash = rest.find('-');
  auto first = parse_number(rest.substr(0, dash), 65535);
  auto last = dash == std::string_view::npos ? first : parse_number(rest.substr(dash + 1), 65535);
  if (!first || !last)
    return bad(text, "write a port from 1 to 65535, or a range like 8000-8099, after the '/'");
  if (*first == 0) return bad(text, "port 0 doesn't exist; write 1 or more");
  if (*first > *last)
    return bad(text,
               "the range is turned round; write " + std::to_string(*last) + "-" + std::to_string(*first));
  return ServiceRange{service_key(proto, static_cast<uint16_t>(*first)),
                      service_key(proto, static_cast<uint16_t>(*last))};
}

Expected<ServiceRange> parse_icmp(std::string_view text, const NamedProtocol& icmp, std::string_view rest) {
  auto key = [&](unsigned type, unsigned code) {
    return service_key(icmp.proto, static_cast<uint16_t>(type << 8 | code));
  };
  if (rest == "echo") return ServiceRange{key(icmp.echo_type, 0), key(icmp.echo_type, 0)};
  size_t slash = rest.find('/');
  auto type = parse_number(rest.substr(0, slash), 255);
  auto code = slash == std::string_view::npos ? std::optional(0u) : parse_number(rest.substr(slash + 1), 255);
  if (!type || !code)
    return bad(text, "write 'echo', a TYPE or TYPE/CODE, each from 0 to 255, after the '/'");
  return ServiceRange{key(*type, *code), key(*type, slash == std::string_view::npos ? 255 : *code)};
}

Expected<ServiceRange> parse_protocol_number(std::string_view text, std::string_view rest) {
  auto number = parse_number(rest, 255);
  if (!number) return bad(text, "write a protocol number from 0 to 255 after the '/'");
  auto proto = static_cast<IpProto>(*number);
  if (auto named = std::ranges::find(kProtocols, proto, &NamedProtocol::proto); named != std::end(kProtocols))
    return bad(text, "this protocol has a name; write " + std::string(named->name));
  return ServiceRange{service_key(proto), service_key(proto)};
}

}  // namespace

Expected<std::vector<ServiceRange>> parse_service(std::string_view text) {
  if (text == "any") {
    std::vector<ServiceRange> all;
    for (const NamedProtocol& protocol : kProtocols) all.push_back(whole(protocol.proto));
    return all;
  }
  size_t slash = text.find('/');
  std::string_view name = text.substr(0, slash);
  auto protocol = std::ranges::find(kProtocols, name, &NamedProtocol::name);
  if (slash == std::string_view::npos && protocol != std::end(kProtocols))
    return std::vector{whole(protocol->proto)};
  std::string_view rest = slash == std::string_view::npos ? std::string_view() : text.substr(slash + 1);
  Expected<ServiceRange> range = bad(text,
                                     "write any, tcp, tcp/443, tcp/8000-8099, udp/53, sctp/38412, icmp/echo, "
                                     "icmp6/TYPE/CODE or proto/NUMBER");
  if (protocol != std::end(kProtocols)) {
    range = has_ports(protocol->proto) ? parse_ports(text, protocol->proto, rest)
                                       : parse_icmp(text, *protocol, rest);
  } else if (name == "proto" && slash != std::string_view::npos) {
    range = parse_protocol_number(text, rest);
  }
  if (!range) return std::unexpected(range.error());
  return std::vector{*range};
}

Expected<ServiceKey> parse_exact_service(std::string_view text) {
  auto ranges = parse_service(text);
  if (!ranges) return std::unexpected(ranges.error());
  const ServiceRange& only = ranges->front();
  if (ranges->size() == 1 && only.first == only.last) return only.first;
  return fail(ErrorCode::kInvalid,
              in_quotes(text) + " is more than one service; name one, like tcp/443, icmp/echo or icmp/13/0");
}

bool covers(const Rule& rule, ServiceKey service) {
  bool tunnel = proto_of(service) == IpProto::kUdp &&
                std::ranges::find(kTunnelUdpPorts, rest_of(service)) != std::end(kTunnelUdpPorts);
  bool needs_naming = tunnel && rule.action != Action::kDeny;
  return std::ranges::any_of(rule.services, [&](const ServiceRange& range) {
    if (needs_naming) return range.first == service && range.last == service;
    return range.first <= service && service <= range.last;
  });
}

}  // namespace bulkhead
