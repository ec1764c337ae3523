// Frames of other link types as Ethernet frames.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace bulkhead {

/// Whether frames of this libpcap link type (DLT_*) can be made into Ethernet frames.
bool is_convertible(int link_type);

/// The frame with an Ethernet header in place of its own: EtherType from what it carries, the sender's MAC
/// where the capture has it, else 02:00:00:00:ff:01; destination MAC all zero. A frame too short for its link
/// header stays as an empty frame, which the pipeline drops as truncated. Source:
/// https://www.tcpdump.org/linktypes.html (LINUX_SLL, LINUX_SLL2, NULL, LOOP, RAW, IPV4, IPV6).
std::vector<std::byte> to_ethernet(int link_type, std::span<const std::byte> frame);

}  // namespace bulkhead
