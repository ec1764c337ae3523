// What crosses the SEQPACKET socket between the control plane and the dataplane. One message is one packet: a
// MessageHeader, then the fixed struct of its type; memfds ride along as SCM_RIGHTS. Same host, same build:
// host byte order; `version` refuses everything else. Nothing here is trusted: lengths, counts and fds are
// checked by decode_*.
//
//   control plane -> dataplane        dataplane -> control plane
//   Hello                             Welcome (+ fds: counters, then per worker: ring, ring's consumer page;
//   then
//                                     the rule hits of the image in force, if it has rules) or Refused
//   Publish (+ fds: image?, batch?)   Accepted (every worker enforces it) or Refused (nothing changed)
//   ListFlows                         FlowPage (+ fd: FlowRecord[])
//   Shutdown                          PortEvent
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/types.h"
#include "policy/endpoint_table.h"

namespace bulkhead {

inline constexpr uint32_t kContractVersion = 2;
inline constexpr size_t kMaxMessageBytes = 8192;
inline constexpr uint64_t kMaxImageBytes = uint64_t{1} << 30;
inline constexpr uint64_t kMaxBatchCount = uint64_t{1} << 24;
inline constexpr uint64_t kMaxFlowPage = 65536;  ///< flows in one answer to ListFlows

enum class MessageType : uint32_t {
  kHello = 1,
  kWelcome,
  kPublish,
  kAccepted,
  kRefused,
  kListFlows,
  kFlowPage,
  kPortEvent,
  kShutdown,

  kRelayWelcome = 32,  // contract/relay_messages.h
  kPublishIdentities,
  kRelayDrain,
  kConnectionProof,
  kRelayCounters,
  kPublishSvids,
};

struct MessageHeader {
  uint32_t version;  ///< kContractVersion
  MessageType type;
  uint32_t bytes;  ///< of the whole message, this header included
  uint32_t reserved;
};

/// First message of a control plane that attaches.
struct Hello {
  MessageHeader header;
  uint64_t pid;
};

/// The dataplane's answer: what it is and what it enforces now.
struct Welcome {
  MessageHeader header;
  uint64_t pid;
  uint64_t generation;        ///< last published to workers; 0: none, nothing is forwarded
  uint64_t image_generation;  ///< the one whose image is in force; 0: none
  uint64_t image_checksum;    ///< of that image, so that a new control plane can tell whether it is its own
  uint64_t endpoint_count;
  uint32_t worker_count;
  uint32_t port_count;
  uint64_t max_flows;
  uint64_t started_boot_ns;  ///< BootTime
  uint64_t rule_hits_count;  ///< rules of that image; 0: no fd for their hits
  char gateway[64];          ///< name, NUL-terminated
};

/// Asks the dataplane to enforce: a new image, a batch of endpoint changes, or both at once, all or nothing.
struct Publish {
  MessageHeader header;
  uint64_t generation;             ///< greater than any before
  uint64_t base_image_generation;  ///< without an image: the image that the batch is made for
  uint64_t image_bytes;            ///< 0: no image; else the first fd, a memfd sealed against change
  uint64_t batch_count;            ///< EndpointChange records; 0: none; else the next fd, sealed as well
  uint32_t replace_endpoints;      ///< 1: the table is emptied first, the batch is all of it
  uint32_t reserved;
};

enum class ChangeKind : uint8_t { kPut = 1, kRemove = 2 };

/// One change of an endpoint batch, in order. For kRemove only address and bits count.
struct EndpointChange {
  Endpoint endpoint;
  ChangeKind kind;
  uint8_t reserved[7];
};
static_assert(sizeof(EndpointChange) == 48);

/// Every worker has passed a quiescent point since `generation` was published.
struct Accepted {
  MessageHeader header;
  uint64_t generation;
  uint64_t checked_ns;       ///< spent copying and checking
  uint64_t enforced_ns;      ///< from the message's arrival until the last worker was quiescent
  uint64_t rule_hits_count;  ///< with a new image: the attached fd holds this many RuleHits for each worker,
                             ///< worker after worker
};

/// What was published changes nothing, and why.
struct Refused {
  MessageHeader header;
  uint64_t generation;
  ErrorCode code;
  char reason[512];  ///< NUL-terminated
};

/// Asks for the flows that are live.
struct ListFlows {
  MessageHeader header;
  uint64_t request;  ///< echoed in the answer
  uint64_t limit;    ///< at most this many, and at most kMaxFlowPage
};

/// The answer: `count` FlowRecord in the attached sealed memfd (none attached where count is 0).
struct FlowPage {
  MessageHeader header;
  uint64_t request;
  uint64_t count;
  uint64_t total;  ///< live flows in all
};

/// A port came or went.
struct PortEvent {
  MessageHeader header;
  uint32_t port;
  uint32_t up;
};

struct Shutdown {
  MessageHeader header;
};

/// A message of this type with its header filled in.
template <class Message>
Message make_message(MessageType type) {
  Message m{};
  m.header = {kContractVersion, type, static_cast<uint32_t>(sizeof(Message)), 0};
  return m;
}

/// The header of a packet as received. Errors: shorter than a header, another version, `bytes` that isn't the
/// packet's length, a type that doesn't exist, a length that isn't that type's (a ConnectionProof has its
/// texts behind it: less than its least).
Expected<MessageHeader> decode_header(std::span<const std::byte> packet);

/// The packet as a message of `type`; its text fields are terminated, its enums, flags and counts in range
/// afterwards.
template <class Message>
Expected<Message> decode_message(std::span<const std::byte> packet, MessageType type);

}  // namespace bulkhead
