#include "cli/link_type.h"

#include <pcap/dlt.h>

#include <cstring>

#include "base/bytes.h"
#include "wire/ethernet.h"

namespace bulkhead {
namespace {

constexpr MacAddress kNoSender{{0x02, 0, 0, 0, 0xff, 0x01}};
constexpr uint16_t kArphrdEther = 1;

/// Linux cooked capture.
struct CookedHeader {
  Be16 packet_type;
  Be16 hardware_type;
  Be16 address_bytes;
  uint8_t address[8];
  Be16 protocol;
};
static_assert(sizeof(CookedHeader) == 16);

/// Linux cooked capture, version 2.
struct CookedHeader2 {
  Be16 protocol;
  Be16 reserved;
  Be32 interface;
  Be16 hardware_type;
  uint8_t packet_type;
  uint8_t address_bytes;
  uint8_t address[8];
};
static_assert(sizeof(CookedHeader2) == 20);

/// What stands before the payload: EtherType and sender, and how long it is there.
struct LinkHeader {
  size_t bytes = 0;
  uint16_t ether_type = 0;
  MacAddress sender = kNoSender;
};

/// From the IP version in the first payload byte; 0 for anything else.
uint16_t ether_type_of_ip(std::span<const std::byte> packet) {
  int version = packet.empty() ? 0 : static_cast<int>(packet[0]) >> 4;
  return static_cast<uint16_t>(version == 4   ? EtherType::kIpv4
                               : version == 6 ? EtherType::kIpv6
                                              : EtherType{0});
}

MacAddress sender_of(uint16_t hardware_type, size_t address_bytes, const uint8_t* address) {
  MacAddress mac = kNoSender;
  if (hardware_type == kArphrdEther && address_bytes == mac.bytes.size())
    std::memcpy(mac.bytes.data(), address, mac.bytes.size());
  return mac;
}

LinkHeader read_header(int link_type, std::span<const std::byte> frame) {
  switch (link_type) {
    case DLT_LINUX_SLL: {
      if (frame.size() < sizeof(CookedHeader)) return {};
      auto h = load<CookedHeader>(frame.data());
      return {sizeof h, h.protocol.host(),
              sender_of(h.hardware_type.host(), h.address_bytes.host(), h.address)};
    }
    case DLT_LINUX_SLL2: {
      if (frame.size() < sizeof(CookedHeader2)) return {};
      auto h = load<CookedHeader2>(frame.data());
      return {sizeof h, h.protocol.host(), sender_of(h.hardware_type.host(), h.address_bytes, h.address)};
    }
    case DLT_NULL:
    case DLT_LOOP:  // an address family whose number and byte order depend on the capturing system: the
                    // payload tells
      if (frame.size() < 4) return {};
      return {4, ether_type_of_ip(frame.subspan(4)), kNoSender};
    default:
      return {0, ether_type_of_ip(frame), kNoSender};
  }
}

}  // namespace

bool is_convertible(int link_type) {
  switch (link_type) {
    case DLT_LINUX_SLL:
    case DLT_LINUX_SLL2:
    case DLT_NULL:
    case DLT_LOOP:
    case DLT_RAW:
    case DLT_IPV4:
    case DLT_IPV6:
      return true;
    default:
      return false;
  }
}

std::vector<std::byte> to_ethernet(int link_type, std::span<const std::byte> frame) {
  LinkHeader link = read_header(link_type, frame);
  if (link.ether_type == 0) return {};
  EthernetHeader header{{}, link.sender, Be16(link.ether_type)};
  std::vector<std::byte> result(sizeof header);
  store(result.data(), header);
  std::span<const std::byte> payload = frame.subspan(link.bytes);
  result.insert(result.end(), payload.begin(), payload.end());
  return result;
}

}  // namespace bulkhead
