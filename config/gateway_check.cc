// What a gateway's ports are to each other: wires, subnets, routes; and the listener's address.
#include <algorithm>
#include <charconv>

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

void read_wires(const yaml::Node& wires, Source& source, DataplaneSettings& settings) {
  constexpr size_t kMaxWires = 16;  // a flow's zone is 4 bits of wire, 12 of VLAN
  if (wires.kind != yaml::Kind::kSequence || wires.items.empty())
    return source.error(wires.mark, "wires must be a list of pairs of ports; write [[left, right]]");
  if (wires.items.size() > kMaxWires)
    return source.error(wires.items[kMaxWires].mark, "a gateway has at most 16 wires; remove the others");
  for (const yaml::Node& wire : wires.items) {
    if (wire.kind != yaml::Kind::kSequence || wire.items.size() != 2) {
      source.error(wire.mark, "a wire joins two ports; write [left, right]");
      continue;
    }
    auto first = read_end(wire.items[0], source, settings);
    auto second = read_end(wire.items[1], source, settings);
    if (first && second) settings.wires.push_back({*first, *second});
    for (size_t end = 0; end < 2; ++end) {
      auto port = end == 0 ? first : second;
      if (!port) continue;
      auto uses = [&](const WireSetting& w) {
        return (w.first == *port ? 1 : 0) + (w.second == *port ? 1 : 0);
      };
      int count = 0;
      for (const WireSetting& w : settings.wires) count += uses(w);
      bool joined_to_itself = first == second && end == 0;  // told once, at the second end
      if (count > 1 && !joined_to_itself)
        source.error(wire.items[end].mark, "port " + in_quotes(wire.items[end].text) +
                                               " is in a wire already; a port ends "
                                               "exactly one");
    }
  }
}

void check_wired(const DataplaneSettings& settings, const std::vector<PortPlace>& places, Source& source) {
  for (size_t i = 0; i < settings.ports.size(); ++i) {
    PortId port{static_cast<uint8_t>(i)};
    auto ends = [&](const WireSetting& wire) { return wire.first == port || wire.second == port; };
    if (!settings.ports[i].name.empty() && std::ranges::none_of(settings.wires, ends))
      source.error(places[i].port, "port " + in_quotes(settings.ports[i].name) +
                                       " is in no wire; add it to wires, or remove "
                                       "it");
  }
}

void check_subnets(const DataplaneSettings& settings, const std::vector<PortPlace>& places, Source& source) {
  for (size_t i = 0; i < settings.ports.size(); ++i) {
    const PortSetting& port = settings.ports[i];
    for (size_t a = 0; a < port.addresses.size(); ++a) {
      for (size_t j = 0; j < i; ++j) {
        for (const Prefix& other : settings.ports[j].addresses)
          if (overlap(port.addresses[a], other) && !is_link_local(other.address))
            source.error(places[i].addresses[a], "this subnet overlaps with that of port " +
                                                     in_quotes(settings.ports[j].name) +
                                                     "; a subnet is on one port only");
      }
    }
    for (size_t n = 0; n < port.neighbours.size(); ++n) {
      const IpAddress& address = port.neighbours[n].address;
      if (!is_on(port, address) && !is_link_local(address))
        source.error(places[i].neighbours[n], to_string(address) +
                                                  " is no neighbour on this port: it is in none of the "
                                                  "port's subnets");
      for (size_t m = 0; m < n; ++m)
        if (port.neighbours[m].address == address)
          source.error(places[i].neighbours[n], to_string(address) + " is in this list twice; remove one");
    }
  }
}

void read_routes(const yaml::Node& routes, Source& source, DataplaneSettings& settings) {
  auto read_route = [&](const yaml::Node& node, Source& in) -> std::optional<RouteSetting> {
    RouteSetting route;
    Fields fields(node, in, "a route");
    bool right = fields.required("to", route.to, parsed(parse_prefix));
    right = fields.required("via", route.via, parsed(parse_address)) && right;
    fields.done();
    if (!right) return std::nullopt;
    Mark via = node.find("via")->mark;
    if (route.to.address.family() != route.via.family()) {
      in.error(via, "the next hop must be of the same family as what it leads to");
    } else if (std::ranges::none_of(settings.ports,
                                    [&](const PortSetting& port) { return is_on(port, route.via); })) {
      in.error(via, to_string(route.via) + " is in no port's subnet; a next hop must be a port's neighbour");
    }
    for (const RouteSetting& earlier : settings.routes)
      if (earlier.to == route.to)
        in.error(node.find("to")->mark, "there is a route to this already; remove one");
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
