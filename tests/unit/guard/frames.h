// Ethernet frames for the guard's tests, from the addresses as people write them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/check.h"
#include "base/types.h"

namespace bulkhead::test {

using Frame = std::vector<uint8_t>;

inline constexpr std::string_view kGatewayMac = "02:00:00:00:00:0a";   ///< of the guarded interface
inline constexpr std::string_view kWorkloadMac = "02:00:00:00:00:05";  ///< of who sends

inline IpAddress ip(std::string_view text) {
  const Expected<IpAddress> address = parse_address(text);
  BULKHEAD_CHECK(address.has_value());
  return *address;
}

inline void append(Frame& frame, std::initializer_list<int> bytes) {
  for (const int byte : bytes) frame.push_back(static_cast<uint8_t>(byte));
}
inline void append16(Frame& frame, unsigned value) {
  append(frame, {static_cast<int>(value >> 8), static_cast<int>(value & 0xff)});
}
inline void append(Frame& frame, const Frame& more) {
  frame.insert(frame.end(), more.begin(), more.end());
}
inline void append_mac(Frame& frame, std::string_view text) {
  const Expected<MacAddress> mac = parse_mac(text);
  BULKHEAD_CHECK(mac.has_value());
  frame.insert(frame.end(), mac->bytes.begin(), mac->bytes.end());
}
/// 4 bytes for IPv4, 16 for IPv6.
inline void append_ip(Frame& frame, std::string_view text) {
  const IpAddress address = ip(text);
  frame.insert(frame.end(), address.bytes.begin() + (address.is_v4() ? 12 : 0), address.bytes.end());
}

/// The Internet checksum (RFC 1071) of `bytes`, whose own checksum field is zero.
inline uint16_t checksum(const Frame& bytes) {
  uint32_t sum = 0;
  for (size_t at = 0; at < bytes.size(); ++at) sum += at % 2 == 0 ? uint32_t{bytes[at]} << 8 : bytes[at];
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}
inline void set16(Frame& frame, size_t at, uint16_t value) {
  frame[at] = static_cast<uint8_t>(value >> 8);
  frame[at + 1] = static_cast<uint8_t>(value & 0xff);
}

inline Frame ethernet(std::string_view to, EtherType type, const Frame& payload) {
  Frame frame;
  append_mac(frame, to);
  append_mac(frame, kWorkloadMac);
  append16(frame, static_cast<unsigned>(type));
  append(frame, payload);
  return frame;
}

/// The same frame with an 802.1Q tag.
inline Frame tagged(Frame frame, uint16_t vlan) {
  Frame tag;
  append16(tag, static_cast<unsigned>(EtherType::kVlan));
  append16(tag, vlan);
  frame.insert(frame.begin() + 12, tag.begin(), tag.end());
  return frame;
}

inline Frame arp_request(std::string_view to, std::string_view sender, std::string_view target) {
  Frame arp;
  append(arp, {0, 1, 8, 0, 6, 4, 0, 1});
  append_mac(arp, kWorkloadMac);
  append_ip(arp, sender);
  append(arp, {0, 0, 0, 0, 0, 0});
  append_ip(arp, target);
  return ethernet(to, EtherType::kArp, arp);
}

struct Ipv4 {
  std::string_view to_mac = kGatewayMac;
  std::string_view from = "10.1.0.5";
  std::string_view to;
  IpProto protocol = IpProto::kUdp;
  Frame options = {};  ///< a multiple of 4 bytes
  Frame payload = Frame(8, 0);
};
inline Frame ipv4(const Ipv4& packet) {
  Frame header;
  const size_t header_bytes = 20 + packet.options.size();
  append(header, {0x40 | static_cast<int>(header_bytes / 4), 0});
  append16(header, static_cast<unsigned>(header_bytes + packet.payload.size()));
  append(header, {0, 1, 0, 0, 64, static_cast<int>(packet.protocol), 0, 0});
  append_ip(header, packet.from);
  append_ip(header, packet.to);
  append(header, packet.options);
  set16(header, 10, checksum(header));
  append(header, packet.payload);
  return ethernet(packet.to_mac, EtherType::kIpv4, header);
}

/// An echo request (RFC 792) with 8 bytes of data.
inline Frame ping(std::string_view to) {
  Frame icmp;
  append(icmp, {8, 0, 0, 0, 0x12, 0x34, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8});
  set16(icmp, 2, checksum(icmp));
  return ipv4({.to = to, .protocol = IpProto::kIcmp, .payload = icmp});
}

struct Ipv6 {
  std::string_view to_mac = kGatewayMac;
  std::string_view from = "fd00:1::5";
  std::string_view to;
  IpProto next = IpProto::kUdp;
  Frame payload = Frame(8, 0);
};
inline Frame ipv6(const Ipv6& packet) {
  Frame header;
  append(header, {0x60, 0, 0, 0});
  append16(header, static_cast<unsigned>(packet.payload.size()));
  append(header, {static_cast<int>(packet.next), 255});
  append_ip(header, packet.from);
  append_ip(header, packet.to);
  append(header, packet.payload);
  return ethernet(packet.to_mac, EtherType::kIpv6, header);
}

struct NeighbourMessage {
  int type = 135;  ///< 135 solicitation, 136 advertisement (RFC 4861 §4.3, §4.4)
  std::string_view to_mac;
  std::string_view to;
  std::string_view target;
};
inline Frame neighbour_message(const NeighbourMessage& message) {
  constexpr std::string_view kFrom = "fd00:1::5";
  Frame icmp;
  append(icmp, {message.type, 0, 0, 0, 0, 0, 0, 0});
  append_ip(icmp, message.target);
  append(icmp, {message.type == 135 ? 1 : 2, 1});  // the sender's link-layer address, or the target's
  append_mac(icmp, kWorkloadMac);

  Frame pseudo_header;  // RFC 8200 §8.1
  append_ip(pseudo_header, kFrom);
  append_ip(pseudo_header, message.to);
  append(pseudo_header,
         {0, 0, 0, static_cast<int>(icmp.size()), 0, 0, 0, static_cast<int>(IpProto::kIcmpv6)});
  append(pseudo_header, icmp);
  set16(icmp, 2, checksum(pseudo_header));
  return ipv6(
      {.to_mac = message.to_mac, .from = kFrom, .to = message.to, .next = IpProto::kIcmpv6, .payload = icmp});
}

}  // namespace bulkhead::test
