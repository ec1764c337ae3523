// What a gateway's ports are to each other: wires, subnets, routes; and the listener's address.
#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "config/gateway_reader.h"

namespace bulkhead {
namespace {

bool overlap(const Prefix& a, const Prefix& b) {
  uint8_t bits = std::min(a.bits, b.bits);
  return a.address.family() == b.address.family() && masked(a.address, bits) == masked(b.address, bits);
}

bool is_link_local(const IpAddress& address) {
  return address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0) == 0x80;
}

bool is_on(const PortSetting& port, const IpAddress& address) {
  return std::ranges::any_of(port.addresses, [&](const Prefix& own) {
    return own.address.family() == address.family() && own.contains(address) && own.address != address;
  });
}

std::optional<PortId> read_end(const yaml::Node& node, Source& source, const DataplaneSettings& settings) {
  auto name = read_text(node, source);
  if (!name) return std::nullopt;
  auto port = std::ranges::find(settings.ports, *name, &PortSetting::name);
  if (port != settings.ports.end()) return PortId{static_cast<uint8_t>(port - settings.ports.begin())};
  std::vector<std::string> names;
  for (const PortSetting& one : settings.ports) names.push_back(one.name);
  source.error(node.mark, "there is no port " + in_quotes(*name) +
                              source.report().did_you_mean(*name, names) +
                              "; define it under ports, or correct the name");
  return std::nullopt;
}

}  // namespace

void read_wires(const yaml::Node& wires, const std::vector<PortPlace>& places, Source& source,
                DataplaneSettings& settings) {
  constexpr size_t kMaxWires = 16;  // a flow's zone is 4 bits of wire, 12 of VLAN
  if (wires.kind != yaml::Kind::kSequence || wires.items.empty())
    return source.error(wires.mark, "wires must be a list of pairs of ports; write [[left, right]]");
  if (wires.items.size() > kMaxWires)
    return source.error(wires.items[kMaxWires].mark, "a gateway has at most 16 wires; remove the others");
  std::map<size_t, Mark> ended;  // ports, and where a wire names them
  auto take_end = [&](const yaml::Node& node) {
    auto port = read_end(node, source, settings);
    if (!port) return port;
    auto [first, is_new] = ended.try_emplace(port->value, node.mark);
    if (!is_new)
      source.error(node.mark, "port " + in_quotes(node.text) + " is in a wire already, in " +
                                  to_string(source.at(first->second)) + "; a port ends exactly one");
    return port;
  };
  for (const yaml::Node& wire : wires.items) {
    if (wire.kind != yaml::Kind::kSequence || wire.items.size() != 2) {
      source.error(wire.mark, "a wire joins two ports; write [left, right]");
      continue;
    }
    auto first = take_end(wire.items[0]);
    auto second = take_end(wire.items[1]);
    if (first && second) settings.wires.push_back({*first, *second});
  }
  for (size_t port = 0; port < settings.ports.size(); ++port)
    if (!settings.ports[port].name.empty() && !ended.contains(port))
      source.error(places[port].port, "port " + in_quotes(settings.ports[port].name) +
                                          " is in no wire; add it to wires, or remove it");
}

/// An address of one port and one of another, or of the same.
static void check_pair_of_subnets(const DataplaneSettings& settings, const std::vector<PortPlace>& places,
                                  std::pair<size_t, size_t> earlier, std::pair<size_t, size_t> later,
                                  Source& source) {
  const Prefix& first = settings.ports[earlier.first].addresses[earlier.second];
  const Prefix& second = settings.ports[later.first].addresses[later.second];
  Mark mark = places[later.first].addresses[later.second];
  std::string there = to_string(source.at(places[earlier.first].addresses[earlier.second]));
  bool same_port = earlier.first == later.first;
  if (same_port && first.address == second.address)
    source.error(mark, to_string(second.address) + " is an address of this port already, in " + there +
                           "; remove one");
  if (!same_port && overlap(first, second) && !is_link_local(first.address))
    source.error(mark, "this subnet overlaps with that of port " +
                           in_quotes(settings.ports[earlier.first].name) + " in " + there +
                           "; a subnet is on one port only");
}

static void check_neighbours(const PortSetting& port, const PortPlace& place, Source& source) {
  std::map<IpAddress, Mark> seen;
  for (size_t n = 0; n < port.neighbours.size(); ++n) {
    const IpAddress& address = port.neighbours[n].address;
    Mark mark = place.neighbours[n];
    if (!is_on(port, address) && !is_link_local(address))
      source.error(mark, to_string(address) +
                             " is no neighbour on this port: it is in none of the port's subnets; correct "
                             "it, or remove it");
    auto [first, is_new] = seen.try_emplace(address, mark);
    if (!is_new)
      source.error(mark, to_string(address) + " is a neighbour already, in " +
                             to_string(source.at(first->second)) + "; remove one");
  }
}

void check_subnets(const DataplaneSettings& settings, const std::vector<PortPlace>& places, Source& source) {
  std::vector<std::pair<size_t, size_t>> addresses;  // port, and place in its list
  for (size_t port = 0; port < settings.ports.size(); ++port)
    for (size_t i = 0; i < settings.ports[port].addresses.size(); ++i) addresses.emplace_back(port, i);
  for (size_t later = 0; later < addresses.size(); ++later)
    for (size_t earlier = 0; earlier < later; ++earlier)
      check_pair_of_subnets(settings, places, addresses[earlier], addresses[later], source);
  for (size_t port = 0; port < settings.ports.size(); ++port)
    check_neighbours(settings.ports[port], places[port], source);
}

void read_routes(const yaml::Node& routes, Source& source, DataplaneSettings& settings) {
  std::map<Prefix, Mark> seen;
  auto read_route = [&](const yaml::Node& node, Source& in) -> std::optional<RouteSetting> {
    RouteSetting route;
    Fields fields(node, in, "a route");
    bool right = fields.required("to", route.to, parsed(parse_prefix));
    right = fields.required("via", route.via, parsed(parse_address)) && right;
    fields.done();
    if (!right) return std::nullopt;
    Mark via = node.find("via")->mark;
    if (route.to.address.family() != route.via.family()) {
      in.error(via, "the next hop is of another family than what it leads to; write one of the same");
    } else if (std::ranges::none_of(settings.ports,
                                    [&](const PortSetting& port) { return is_on(port, route.via); })) {
      in.error(via, to_string(route.via) + " is in no port's subnet; a next hop must be a port's neighbour");
    }
    Mark to = node.find("to")->mark;
    auto [first, is_new] = seen.try_emplace(route.to, to);
    if (!is_new)
      in.error(to, "there is a route to " + to_string(route.to) + " already, in " +
                       to_string(in.at(first->second)) + "; remove one");
    settings.routes.push_back(route);
    return route;
  };
  list_of(read_route, true)(routes, source);
}

Expected<std::string> parse_listener(std::string_view text) {
  if (text == "off") return std::string();
  auto wrong =
      fail(ErrorCode::kInvalid, in_quotes(text) +
                                    " isn't HOST:PORT; write it like 127.0.0.1:9464 or [::1]:9464, or "
                                    "off");
  size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return wrong;
  uint16_t port = 0;
  auto [end, error] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0 || text[colon + 1] == '0')
    return wrong;
  std::string_view host = text.substr(0, colon);
  if (host.front() == '[') {
    auto address = host.back() == ']' ? parse_address(host.substr(1, host.size() - 2)) : parse_address("");
    return address && !address->is_v4() ? Expected<std::string>(std::string(text)) : wrong;
  }
  bool plausible = std::ranges::all_of(host, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
  });
  return plausible ? Expected<std::string>(std::string(text)) : wrong;
}

}  // namespace bulkhead
