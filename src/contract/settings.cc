// The text form of a dataplane's settings. The first line is `bulkhead-settings 1`; every other line is a
// key, one space, and its value up to the line's end. `port NAME` opens a port, to which the `port.` lines
// after it belong. Keys of lists (core, wire, route, port.source, port.host_address, port.address,
// port.neighbour) stand once for each item, all others at most once; what is missing keeps its default. Text
// is as it is, but control characters and `%` are %XX. Durations are milliseconds. Ports are named by their
// place, from 0.
//
//   bulkhead-settings 1           port left                            wire 0 1
//   name edge-1                   port.device af_xdp:ga                route 0.0.0.0/0 10.9.0.1
//   core 1                        port.source 10.1.0.0/24              timeout.syn 30000
//   mode wire | route             port.vlans none | any | 10,20        tcp strict | liberal
#include "contract/settings.h"

#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <concepts>
#include <limits>
#include <set>

namespace bulkhead {

namespace {

constexpr std::string_view kFirstLine = "bulkhead-settings 1";

// One pair of functions for each type of value: `write` gives its text; `read` takes it back, an error says
// what it should be.

Expected<void> expected(const char* what) {
  return fail(ErrorCode::kInvalid, std::string("should be ") + what);
}

std::string write(const std::string& text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f && c != '%') {
      out += c;
    } else {
      out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return out;
}

Expected<void> read(std::string_view text, std::string& out) {
  out.clear();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned byte = 0;
    const char* digits = text.data() + i + 1;
    if (text.size() - i < 3 || std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2)
      return expected("text with each % written as %25");
    out += static_cast<char>(byte);
    i += 2;
  }
  return {};
}

template <std::unsigned_integral T>
std::string write(T number) {
  return std::to_string(number);
}
template <std::unsigned_integral T>
Expected<void> read(std::string_view text, T& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size())
    return fail(ErrorCode::kInvalid,
                "should be a number up to " + std::to_string(std::numeric_limits<T>::max()));
  return {};
}

/// Writes the first word for false or 0, the second for true or 1.
template <class T>
Expected<void> read_word(std::string_view text, const char* zero, const char* one, T& out) {
  if (text != zero && text != one)
    return fail(ErrorCode::kInvalid, std::string("should be ") + zero + " or " + one);
  out = static_cast<T>(text == one);
  return {};
}
std::string write(bool flag) {
  return flag ? "yes" : "no";
}
Expected<void> read(std::string_view text, bool& out) {
  return read_word(text, "no", "yes", out);
}
std::string write(Mode mode) {
  return mode == Mode::kRoute ? "route" : "wire";
}
Expected<void> read(std::string_view text, Mode& out) {
  return read_word(text, "wire", "route", out);
}
std::string write(TcpMode mode) {
  return mode == TcpMode::kLiberal ? "liberal" : "strict";
}
Expected<void> read(std::string_view text, TcpMode& out) {
  return read_word(text, "strict", "liberal", out);
}

std::string write(ImposeTags impose) {
  constexpr const char* kWords[] = {"none", "cmd", "vxlan_gbp"};
  return kWords[static_cast<size_t>(impose)];
}
Expected<void> read(std::string_view text, ImposeTags& out) {
  for (ImposeTags impose : {ImposeTags::kNone, ImposeTags::kCmd, ImposeTags::kVxlanGbp}) {
    if (text != write(impose)) continue;
    out = impose;
    return {};
  }
  return expected("none, cmd or vxlan_gbp");
}

std::string write(std::chrono::milliseconds time) {
  return std::to_string(time.count());
}
Expected<void> read(std::string_view text, std::chrono::milliseconds& out) {
  uint32_t count = 0;
  auto result = read(text, count);
  out = std::chrono::milliseconds(count);
  return result;
}

/// An address, prefix or MAC, by the parser that base has for it.
template <class T>
Expected<void> take(Expected<T> parsed, T& out) {
  if (!parsed) return std::unexpected(parsed.error());
  out = *parsed;
  return {};
}
std::string write(const MacAddress& mac) {
  return to_string(mac);
}
Expected<void> read(std::string_view text, MacAddress& out) {
  return take(parse_mac(text), out);
}
std::string write(const IpAddress& address) {
  return to_string(address);
}
Expected<void> read(std::string_view text, IpAddress& out) {
  return take(parse_address(text), out);
}
std::string write(const Prefix& prefix) {
  return to_string(prefix.address) + "/" + std::to_string(prefix.length());
}
Expected<void> read(std::string_view text, Prefix& out) {
  return take(parse_interface_address(text), out);
}

/// Two values with a space between them.
template <class A, class B>
Expected<void> read_two(std::string_view text, A& a, B& b) {
  size_t space = text.find(' ');
  if (space == std::string_view::npos) return expected("two values");
  if (auto first = read(text.substr(0, space), a); !first) return first;
  return read(text.substr(space + 1), b);
}
std::string write(const NeighbourSetting& n) {
  return write(n.address) + " " + write(n.mac);
}
Expected<void> read(std::string_view text, NeighbourSetting& out) {
  return read_two(text, out.address, out.mac);
}
std::string write(const RouteSetting& r) {
  return write(r.to) + " " + write(r.via);
}
Expected<void> read(std::string_view text, RouteSetting& out) {
  return read_two(text, out.to, out.via);
}
std::string write(const WireSetting& w) {
  return write(w.first.value) + " " + write(w.second.value);
}
Expected<void> read(std::string_view text, WireSetting& out) {
  return read_two(text, out.first.value, out.second.value);
}

std::string write(const VlanSetting& vlans) {
  if (vlans.any) return "any";
  std::string out;
  for (uint16_t id : vlans.ids) out += (out.empty() ? "" : ",") + std::to_string(id);
  return out.empty() ? "none" : out;
}
Expected<void> read(std::string_view text, VlanSetting& out) {
  out = {.any = text == "any", .ids = {}};
  if (text == "any" || text == "none") return {};
  for (size_t comma = 0; comma != std::string_view::npos;) {
    comma = text.find(',');
    uint16_t id = 0;
    if (auto one = read(text.substr(0, comma), id); !one) return one;
    if (id == 0 || id > 4094) return expected("none, any, or VLANs from 1 to 4094");
    out.ids.push_back(id);
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
  }
  return {};
}

/// LOCAL VNI UDP_PORT PEER[,PEER...]
std::string write(const OverlaySetting& o) {
  std::string out = write(o.local) + " " + write(o.vni) + " " + write(o.udp_port);
  for (const IpAddress& peer : o.peers) out += (&peer == &o.peers.front() ? " " : ",") + write(peer);
  return out;
}
Expected<void> read(std::string_view text, OverlaySetting& out) {
  auto word = [&](char end) {
    size_t at = std::min(text.find(end), text.size());
    std::string_view first = text.substr(0, at);
    text.remove_prefix(std::min(at + 1, text.size()));
    return first;
  };
  if (auto taken = read(word(' '), out.local); !taken) return taken;
  if (auto taken = read(word(' '), out.vni); !taken) return taken;
  if (auto taken = read(word(' '), out.udp_port); !taken) return taken;
  while (!text.empty())
    if (auto taken = read(word(','), out.peers.emplace_back()); !taken) return taken;
  return {};
}

// What there is to write and read: each field once, for both directions.

template <class Settings, class Field>
void for_each_field(Settings& s, Field field) {
  field("name", s.name);
  field("file_prefix", s.file_prefix);
  field("core", s.cores);
  field("memory_mib", s.memory_mib);
  field("buffers", s.buffers);
  field("max_flows", s.max_flows);
  field("max_flows_per_identity", s.max_flows_per_identity);
  field("mode", s.mode);
  field("wire", s.wires);
  field("route", s.routes);
  field("tcp", s.tcp);
  field("timeout.syn", s.timeouts.syn);
  field("timeout.established", s.timeouts.established);
  field("timeout.closing", s.timeouts.closing);
  field("timeout.udp", s.timeouts.udp);
  field("timeout.icmp", s.timeouts.icmp);
  field("timeout.other", s.timeouts.other);
  field("fragments.datagrams", s.fragments.datagrams);
  field("fragments.per_source", s.fragments.per_source);
  field("fragments.timeout", s.fragments.timeout);
  field("half_open_per_identity", s.half_open_per_identity);
  field("half_open_total", s.half_open_total);
  field("reject_implicit_deny", s.reject_implicit_deny);
  field("reset_on_revoke", s.reset_on_revoke);
  field("reject_per_identity", s.reject_per_identity);
  field("reject_total", s.reject_total);
}

template <class Port, class Field>
void for_each_port_field(Port& p, Field field) {
  field("port.device", p.device);
  field("port.attached", p.attached);
  field("port.any_source", p.any_source);
  field("port.source", p.sources);
  field("port.vlans", p.vlans);
  field("port.mac", p.mac);
  field("port.mtu", p.mtu);
  field("port.host_address", p.host_addresses);
  field("port.address", p.addresses);
  field("port.neighbour", p.neighbours);
  field("port.trust_tags", p.trust_tags);
  field("port.strip_tags", p.strip_tags);
  field("port.impose_tags", p.impose_tags);
  field("port.vxlan", p.vxlan);
  field("port.relay", p.relay);
}

/// Writes a field's line, or a list's lines.
struct FieldWriter {
  std::string& out;

  template <class T>
  void operator()(const char* key, const T& value) {
    out.append(key).append(" ").append(write(value)).append("\n");
  }
  template <class T>
  void operator()(const char* key, const std::optional<T>& value) {
    if (value) (*this)(key, *value);
  }
  template <class T>
  void operator()(const char* key, const std::vector<T>& list) {
    for (const T& item : list) (*this)(key, item);
  }
};

/// Reads the one field that the line's key names.
struct FieldReader {
  std::string_view key, text;
  std::set<std::string, std::less<>>& seen;
  Expected<void>& result;

  template <class T>
  void operator()(const char* name, T& value) {
    if (key != name) return;
    result = seen.emplace(key).second ? read(text, value)
                                      : fail(ErrorCode::kInvalid, "is there for the second time");
  }
  template <class T>
  void operator()(const char* name, std::optional<T>& value) {
    if (key == name) (*this)(name, value.emplace());
  }
  template <class T>
  void operator()(const char* name, std::vector<T>& list) {
    if (key != name) return;
    result = read(text, list.emplace_back());
  }
};

/// Reads settings line by line.
class SettingsReader {
 public:
  Expected<void> take_line(std::string_view line) {
    size_t space = line.find(' ');
    if (space == std::string_view::npos) return fail(ErrorCode::kInvalid, "a line without a value");
    std::string_view key = line.substr(0, space), text = line.substr(space + 1);
    if (key == "port") return open_port(text);
    Expected<void> result = fail(ErrorCode::kInvalid, "is not a setting");
    if (!key.starts_with("port.")) {
      for_each_field(settings_, FieldReader{key, text, seen_, result});
    } else if (settings_.ports.empty()) {
      result = fail(ErrorCode::kInvalid, "stands before the first port");
    } else {
      for_each_port_field(settings_.ports.back(), FieldReader{key, text, seen_of_port_, result});
    }
    if (!result) return with_context(result.error(), write(std::string(key.substr(0, 40))));
    return {};
  }
  DataplaneSettings& settings() { return settings_; }
  SettingsReader() { settings_.cores.clear(); }

 private:
  Expected<void> open_port(std::string_view text) {
    PortSetting port;
    if (auto named = read(text, port.name); !named) return named;
    for (const PortSetting& other : settings_.ports)
      if (other.name == port.name)
        return fail(ErrorCode::kInvalid, "port " + std::string(text) + ": is there twice");
    if (settings_.ports.size() == kMaxPorts)
      return fail(ErrorCode::kInvalid, "more than " + std::to_string(kMaxPorts) + " ports");
    settings_.ports.push_back(std::move(port));
    seen_of_port_.clear();
    return {};
  }

  DataplaneSettings settings_;
  std::set<std::string, std::less<>> seen_, seen_of_port_;
};

bool has_host_bits(const Prefix& prefix) {
  return masked(prefix.address, prefix.bits) != prefix.address;
}

/// What must hold for a port's overlay: an error's text, or nothing.
std::string check_overlay(const PortSetting& port) {
  bool grouped = port.impose_tags == ImposeTags::kVxlanGbp;
  if (!port.vxlan) return grouped ? "imposes vxlan_gbp without an overlay" : "";
  const OverlaySetting& o = *port.vxlan;
  if (port.impose_tags == ImposeTags::kCmd) return "imposes cmd in an overlay";
  if (o.vni > 0xffffff || o.udp_port == 0) return "has an overlay with an impossible VNI or UDP port";
  if (o.peers.empty() || o.peers.size() > kMostPeers)
    return "has an overlay without peers, or with more than " + std::to_string(kMostPeers);
  if (!o.local.is_routable_unicast()) return "has an overlay with a local address that hosts can't have";
  std::set<IpAddress> seen{o.local};
  for (const IpAddress& peer : o.peers)
    if (peer.is_v4() != o.local.is_v4() || !peer.is_routable_unicast() || !seen.insert(peer).second)
      return "has an overlay with the peer " + write(peer) + ", which can't be one";
  return {};
}

/// What must hold for the settings as a whole: an error's text, or nothing.
std::string check(const DataplaneSettings& s) {
  if (s.cores.empty() || s.cores.size() > kMaxCores)
    return "1 to " + std::to_string(kMaxCores) + " cores are needed";
  if (s.max_flows == 0 || s.memory_mib == 0) return "max_flows and memory_mib must not be 0";
  if (s.half_open_total == 0 || s.half_open_per_identity == 0) return "half_open limits must not be 0";
  if (s.fragments.datagrams == 0 || s.fragments.datagrams > kMostFragmentDatagrams ||
      s.fragments.timeout > kLongestFragmentTimeout)
    return "fragments: 1 to " + std::to_string(kMostFragmentDatagrams) + " datagrams, for at most 60 s";
  std::set<uint8_t> wired;
  for (const WireSetting& wire : s.wires)
    for (PortId port : {wire.first, wire.second}) {
      if (port.value >= s.ports.size())
        return "a wire to port " + std::to_string(port.value) + ", which doesn't exist";
      if (!wired.insert(port.value).second) return "port " + std::to_string(port.value) + " is on two wires";
    }
  for (size_t port = 0; s.mode == Mode::kWire && port < s.ports.size(); ++port)
    if (!wired.contains(static_cast<uint8_t>(port)) && !s.ports[port].relay)
      return "port " + std::to_string(port) +
             " is on no wire, and what comes in there would have nowhere to go";
  for (const PortSetting& port : s.ports) {
    if (std::ranges::any_of(port.sources, has_host_bits))
      return "port " + write(port.name) + " has a source with host bits set";
    if (port.trust_tags && port.strip_tags)
      return "port " + write(port.name) + " trusts tags and strips them";
    if (std::string wrong = check_overlay(port); !wrong.empty())
      return "port " + write(port.name) + " " + wrong;
    uint16_t taken = link_overhead(port);
    if (taken != 0 && port.mtu < kLeastMtu + taken)
      return "port " + write(port.name) + " has an MTU too small for what it imposes";
  }
  if (std::ranges::count(s.ports, true, &PortSetting::relay) > 1) return "two ports are the relay's";
  for (const RouteSetting& route : s.routes)
    if (has_host_bits(route.to)) return "a route to " + write(route.to) + ", which has host bits set";
  return {};
}

}  // namespace

std::string encode(const DataplaneSettings& settings) {
  std::string out(kFirstLine);
  out += '\n';
  for (const PortSetting& port : settings.ports) {
    FieldWriter{out}("port", port.name);
    for_each_port_field(port, FieldWriter{out});
  }
  for_each_field(settings, FieldWriter{out});
  return out;
}

Expected<DataplaneSettings> decode_settings(std::string_view text) {
  SettingsReader reader;
  for (size_t number = 1; !text.empty(); ++number) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    Expected<void> taken = number > 1 ? reader.take_line(line)
                           : line == kFirstLine
                               ? Expected<void>{}
                               : fail(ErrorCode::kInvalid, "should be `bulkhead-settings 1`");
    if (!taken) return with_context(taken.error(), "settings, line " + std::to_string(number));
  }
  if (std::string wrong = check(reader.settings()); !wrong.empty())
    return fail(ErrorCode::kInvalid, "settings: " + wrong);
  return std::move(reader.settings());
}

Expected<DataplaneSettings> read_settings(int fd) {
  std::string text;
  char chunk[4096];
  for (;;) {
    ssize_t n = ::read(fd, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "settings");
    if (n == 0) return decode_settings(text);
    text.append(chunk, static_cast<size_t>(n));
    if (text.size() > kMaxSettingsBytes) return fail(ErrorCode::kInvalid, "settings: longer than 4 MiB");
  }
}

}  // namespace bulkhead
