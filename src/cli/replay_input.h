// The captures of a replay, merged by time, each packet on its port.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "cli/pcap_file.h"
#include "contract/settings.h"
#include "policy/endpoint_table.h"

namespace bulkhead {

/// `--in PORT=FILE` or `--in PORT+PORT=FILE`.
struct CaptureArgument {
  std::vector<PortId> ports;  ///< one, or two whose packets are told apart by their sources
  std::string path;
};
/// Errors: kInvalid for another form, and for ports that the configuration doesn't have, naming those it has.
Expected<CaptureArgument> parse_capture_argument(const std::string& text, const DataplaneSettings& settings);

struct InputPacket {
  WallTime time;
  uint64_t place;  ///< among all packets as they were read: tells ties apart
  PortId port;
  std::vector<std::byte> frame;
};

inline constexpr size_t kLongestFrame = 65'000;  ///< bytes; DPDK's buffers are of 64 KiB at most

struct ReplayInput {
  std::vector<InputPacket> packets;  ///< by time; ties in the order of the arguments, then of the file
  std::vector<std::string> warnings;
  size_t longest_frame = 0;
};

/// Reads all captures. `endpoints`: the policy's bindings, nullptr without policy; with the ports' `sources`
/// they tell where a packet of a capture of both directions came in. `macs`: the ports' own, by PortId: the
/// destination of frames whose Ethernet header is ours. A capture that ends inside a packet is read up to
/// there, with a warning. Errors: those of the captures; kInvalid for a frame over kLongestFrame.
Expected<ReplayInput> read_captures(const std::vector<CaptureArgument>& arguments,
                                    const DataplaneSettings& settings, const EndpointTable* endpoints);

}  // namespace bulkhead
