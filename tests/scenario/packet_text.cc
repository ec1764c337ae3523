#include "packet_text.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <utility>

#include "packet_words.h"
#include "tls_bytes.h"

namespace bulkhead::test {
namespace {

constexpr uint8_t kNoProtocol = 59;  // IPv6's "no next header": raw bytes that no layer names

/// IP protocol numbers of layers (IANA).
uint8_t protocol_of(const std::string& kind) {
  static const std::map<std::string, uint8_t> kNumbers{
      {"hop", 0},    {"icmp", 1}, {"tcp", 6}, {"udp", 17}, {"routing", 43}, {"frag", 44}, {"gre", 47},
      {"icmp6", 58}, {"ns", 58},  {"na", 58}, {"rs", 58},  {"ra", 58},      {"dst", 60},  {"sctp", 132}};
  auto at = kNumbers.find(kind);
  return at == kNumbers.end() ? kNoProtocol : at->second;
}

bool is_neighbour_discovery(const std::string& kind) {
  return kind == "ns" || kind == "na" || kind == "rs" || kind == "ra";
}

/// The right checksum, or what is written in its place: a number, or `bad` for any but the right one.
uint16_t checksum_or(Layer& layer, uint16_t right) {
  auto written = layer.value("checksum");
  if (!written) return right;
  return static_cast<uint16_t>(*written == "bad" ? right ^ 0x0101 : number_of(*written));
}

class FrameBuilder {
 public:
  FrameBuilder(std::string_view text, const LinkDefaults& defaults) : defaults_(defaults) {
    for (const std::string& layer : split_layers(text, " / ")) layers_.emplace_back(layer);
    find_addresses();
  }

  Bytes build() {
    bool written = layers_[0].kind() == "eth" || layers_[0].kind() == "raw";
    Bytes frame = written ? from(0) : with_link(Layer("eth"), from(0), layers_[0].kind());
    for (const Layer& layer : layers_) layer.done();
    return frame;
  }

 private:
  struct Addresses {
    IpAddress source, destination;
    bool known = false;
    bool v4() const { return source.is_v4() && !as_v6; }
    bool as_v6 = false;
  };

  /// Takes "A > B" of every IP layer: transport checksums and MACs need them.
  void find_addresses() {
    addresses_.resize(layers_.size());
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (layers_[i].kind() != "ip") continue;
      auto [source, destination] = layers_[i].ends();
      addresses_[i] = {address_of(source), address_of(destination), true,
                       source.starts_with("mapped:") || destination.starts_with("mapped:")};
      if (addresses_[i].source.is_v4() != addresses_[i].destination.is_v4() && !addresses_[i].as_v6)
        throw std::invalid_argument("addresses of two families: " + source + " and " + destination);
    }
  }

  /// The layer and everything after it.
  Bytes from(size_t i) {
    if (i == layers_.size()) return {};
    Layer& layer = layers_[i];
    Bytes payload = from(i + 1);
    std::string next = i + 1 < layers_.size() ? layers_[i + 1].kind() : "";
    const std::string& kind = layer.kind();
    here_ = i;
    if (kind == "vxlan") return vxlan(layer, payload);
    if (kind == "eth") return with_link(layer, payload, next);
    if (kind == "vlan") return vlan(layer, payload, next);
    if (kind == "cmd") return cmd(layer, payload, next);
    if (kind == "arp") return arp(layer, payload);
    if (kind == "ip")
      return addresses_[i].v4() ? ipv4(layer, addresses_[i], payload, next)
                                : ipv6(layer, addresses_[i], payload, next);
    if (kind == "hop" || kind == "dst" || kind == "routing") return extension(layer, payload, next);
    if (kind == "frag") return fragment(layer, payload, next);
    if (kind == "tcp") return tcp(layer, i, payload);
    if (kind == "udp") return udp(layer, i, payload);
    if (kind == "sctp") return sctp(layer, payload);
    if (kind == "icmp" || kind == "icmp6") return icmp(layer, i, payload);
    if (is_neighbour_discovery(kind)) return neighbour(layer, i, payload);
    return content(layer, payload);
  }

  /// Bytes as they are: text, hex, zeros, TLS records; `take N` keeps the first N of what follows, `skip N`
  /// all but those; `raw` is a whole frame's.
  Bytes content(Layer& layer, const Bytes& payload) {
    Bytes bytes;
    const std::string& kind = layer.kind();
    if (kind == "text") {
      std::string word = layer.next("its text");
      bytes.assign(word.begin() + 1, word.end() - 1);
    } else if (kind == "hex") {
      bytes = hex_of(layer.next("its digits"));
    } else if (kind == "zeros") {
      bytes.resize(number_of(layer.next("their number")));
    } else if (kind == "tls") {
      bytes = tls_of(layer);
    } else if (kind == "skip") {
      size_t count = number_of(layer.next("their number"));
      if (count > payload.size()) throw std::invalid_argument("'skip' wants more than there is");
      return Bytes(payload.begin() + static_cast<ptrdiff_t>(count), payload.end());
    } else if (kind == "gre") {
      bytes = {0, 0, 0x08, 0};
    } else if (kind == "take") {
      size_t count = number_of(layer.next("their number"));
      if (count > payload.size()) throw std::invalid_argument("'take' wants more than there is");
      return Bytes(payload.begin(), payload.begin() + static_cast<ptrdiff_t>(count));
    } else if (kind != "raw") {
      throw std::invalid_argument("no layer is called '" + kind + "'");
    }
    append(bytes, payload);
    return bytes;
  }

  static uint16_t ether_type_of(const std::string& next, const Addresses& ip) {
    if (next == "vlan") return 0x8100;
    if (next == "arp") return 0x0806;
    if (next == "cmd") return 0x8909;
    return ip.known && !ip.v4() ? 0x86dd : 0x0800;
  }
  /// Of the first IP layer from here on.
  const Addresses& first_addresses() const {
    static const Addresses kNone;
    auto at = std::find_if(addresses_.begin() + static_cast<ptrdiff_t>(here_), addresses_.end(),
                           [](const Addresses& a) { return a.known; });
    return at == addresses_.end() ? kNone : *at;
  }

  Bytes with_link(Layer&& layer, const Bytes& payload, const std::string& next) {
    return with_link(layer, payload, next);
  }
  Bytes with_link(Layer& layer, const Bytes& payload, const std::string& next) {
    const Addresses& ip = first_addresses();
    MacAddress source = ip.known ? mac_for(ip.source) : arp_source_,
               destination = ip.known ? mac_for(ip.destination) : arp_destination_;
    if (defaults_.destination && !destination.is_multicast()) destination = *defaults_.destination;
    if (defaults_.source) source = *defaults_.source;
    if (auto to = layer.value("to")) destination = mac_of(*to);
    if (auto by = layer.value("from")) source = mac_of(*by);
    Bytes frame(12);
    std::ranges::copy(destination.bytes, frame.begin());
    std::ranges::copy(source.bytes, frame.begin() + 6);
    put16(frame, layer.number("type", layer.flag("llc") ? payload.size() : ether_type_of(next, ip)));
    append(frame, payload);
    return frame;
  }

  Bytes vlan(Layer& layer, const Bytes& payload, const std::string& next) {
    uint64_t id = number_of(layer.next("its number"));
    Bytes tag;
    put16(tag, layer.number("pcp", 0) << 13 | id);
    put16(tag, layer.number("type", ether_type_of(next, first_addresses())));
    append(tag, payload);
    return tag;
  }

  static Bytes vxlan(Layer& layer, const Bytes& payload) {
    auto group = layer.number("group");
    uint64_t flags = 0x0800 | (group ? 0x8000 : 0) | (layer.flag("applied") ? 8 : 0) |
                     (layer.flag("dont-learn") ? 0x40 : 0);
    Bytes header;
    put16(header, layer.number("flags", flags));
    put16(header, group.value_or(0));
    put32(header, layer.number("vni", 42) << 8 | layer.number("reserved", 0));
    append(header, payload);
    return header;
  }

  /// Cisco metadata: its header behind its EtherType.
  Bytes cmd(Layer& layer, const Bytes& payload, const std::string& next) {
    Bytes header;
    put8(header, layer.number("version", 1));
    put8(header, layer.number("len", 1));
    put16(header, layer.number("option", 1));
    put16(header, layer.number("sgt", 0));
    put16(header, layer.number("type", ether_type_of(next, first_addresses())));
    append(header, payload);
    return header;
  }

  Bytes arp(Layer& layer, const Bytes& payload) {
    bool request = layer.flag("request");
    if (!request && !layer.flag("reply")) throw std::invalid_argument("arp is a request or a reply");
    auto [sender_text, target_text] = layer.ends();
    IpAddress sender = address_of(sender_text), target = address_of(target_text);
    auto sender_mac = layer.value("smac"), target_mac = layer.value("tmac");
    arp_source_ = sender_mac ? mac_of(*sender_mac) : mac_for(sender);
    MacAddress target_of_arp = target_mac ? mac_of(*target_mac) : request ? MacAddress{} : mac_for(target);
    arp_destination_ = request ? kMacBroadcast : target_of_arp;
    Bytes bytes;
    put16(bytes, layer.number("hw", 1));
    put16(bytes, layer.number("ptype", 0x0800));
    put8(bytes, layer.number("hlen", 6));
    put8(bytes, layer.number("plen", 4));
    put16(bytes, layer.number("op", request ? 1 : 2));
    append(bytes, arp_source_.bytes);
    put32(bytes, sender.v4_host());
    append(bytes, target_of_arp.bytes);
    put32(bytes, target.v4_host());
    append(bytes, payload);
    return bytes;
  }

  static Bytes ipv4(Layer& layer, const Addresses& ends, const Bytes& payload, const std::string& next) {
    Bytes options = hex_of(layer.value("options").value_or(""));
    if (options.size() % 4 != 0) throw std::invalid_argument("IPv4 options come in words of 4 bytes");
    Bytes bytes;
    put8(bytes, layer.number("version", 4) << 4 | layer.number("ihl", 5 + options.size() / 4));
    put8(bytes, layer.number("tos", 0));
    put16(bytes, layer.number("len", 20 + options.size() + payload.size()));
    put16(bytes, layer.number("id", 0));
    uint64_t flags = (layer.flag("df") ? 0x4000 : 0) | (layer.flag("mf") ? 0x2000 : 0);
    put16(bytes, flags | layer.number("frag-offset", 0) / 8);
    put8(bytes, layer.number("ttl", 64));
    put8(bytes, layer.number("proto", protocol_of(next)));
    put16(bytes, 0);
    put32(bytes, ends.source.v4_host());
    put32(bytes, ends.destination.v4_host());
    append(bytes, options);
    set16(bytes, 10, checksum_or(layer, internet_checksum(bytes)));
    append(bytes, payload);
    return bytes;
  }

  static Bytes ipv6(Layer& layer, const Addresses& ends, const Bytes& payload, const std::string& next) {
    Bytes bytes;
    put32(bytes, layer.number("version", 6) << 28 | layer.number("class", 0) << 20 | layer.number("flow", 0));
    put16(bytes, layer.number("len", payload.size()));
    put8(bytes, layer.number("proto", protocol_of(next)));
    put8(bytes, layer.number("ttl", is_neighbour_discovery(next) ? 255 : 64));
    append(bytes, ends.source.bytes);
    append(bytes, ends.destination.bytes);
    append(bytes, payload);
    return bytes;
  }

  /// Hop-by-hop and destination options (padded by PadN), routing header. `size` in bytes.
  static Bytes extension(Layer& layer, const Bytes& payload, const std::string& next) {
    size_t size = layer.number("size", 8);
    if (size < 8 || size % 8 != 0)
      throw std::invalid_argument("an extension header's size is a multiple of 8");
    Bytes bytes;
    put8(bytes, layer.number("proto", protocol_of(next)));
    put8(bytes, layer.number("len", size / 8 - 1));
    if (layer.kind() == "routing") {
      put8(bytes, layer.number("type", 0));
      put8(bytes, layer.number("left", 0));
    }
    while (bytes.size() + 1 < size && layer.kind() != "routing") {
      size_t pad = std::min<size_t>(size - bytes.size(), 257);
      put8(bytes, 1);  // PadN (RFC 8200 §4.2)
      put8(bytes, pad - 2);
      bytes.resize(bytes.size() + pad - 2);
    }
    bytes.resize(size);
    append(bytes, payload);
    return bytes;
  }

  static Bytes fragment(Layer& layer, const Bytes& payload, const std::string& next) {
    Bytes bytes;
    put8(bytes, layer.number("proto", protocol_of(next)));
    put8(bytes, 0);
    put16(bytes, layer.number("offset", 0) | (layer.flag("more") ? 1 : 0));
    put32(bytes, layer.number("id", 1));
    append(bytes, payload);
    return bytes;
  }

  /// The checksum over the pseudo-header of the nearest IP layer before `i`, and `l4`.
  uint16_t transport_checksum(size_t i, uint8_t proto, const Bytes& l4) const {
    while (i-- > 0) {
      const Addresses& ip = addresses_[i];
      if (!ip.known) continue;
      Bytes covered;
      if (ip.v4()) {
        put32(covered, ip.source.v4_host());
        put32(covered, ip.destination.v4_host());
      } else {
        append(covered, ip.source.bytes);
        append(covered, ip.destination.bytes);
      }
      put16(covered, proto);
      put32(covered, l4.size());
      append(covered, l4);
      return internet_checksum(covered);
    }
    throw std::invalid_argument("a transport layer without an ip layer before it");
  }

  static Bytes tcp_options(Layer& layer) {
    Bytes options;
    if (auto mss = layer.number("mss")) {
      put16(options, 0x0204);
      put16(options, *mss);
    }
    if (auto scale = layer.number("wscale")) {
      put32(options, 0x01030300 | *scale);
    }
    append(options, hex_of(layer.value("options").value_or("")));
    while (options.size() % 4 != 0) put8(options, 0);
    return options;
  }
  static uint8_t tcp_flags(const std::string& word) {
    constexpr std::string_view kLetters = "FSRPAUEC";  // from bit 0 on (RFC 9293 §3.1)
    uint8_t flags = 0;
    if (word == "-") return flags;
    for (char letter : word) {
      size_t bit = kLetters.find(letter);
      if (bit == std::string_view::npos)
        throw std::invalid_argument("'" + word + "' aren't TCP flags; write letters of FSRPAUEC, or -");
      flags = static_cast<uint8_t>(flags | 1u << bit);
    }
    return flags;
  }

  Bytes tcp(Layer& layer, size_t i, const Bytes& payload) {
    auto [source, destination] = layer.ends();
    uint8_t flags = tcp_flags(layer.next("its flags"));
    Bytes options = tcp_options(layer), bytes;
    put16(bytes, number_of(source));
    put16(bytes, number_of(destination));
    put32(bytes, layer.number("seq", 0));
    put32(bytes, layer.number("ack", 0));
    put8(bytes, layer.number("offset", 5 + options.size() / 4) << 4);
    put8(bytes, flags);
    put16(bytes, layer.number("win", 65535));
    put32(bytes, layer.number("urgent", 0));
    append(bytes, options);
    append(bytes, payload);
    set16(bytes, 16, checksum_or(layer, transport_checksum(i, 6, bytes)));
    return bytes;
  }

  Bytes udp(Layer& layer, size_t i, const Bytes& payload) {
    auto [source, destination] = layer.ends();
    Bytes bytes;
    put16(bytes, number_of(source));
    put16(bytes, number_of(destination));
    put16(bytes, layer.number("len", 8 + payload.size()));
    put16(bytes, 0);
    append(bytes, payload);
    uint16_t right = transport_checksum(i, 17, bytes);
    set16(bytes, 6, checksum_or(layer, right == 0 ? 0xffff : right));
    return bytes;
  }

  static Bytes sctp(Layer& layer, const Bytes& payload) {
    auto [source, destination] = layer.ends();
    Bytes bytes;
    put16(bytes, number_of(source));
    put16(bytes, number_of(destination));
    put32(bytes, layer.number("tag", 0));
    put32(bytes, 0);
    append(bytes, payload);
    uint32_t sum = crc32c(bytes) ^ (layer.flag("bad-checksum") ? 1 : 0);
    for (int byte = 0; byte < 4; ++byte) bytes[8 + byte] = static_cast<uint8_t>(sum >> 8 * byte);
    return bytes;
  }

  Bytes with_icmp_checksum(Layer& layer, size_t i, bool v6, Bytes bytes) {
    set16(bytes, 2, checksum_or(layer, v6 ? transport_checksum(i, 58, bytes) : internet_checksum(bytes)));
    return bytes;
  }

  Bytes icmp(Layer& layer, size_t i, const Bytes& payload) {
    Bytes bytes;
    put8(bytes, number_of(layer.next("its type")));
    put8(bytes, number_of(layer.next("its code")));
    put16(bytes, 0);
    uint64_t rest = layer.number("id", 0) << 16 | layer.number("seq", 0);
    put32(bytes, layer.number("rest", layer.number("mtu", rest)));
    append(bytes, payload);
    return with_icmp_checksum(layer, i, layer.kind() == "icmp6", std::move(bytes));
  }

  Bytes neighbour(Layer& layer, size_t i, const Bytes& payload) {
    const std::string& kind = layer.kind();
    Bytes bytes;
    put8(bytes, kind == "rs" ? 133 : kind == "ra" ? 134 : kind == "ns" ? 135 : 136);
    put8(bytes, layer.number("code", 0));
    put16(bytes, 0);
    uint64_t flags = (layer.flag("router") ? 0x80000000 : 0) | (layer.flag("solicited") ? 0x40000000 : 0) |
                     (layer.flag("override") ? 0x20000000 : 0);
    put32(bytes, flags);
    if (kind == "ns" || kind == "na") append(bytes, address_of(layer.next("its target")).bytes);
    if (kind == "ra") bytes.resize(16);
    for (auto [name, type] : {std::pair("sll", 1), std::pair("tll", 2)})
      if (auto mac = layer.value(name)) {
        put8(bytes, static_cast<uint64_t>(type));
        put8(bytes, layer.number("option-len", 1));
        append(bytes, mac_of(*mac).bytes);
      }
    append(bytes, payload);
    return with_icmp_checksum(layer, i, true, std::move(bytes));
  }

  const LinkDefaults& defaults_;
  std::vector<Layer> layers_;
  std::vector<Addresses> addresses_;  // by layer
  size_t here_ = 0;                   // the layer that is being built
  MacAddress arp_source_, arp_destination_;
};

}  // namespace

MacAddress mac_for(const IpAddress& address) {
  auto& b = address.bytes;
  if (address.is_v4() && address.v4_host() == 0xffffffff) return kMacBroadcast;
  if (address.is_v4() && b[12] >> 4 == 14)
    return {{0x01, 0x00, 0x5e, static_cast<uint8_t>(b[13] & 0x7f), b[14], b[15]}};
  if (!address.is_v4() && b[0] == 0xff) return {{0x33, 0x33, b[12], b[13], b[14], b[15]}};
  return {{0x02, static_cast<uint8_t>(address.is_v4() ? 0 : 6), b[12], b[13], b[14], b[15]}};
}

static size_t network_at(const Bytes& frame) {
  size_t type = get16(frame, 12) == 0x8100 ? 16 : 12;
  return type + (get16(frame, type) == 0x8909 ? 10 : 2);
}
/// Behind the IP header and IPv4's options.
static size_t transport_at(const Bytes& frame) {
  size_t l3 = network_at(frame);
  return l3 + (frame[l3] >> 4 == 4 ? (frame[l3] & 15u) * size_t{4} : 40);
}

Bytes fragment_of(const Bytes& whole, size_t offset, size_t bytes, bool more, uint32_t id) {
  size_t l3 = network_at(whole), headers = transport_at(whole), payload = whole.size() - headers;
  bool v4 = whole[l3] >> 4 == 4;
  if (offset + bytes > payload) throw std::invalid_argument("a fragment beyond the packet's end");
  Bytes frame(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(headers));
  if (v4) {
    set16(frame, l3 + 2, static_cast<uint16_t>(headers - l3 + bytes));
    set16(frame, l3 + 6, static_cast<uint16_t>((more ? 0x2000 : 0) | offset / 8));
    set16(frame, l3 + 10, 0);
    set16(frame, l3 + 10, internet_checksum(std::span(frame).subspan(l3)));
  } else {
    set16(frame, l3 + 4, static_cast<uint16_t>(8 + bytes));
    uint8_t proto = std::exchange(frame[l3 + 6], uint8_t{44});
    put16(frame, uint64_t{proto} << 8);
    put16(frame, offset | (more ? 1 : 0));
    put32(frame, id);
  }
  auto at = whole.begin() + static_cast<ptrdiff_t>(headers + offset);
  frame.insert(frame.end(), at, at + static_cast<ptrdiff_t>(bytes));
  return frame;
}

/// The words of `fragment OFFSET BYTES`.
static Bytes fragment_of(const Bytes& whole, Layer& words) {
  size_t offset = number_of(words.next("its offset")), bytes = number_of(words.next("its bytes"));
  size_t to_the_end = offset + bytes + transport_at(whole);
  bool more = (to_the_end < whole.size() || words.flag("more")) && !words.flag("last");
  return fragment_of(whole, offset, bytes, more, static_cast<uint32_t>(words.number("id", 1)));
}

BuiltFrame build_frame(std::string_view text, const LinkDefaults& defaults) {
  auto parts = split_layers(text, " | ");
  BuiltFrame frame{FrameBuilder(parts[0], defaults).build(), 0};
  frame.unpadded = frame.bytes.size();
  for (size_t i = 1; i < parts.size(); ++i) {
    Layer change(parts[i]);
    if (change.kind() == "fragment") {
      frame.bytes = fragment_of(frame.bytes, change);
      frame.unpadded = frame.bytes.size();
      change.done();
      continue;
    }
    size_t count = number_of(change.next("its number"));
    if (change.kind() == "pad") {
      frame.bytes.resize(frame.bytes.size() + count, 0xee);
    } else if (change.kind() == "cut" && count <= frame.bytes.size()) {
      frame.bytes.resize(frame.bytes.size() - count);
      frame.unpadded = frame.bytes.size();
    } else {
      throw std::invalid_argument("after ' | ' come 'fragment', 'cut N' and 'pad N', not '" + parts[i] + "'");
    }
    change.done();
  }
  return frame;
}

}  // namespace bulkhead::test
