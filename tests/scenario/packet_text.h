// Packets as text, readable in review:
//
//   eth 02:00:00:00:00:05 > 02:00:00:00:00:09 / vlan 20 / ip 10.1.0.5 > 10.2.0.9 ttl 64 / tcp 1000 > 80 S seq
//   100 / text "hello"
//
// Layers are joined by " / "; what isn't written gets the value that makes the packet right: MACs from the
// addresses, protocol numbers from the next layer, lengths and checksums from the content. Every one can be
// written to make one thing wrong. tests/scenario/README.md lists the words.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/address.h"
#include "wire_bytes.h"

namespace bulkhead::test {

/// What stands for an absent `eth` layer; by default both MACs come from the addresses.
struct LinkDefaults {
  std::optional<MacAddress> source, destination;  ///< groups' MACs stay as they are
};

struct BuiltFrame {
  Bytes bytes;
  size_t unpadded = 0;  ///< bytes before `pad`
};

/// Errors: throws std::invalid_argument that says what in the text isn't understood.
BuiltFrame build_frame(std::string_view text, const LinkDefaults& defaults = {});

/// A fragment of a frame's IP packet, with its link header and options. `id`: of IPv6, whose fragment header
/// stands right behind the IP header; IPv4's is the frame's.
/// Errors: throws std::invalid_argument where the packet is shorter.
Bytes fragment_of(const Bytes& whole, size_t offset, size_t bytes, bool more, uint32_t id);

/// The MAC that an address gets where none is written: 02:00 and the four bytes of IPv4, 02:06 and the last
/// four of IPv6; the group's own for multicast (RFC 1112 §6.4, RFC 2464 §7) and broadcast.
MacAddress mac_for(const IpAddress& address);

}  // namespace bulkhead::test
