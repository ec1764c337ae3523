// A gateway's ports.
#include <algorithm>
#include <cctype>

#include "config/gateway_reader.h"
#include "config/member_text.h"
#include "config/read_file.h"

namespace bulkhead {
namespace {

constexpr const char* kDeviceForms =
    "write pci:0000:03:00.0, af_xdp:IFNAME, af_packet:IFNAME, tap:IFNAME, pcap:FILE, null or dpdk:DEVARGS";

bool is_interface_name(std::string_view name) {
  return !name.empty() && name.size() <= 15 && name != "." && name != ".." &&
         std::ranges::all_of(name, [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
         });
}

/// DOMAIN:BUS:DEVICE.FUNCTION, as the kernel writes it.
bool is_pci_address(std::string_view address) {
  constexpr std::string_view kForm = "xxxx:xx:xx.7";
  if (address.size() != kForm.size()) return false;
  for (size_t i = 0; i < kForm.size(); ++i) {
    auto c = static_cast<unsigned char>(address[i]);
    bool right = kForm[i] == 'x'   ? std::isxdigit(c) != 0
                 : kForm[i] == '7' ? c >= '0' && c <= '7'
                                   : c == kForm[i];
    if (!right) return false;
  }
  return true;
}

bool is_visible(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

/// A source: as parse_prefix, but one of length 0 of IPv6 would hold IPv4 too.
Expected<Prefix> parse_source(std::string_view text) {
  auto prefix = parse_prefix(text);
  if (prefix && !prefix->address.is_v4() && prefix->contains(IpAddress::v4(0)))
    return fail(ErrorCode::kInvalid, in_quotes(text) +
                                         " holds ::ffff:0:0/96, where IPv4 stands; write 2000::/3, or "
                                         "sources: any");
  return prefix;
}

/// A device; a capture file's path is relative to the file that names it.
std::optional<std::string> read_device(const yaml::Node& node, Source& source) {
  constexpr std::string_view kPcap = "pcap:";
  auto device = parsed(parse_device)(node, source);
  if (device && device->starts_with(kPcap))
    device = std::string(kPcap) + resolve(source.file(), device->substr(kPcap.size()));
  return device;
}

std::optional<VlanSetting> read_vlans(const yaml::Node& node, Source& source) {
  if (node.is_scalar() && node.text == "none") return VlanSetting{};
  if (node.is_scalar() && node.text == "any") return VlanSetting{true, {}};
  if (node.kind != yaml::Kind::kSequence) {
    source.error(node.mark, "vlans must be none, any, or a list like [10, 20]");
    return std::nullopt;
  }
  auto ids = list_of(integer<uint16_t>(1, 4094))(node, source);
  report_repeated(node, "VLAN ", source);
  std::ranges::sort(*ids);
  return VlanSetting{false, std::move(*ids)};
}

/// An address that a port may have in route mode, with its subnet.
Expected<Prefix> parse_own_address(std::string_view text) {
  auto own = parse_interface_address(text);
  if (!own) return own;
  if (!parse_member_prefix(to_string(own->address)))
    return fail(ErrorCode::kInvalid,
                in_quotes(text) +
                    " can't be an address of the gateway's own; write a unicast one, and no "
                    "link-local one");
  if (own->length() == 0)
    return fail(ErrorCode::kInvalid, in_quotes(text) + " has no subnet; write its length");
  bool has_host_part = own->address.is_v4() && own->length() < 31;
  if (!has_host_part) return own;
  uint32_t host_mask = ~uint32_t{0} >> own->length();
  uint32_t host_part = own->address.v4_host() & host_mask;
  if (host_part == 0 || host_part == host_mask)
    return fail(ErrorCode::kInvalid,
                in_quotes(text) + " is the subnet's own or its broadcast address; write one between");
  return own;
}

std::optional<NeighbourSetting> read_neighbour(const yaml::Node& node, Source& source) {
  NeighbourSetting neighbour;
  Fields fields(node, source, "a neighbour");
  bool right = fields.required("address", neighbour.address, parsed(parse_address));
  right = fields.required("mac", neighbour.mac, parsed(parse_unicast_mac)) && right;
  fields.done();
  return right ? std::optional(neighbour) : std::nullopt;
}

/// An address that an overlay's end may have.
Expected<IpAddress> parse_outer_address(std::string_view text) {
  auto address = parse_address(text);
  if (address && !address->is_routable_unicast())
    return fail(
        ErrorCode::kInvalid,
        in_quotes(text) + " can't be an end of an overlay; write a unicast address, and no link-local one");
  return address;
}

std::optional<OverlaySetting> read_vxlan(const yaml::Node& node, Source& source) {
  OverlaySetting overlay;
  Fields fields(node, source, "'vxlan'");
  bool right = fields.required("local", overlay.local, parsed(parse_outer_address));
  right = fields.required("vni", overlay.vni, integer<uint32_t>(0, 0xffffff)) && right;
  right = fields.required("peers", overlay.peers, list_of(parsed(parse_outer_address))) && right;
  fields.optional("udp_port", overlay.udp_port, integer<uint16_t>(1, 65535));
  fields.done();
  const yaml::Node* peers = node.find("peers");
  if (!right || peers->items.size() != overlay.peers.size()) return std::nullopt;
  if (peers->items.size() > kMostPeers)
    source.error(peers->items[kMostPeers].mark, "an overlay has at most 64 peers; remove the others");
  std::map<IpAddress, Mark> seen;
  for (size_t i = 0; i < overlay.peers.size(); ++i) {
    auto [first, is_new] = seen.try_emplace(overlay.peers[i], peers->items[i].mark);
    if (!is_new)
      source.error(peers->items[i].mark, "this peer is in the list already, in " +
                                             to_string(source.at(first->second)) + "; remove one");
    if (overlay.peers[i].is_v4() != overlay.local.is_v4())
      source.error(peers->items[i].mark, "this peer is of another family than local; write one of the same");
    if (overlay.peers[i] == overlay.local)
      source.error(peers->items[i].mark, "local can't be its own peer; remove it");
  }
  return overlay;
}

}  // namespace

Expected<std::string> parse_device(std::string_view text) {
  size_t colon = text.find(':');
  std::string_view kind = text.substr(0, colon);
  std::string_view rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  auto wrong = [&](const char* why) {
    return fail(ErrorCode::kInvalid, in_quotes(text) + " isn't a device: " + why);
  };
  if (text == "null") return std::string(text);
  if (kind == "pci") {
    if (!is_pci_address(rest)) return wrong("after 'pci:' write an address like 0000:03:00.0");
  } else if (kind == "af_xdp" || kind == "af_packet" || kind == "tap") {
    if (!is_interface_name(rest))
      return wrong("after the ':' write an interface's name, of at most 15 characters");
  } else if (kind == "pcap") {
    if (!is_visible(rest) || rest.find(',') != std::string_view::npos)
      return wrong("after 'pcap:' write a file's path without spaces and commas");
  } else if (kind == "dpdk") {
    if (!is_visible(rest)) return wrong("after 'dpdk:' write DPDK's device arguments, without spaces");
  } else {
    return wrong(kDeviceForms);
  }
  return std::string(text);
}

std::string exclusive_part(std::string_view device) {
  size_t colon = device.find(':');
  if (colon == std::string_view::npos) return {};  // null, or none
  std::string_view kind = device.substr(0, colon);
  bool interface = kind == "af_xdp" || kind == "af_packet" || kind == "tap";
  std::string part =
      (interface ? "interface " : std::string(kind) + " ") + std::string(device.substr(colon + 1));
  if (kind == "pci")
    std::ranges::transform(part, part.begin(), [](unsigned char c) { return std::tolower(c); });
  return part;
}

void PortsReader::read(const yaml::Node& ports, Source& source) {
  if (ports.kind != yaml::Kind::kSequence || ports.items.empty())
    return source.error(ports.mark, "ports must be a list with at least one; write each after '- '");
  if (ports.items.size() > kMaxPorts)
    return source.error(ports.items[kMaxPorts].mark, "a gateway has at most 32 ports; remove the others");
  for (const yaml::Node& node : ports.items) read_port(node, source);
}

void PortsReader::read_port(const yaml::Node& node, Source& source) {
  PortSetting port;
  auto place_of = [&](std::string_view key) {
    const yaml::Node* value = node.find(key);
    return value != nullptr ? value->mark : node.mark;
  };
  PortPlace place{node.mark, place_of("name"), place_of("device"), place_of("mac"), {}, {}};
  Fields fields(node, source, "a port");
  fields.required("name", port.name, read_name);
  if (!for_replay_ && !fields.has("device")) fields.missing("device");
  fields.optional("device", port.device, read_device);
  if (port.device.starts_with("af_packet:"))
    source.warning(place.device,
                   "af_packet is for trying things: the kernel reassembles fragments before the gateway "
                   "sees them and hides the outer VLAN tag of QinQ, and frames may be lost uncounted; use "
                   "af_xdp in production");
  fields.optional("link", port.attached, Choice<bool>{{"attached", true}, {"uncontrolled", false}});
  read_sources(fields, port);
  fields.optional("vlans", port.vlans, read_vlans);
  fields.optional("mac", port.mac, parsed(parse_unicast_mac));
  fields.optional("mtu", port.mtu, integer<uint16_t>(kLeastMtu, 9600));
  fields.optional("host_addresses", port.host_addresses, list_of(parsed(parse_address), true));
  read_tag_keys(fields, port);
  read_route_keys(fields, port, place);
  check_mtu(fields, port);
  check_host_addresses(fields, port);
  fields.done();
  check_unique(port, place, source);
  settings_.ports.push_back(std::move(port));
  places_.push_back(std::move(place));
}

void PortsReader::read_sources(Fields& fields, PortSetting& port) {
  const yaml::Node* node = fields.find("sources");
  if (node == nullptr) {
    port.any_source = !port.attached;
    if (port.attached && !fields.has("sources"))
      fields.source().error(fields.node().mark,
                            "an attached port needs the key 'sources', what may originate there; list "
                            "the prefixes, or write 'any' to opt out");
    return;
  }
  port.any_source = node->is_scalar() && node->text == "any";
  if (port.any_source) return;
  if (auto sources = list_of(parsed(parse_source))(*node, fields.source()))
    port.sources = std::move(*sources);
}

void PortsReader::read_tag_keys(Fields& fields, PortSetting& port) {
  fields.optional("trust_tags", port.trust_tags, read_boolean);
  fields.optional("untrusted_tags", port.strip_tags, Choice<bool>{{"drop", false}, {"strip", true}});
  if (port.trust_tags && port.strip_tags)
    fields.source().error(fields.node().find("untrusted_tags")->mark,
                          "this port trusts tags, so none is untrusted; remove this key, or trust_tags");
  fields.optional(
      "impose_tags", port.impose_tags,
      Choice<ImposeTags>{
          {"none", ImposeTags::kNone}, {"vxlan_gbp", ImposeTags::kVxlanGbp}, {"cmd", ImposeTags::kCmd}});
  bool has_vxlan = fields.has("vxlan");
  if (const yaml::Node* node = fields.find("vxlan")) port.vxlan = read_vxlan(*node, fields.source());
  const yaml::Node* impose = fields.node().find("impose_tags");
  if (port.impose_tags == ImposeTags::kVxlanGbp && !has_vxlan)
    fields.source().error(impose->mark, "vxlan_gbp is for overlay ports; add 'vxlan', or write cmd");
  if (port.impose_tags == ImposeTags::kCmd && has_vxlan)
    fields.source().error(impose->mark, "an overlay port carries tags in VXLAN's header; write vxlan_gbp");
  if (port.trust_tags && port.attached)
    fields.source().warning(fields.node().find("trust_tags")->mark,
                            "workloads on this attached port may claim any segment with a tag; trust tags "
                            "only of a link to other gateways or switches");
}

void PortsReader::read_route_keys(Fields& fields, PortSetting& port, PortPlace& place) {
  Source& source = fields.source();
  const yaml::Node* addresses = fields.find("addresses");
  const yaml::Node* neighbours = fields.find("neighbours");
  if (settings_.mode == Mode::kWire) {
    for (const yaml::Node* node : {addresses, neighbours})
      if (node != nullptr)
        source.error(node->mark, "addresses and neighbours have a meaning only in mode route; remove them");
    return;
  }
  if (addresses == nullptr && !fields.has("addresses")) fields.missing("addresses");
  // The marks go along with the items that are right.
  auto own = [&](const yaml::Node& item, Source& in) {
    auto address = parsed(parse_own_address)(item, in);
    if (address) place.addresses.push_back(item.mark);
    return address;
  };
  auto neighbour = [&](const yaml::Node& item, Source& in) {
    auto read = read_neighbour(item, in);
    if (read) place.neighbours.push_back(item.mark);
    return read;
  };
  if (addresses != nullptr)
    if (auto read = list_of(own)(*addresses, source)) port.addresses = std::move(*read);
  if (neighbours != nullptr)
    if (auto read = list_of(neighbour, true)(*neighbours, source)) port.neighbours = std::move(*read);
}

void PortsReader::check_mtu(Fields& fields, const PortSetting& port) {
  constexpr uint16_t kIpv6MinMtu = 1280;  // RFC 8200 §5
  bool has_ipv6 = std::ranges::any_of(port.addresses, [](const Prefix& own) { return !own.address.is_v4(); });
  uint32_t taken = link_overhead(port);
  if (has_ipv6 && port.mtu < kIpv6MinMtu + taken)
    fields.source().error(
        fields.node().find("mtu")->mark,
        "a port with an IPv6 address needs an MTU of " + std::to_string(kIpv6MinMtu + taken) + " or more");
  else if (port.mtu < kLeastMtu + taken)
    fields.source().error(fields.node().find("mtu")->mark,
                          "what this port puts before a packet takes " + std::to_string(taken) +
                              " bytes of its MTU; write " + std::to_string(kLeastMtu + taken) + " or more");
  else if (settings_.mode == Mode::kWire && port.mtu < kIpv6MinMtu + taken)
    fields.source().warning(fields.node().find("mtu")->mark,
                            "this leaves IPv6 fewer than the 1280 bytes that it needs (RFC 8200 §5); write " +
                                std::to_string(kIpv6MinMtu + taken) + " or more");
}

void PortsReader::check_host_addresses(Fields& fields, const PortSetting& port) {
  constexpr size_t kMostOfTheGuard = 256;
  const yaml::Node* list = fields.node().find("host_addresses");
  if (port.host_addresses.empty() || list == nullptr) return;
  bool kernel_sees_it = port.device.starts_with("af_xdp:") || port.device.starts_with("af_packet:");
  if (!kernel_sees_it && !port.device.empty())
    fields.source().error(list->mark,
                          "host_addresses have a meaning only on af_xdp and af_packet devices, whose "
                          "interface the kernel has too; remove them");
  if (list->items.size() > kMostOfTheGuard)
    fields.source().error(list->items[kMostOfTheGuard].mark,
                          "a port has at most 256 host_addresses; remove the others");
  for (const yaml::Node& item : list->items) {
    auto address = parse_address(item.text);
    if (address && port.vxlan && *address == port.vxlan->local)
      fields.source().error(item.mark, in_quotes(item.text) +
                                           " is the overlay's local address; it can't be the host's too, so "
                                           "remove one");
    if (address && std::ranges::find(port.addresses, *address, &Prefix::address) != port.addresses.end())
      fields.source().error(item.mark, in_quotes(item.text) +
                                           " is the gateway's own address on this port; it can't be the "
                                           "host's too, so remove one");
  }
}

void PortsReader::check_unique(const PortSetting& port, const PortPlace& place, Source& source) {
  auto claim = [&](std::map<std::string, Location>& taken, const std::string& what, Mark mark,
                   const char* kind) {
    if (what.empty()) return;
    auto [first, is_new] = taken.try_emplace(what, source.at(mark));
    if (!is_new)
      source.error(mark, std::string(kind) + in_quotes(what) + " is used by two ports, first in " +
                             to_string(first->second) + "; give each its own");
  };
  claim(names_, port.name, place.name, "the name ");
  claim(devices_, exclusive_part(port.device), place.device, "the device ");
  if (!port.mac.is_zero()) claim(macs_, to_string(port.mac), place.mac, "the MAC address ");
}

}  // namespace bulkhead
