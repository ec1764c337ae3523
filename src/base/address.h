// IP addresses, prefixes and MAC addresses, with their text forms.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.h"

namespace bulkhead {

enum class Family : uint8_t { kIpv4 = 4, kIpv6 = 6 };

/// An IPv4 or IPv6 address, 16 bytes in network order. IPv4 stands as ::ffff:a.b.c.d, a form that is
/// always dropped on the wire (RFC 4942 §2.2), so that the two families never meet in one table.
struct IpAddress {
  std::array<uint8_t, 16> bytes{};

  static constexpr IpAddress v4(uint32_t host_order) {
    IpAddress a;
    a.bytes[10] = a.bytes[11] = 0xff;
    for (int i = 0; i < 4; ++i) a.bytes[12 + i] = static_cast<uint8_t>(host_order >> (24 - 8 * i));
    return a;
  }
  /// From the 16 bytes of an IPv6 header.
  static IpAddress v6(const void* network_order) {
    IpAddress a;
    std::memcpy(a.bytes.data(), network_order, 16);
    return a;
  }
  constexpr bool is_v4() const {
    for (int i = 0; i < 10; ++i)
      if (bytes[i] != 0) return false;
    return bytes[10] == 0xff && bytes[11] == 0xff;
  }
  constexpr Family family() const { return is_v4() ? Family::kIpv4 : Family::kIpv6; }
  /// The IPv4 address in host order; only where is_v4().
  constexpr uint32_t v4_host() const {
    return uint32_t{bytes[12]} << 24 | uint32_t{bytes[13]} << 16 | uint32_t{bytes[14]} << 8 | bytes[15];
  }
  /// Whether it is an IPv6 link-local unicast address (fe80::/10, RFC 4291 §2.5.6): one that is unique on its
  /// link only.
  constexpr bool is_ipv6_link_local() const { return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80; }
  /// Whether a host can have it as its own and be reached there from beyond its link: not "this network",
  /// loopback, link-local, multicast or reserved (RFC 6890 §2.2), nor an IPv6 form of an IPv4 address.
  bool is_routable_unicast() const;
  constexpr auto operator<=>(const IpAddress&) const = default;
};

/// An address block. `bits` counts in the 128-bit form: IPv4 /24 is 120.
struct Prefix {
  IpAddress address;
  uint8_t bits = 128;

  constexpr bool is_host() const { return bits == 128; }
  /// The length as people write it: 0-32 for IPv4, 0-128 for IPv6.
  constexpr uint8_t length() const {
    return address.is_v4() && bits >= 96 ? static_cast<uint8_t>(bits - 96) : bits;
  }
  bool contains(const IpAddress& other) const;
  constexpr auto operator<=>(const Prefix&) const = default;
};

/// `address` with all bits after the first `bits` cleared.
IpAddress masked(const IpAddress& address, uint8_t bits);

struct MacAddress {
  std::array<uint8_t, 6> bytes{};
  constexpr bool is_multicast() const { return (bytes[0] & 1) != 0; }
  constexpr bool is_zero() const { return *this == MacAddress{}; }
  constexpr auto operator<=>(const MacAddress&) const = default;
};
inline constexpr MacAddress kMacBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

/// Parses dotted-quad IPv4 or RFC 4291 §2.2 IPv6. IPv4-mapped text is refused, as is a zone ("%eth0").
Expected<IpAddress> parse_address(std::string_view text);
/// Parses ADDRESS or ADDRESS/LENGTH. Host bits that are set are an error that names the right prefix.
Expected<Prefix> parse_prefix(std::string_view text);
/// Parses ADDRESS/LENGTH of an interface: host bits may be set; `address` keeps them, `bits` is the length.
Expected<Prefix> parse_interface_address(std::string_view text);
/// Parses six hexadecimal bytes with colons.
Expected<MacAddress> parse_mac(std::string_view text);

std::string to_string(const IpAddress& address);  ///< RFC 5952
std::string to_string(const Prefix& prefix);      ///< a host without its length
std::string to_string(const MacAddress& mac);

}  // namespace bulkhead
