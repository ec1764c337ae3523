#include "base/address.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstdio>

namespace bulkhead {

IpAddress masked(const IpAddress& address, uint8_t bits) {
  IpAddress result;
  for (int i = 0; i < 16; ++i) {
    int kept = bits - 8 * i;
    if (kept >= 8) {
      result.bytes[i] = address.bytes[i];
    } else if (kept > 0) {
      result.bytes[i] = address.bytes[i] & static_cast<uint8_t>(0xff00 >> kept);
    }
  }
  return result;
}

bool IpAddress::is_routable_unicast() const {
  if (is_v4()) {
    uint8_t first = bytes[12];
    return first != 0 && first != 127 && first < 224 && !(first == 169 && bytes[13] == 254);
  }
  bool in_zeros = masked(*this, 96) == IpAddress{};  // unspecified, loopback, IPv4-compatible
  return !in_zeros && bytes[0] != 0xff && !is_ipv6_link_local();
}

bool Prefix::contains(const IpAddress& other) const {
  return masked(other, bits) == masked(address, bits);
}

static std::unexpected<Error> bad(std::string_view text, const char* wanted) {
  return fail(ErrorCode::kInvalid, "'" + std::string(text) + "' is not " + wanted);
}

Expected<IpAddress> parse_address(std::string_view text) {
  std::string copy(text);
  if (copy.find('\0') != std::string::npos) return bad("(with a NUL)", "an address");
  in_addr four;
  if (inet_pton(AF_INET, copy.c_str(), &four) == 1) return IpAddress::v4(ntohl(four.s_addr));
  in6_addr six;
  if (inet_pton(AF_INET6, copy.c_str(), &six) == 1) {
    IpAddress address = IpAddress::v6(&six);
    if (address.is_v4()) return bad(text, "an address in this form; write the IPv4 address itself");
    return address;
  }
  return bad(text, "an IPv4 or IPv6 address; write it like 10.1.0.5 or fd00::5");
}

static Expected<uint8_t> parse_length(std::string_view text, const IpAddress& address) {
  unsigned length = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  unsigned most = address.is_v4() ? 32 : 128;
  bool leading_zero = text.size() > 1 && text[0] == '0';
  if (error != std::errc{} || end != text.data() + text.size() || length > most || leading_zero)
    return bad(text, address.is_v4() ? "a prefix length from 0 to 32" : "a prefix length from 0 to 128");
  return static_cast<uint8_t>(address.is_v4() ? length + 96 : length);
}

Expected<Prefix> parse_interface_address(std::string_view text) {
  size_t slash = text.find('/');
  if (slash == std::string_view::npos) return bad(text, "ADDRESS/LENGTH; write it like 10.1.0.254/24");
  auto address = parse_address(text.substr(0, slash));
  if (!address) return std::unexpected(address.error());
  auto bits = parse_length(text.substr(slash + 1), *address);
  if (!bits) return std::unexpected(bits.error());
  return Prefix{*address, *bits};
}

Expected<Prefix> parse_prefix(std::string_view text) {
  if (text.find('/') == std::string_view::npos) {
    auto address = parse_address(text);
    if (!address) return std::unexpected(address.error());
    return Prefix{*address, 128};
  }
  auto prefix = parse_interface_address(text);
  if (!prefix) return prefix;
  Prefix right{masked(prefix->address, prefix->bits), prefix->bits};
  if (right != *prefix)
    return fail(ErrorCode::kInvalid,
                "'" + std::string(text) + "' has host bits set; write " + to_string(right));
  return right;
}

Expected<MacAddress> parse_mac(std::string_view text) {
  MacAddress mac;
  if (text.size() != 17) return bad(text, "a MAC address; write it like 02:00:00:00:00:01");
  for (size_t i = 0; i < 6; ++i) {
    const char* at = text.data() + 3 * i;
    auto [end, error] = std::from_chars(at, at + 2, mac.bytes[i], 16);
    if (error != std::errc{} || end != at + 2 || (i < 5 && at[2] != ':'))
      return bad(text, "a MAC address; write it like 02:00:00:00:00:01");
  }
  return mac;
}

std::string to_string(const IpAddress& address) {
  char buffer[INET6_ADDRSTRLEN];
  if (address.is_v4()) {
    inet_ntop(AF_INET, &address.bytes[12], buffer, sizeof buffer);
  } else {
    inet_ntop(AF_INET6, address.bytes.data(), buffer, sizeof buffer);
  }
  return buffer;
}

std::string to_string(const Prefix& prefix) {
  if (prefix.is_host()) return to_string(prefix.address);
  return to_string(prefix.address) + "/" + std::to_string(prefix.length());
}

std::string to_string(const MacAddress& mac) {
  char buffer[18];
  std::snprintf(buffer, sizeof buffer, "%02x:%02x:%02x:%02x:%02x:%02x", mac.bytes[0], mac.bytes[1],
                mac.bytes[2], mac.bytes[3], mac.bytes[4], mac.bytes[5]);
  return buffer;
}

}  // namespace bulkhead
