// What the dataplane and the relay say to each other: datagrams on relay0, the one link between them, among
// the TCP packets that the dataplane steers in there. Same host, same build: host byte order; `version` and
// the length refuse everything else.
//
//   dataplane -> relay   RelayAnnouncement, before the SYN of each flow: which flow comes, and what is to be
//   done relay -> dataplane   RelayHeartbeat, every kRelayHeartbeatInterval
//
// The link. Frames into relay0 are addressed to kRelayMac; those out of it are, too, and come from it: relay0
// has that address, resolves no neighbours (IFF_NOARP) and needs none. A flow from client C to server S
// crosses it as
//
//   into relay0    C -> S from the client       S -> C from the server
//   out of relay0  C -> S towards the server    S -> C towards the client
//
// with the real addresses and ports of both, and its sequence numbers are of two TCP connections, one on each
// side. The relay answers nothing else that comes in.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/address.h"

namespace bulkhead {

inline constexpr uint32_t kRelayFlowVersion = 1;
inline constexpr const char* kRelayInterface = "relay0";
inline constexpr MacAddress kRelayMac{{0x02, 0x42, 0x48, 0x00, 0x00, 0x01}};
inline constexpr IpAddress kRelayDataplaneAddress = IpAddress::v4(0xa9fefe01);  ///< 169.254.254.1
inline constexpr IpAddress kRelayAddress = IpAddress::v4(0xa9fefe02);           ///< 169.254.254.2
inline constexpr uint16_t kRelayPort = 4790;  ///< UDP, source and destination, both ways

inline constexpr auto kRelayHeartbeatInterval = std::chrono::milliseconds(50);
inline constexpr auto kRelaySilence =
    std::chrono::milliseconds(250);  ///< after which the relay counts as gone
/// How long an announcement waits for its connection. The dataplane says it anew with each SYN.
inline constexpr auto kRelayAnnouncementLife = std::chrono::seconds(30);

/// What the relay does for a flow.
enum class RelayRole : uint8_t {
  kOriginate = 1,  ///< the client speaks plain; the relay is the TLS client towards the server
  kTerminate,      ///< the relay is the TLS server towards the client; the server is spoken to plain
};
inline constexpr size_t kRelayRoleCount = 2;
constexpr size_t index_of(RelayRole role) {
  return static_cast<size_t>(role) - 1;
}

/// A flow that the dataplane is about to steer. It replaces an earlier one of the same ends, and is used
/// once: a connection without one is reset.
struct RelayAnnouncement {
  uint32_t version;           ///< kRelayFlowVersion
  uint32_t bytes;             ///< sizeof(RelayAnnouncement)
  uint64_t flow_id;           ///< FlowRecord::flow_id
  uint64_t image_generation;  ///< what the segments' tags and the workloads' numbers belong to
  IpAddress client, server;   ///< both of one family
  uint16_t client_port, server_port;
  uint16_t source_tag, destination_tag;            ///< SegmentTag of the client and the server
  uint32_t source_workload, destination_workload;  ///< Endpoint::workload; 0: none
  RelayRole role;
  uint8_t reserved[7];
};
static_assert(sizeof(RelayAnnouncement) == 80);

enum class RelayState : uint8_t {
  kStarting = 1,  ///< has no identities or no SVIDs yet: every connection would be reset
  kReady,
  kDraining,  ///< serves the connections that it has, and takes no other
};

struct RelayHeartbeat {
  uint32_t version;  ///< kRelayFlowVersion
  uint32_t bytes;    ///< sizeof(RelayHeartbeat)
  uint64_t live;     ///< connections
  RelayState state;
  uint8_t reserved[7];
};
static_assert(sizeof(RelayHeartbeat) == 24);

/// With version and bytes filled in; the rest is 0.
RelayAnnouncement make_relay_announcement() noexcept;
RelayHeartbeat make_relay_heartbeat() noexcept;

/// The datagram's payload as what it must be; nothing where its length, version, enums or reserved bytes are
/// wrong, or an announcement's ends are of two families or have port 0.
std::optional<RelayAnnouncement> read_relay_announcement(std::span<const std::byte> payload) noexcept;
std::optional<RelayHeartbeat> read_relay_heartbeat(std::span<const std::byte> payload) noexcept;

}  // namespace bulkhead
