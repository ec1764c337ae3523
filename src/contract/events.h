// Flow events, from workers to the control plane: a ring for each worker in a memfd of its own. The worker
// writes records and `head`; the reader's `tail` lives on a page of its own that the reader can write, and is
// treated as hostile: masked, bounded, and a wrong one costs events, nothing else. A full ring loses events
// and counts them; never packets.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/address.h"
#include "base/drop_reason.h"
#include "base/tls_fault.h"
#include "base/types.h"
#include "policy/evaluate.h"

namespace bulkhead {

/// kVerified: a flow's TLS hellos are what policy requires.
enum class EventKind : uint8_t { kOpen = 1, kDeny, kRevoke, kClose, kAudit, kVerified };
enum class EndCause : uint8_t { kNone, kFin, kRst, kIdle, kRevoked, kReopened, kEvicted };

/// What a live flow is protected by, which the mode that policy asks for comes to between its ports.
enum class FlowProtection : uint8_t {
  kNone,      ///< nothing: policy lets it pass in clear
  kLocal,     ///< nothing, since it never leaves the gateway's own ground: `relay` between attached ports
  kEndToEnd,  ///< its ends' own TLS
  kRelay,     ///< the relay's
};

inline constexpr size_t kSniRoom = 91;

/// A live flow, or what is said of one that opened, was denied, was revoked or closed. Both directions: [0]
/// from the initiator, [1] from the responder.
struct FlowRecord {
  uint64_t flow_id;        ///< unique over the dataplane's life; 0 for a deny
  int64_t opened_boot_ns;  ///< BootTime
  int64_t time_boot_ns;    ///< BootTime of the event; of the last packet in a list of flows
  int64_t until_boot_ns;   ///< BootTime at which its permission ends; INT64_MAX: never
  uint64_t generation;     ///< of the decision
  uint64_t packets[2];
  uint64_t bytes[2];  ///< of IP, headers included
  IpAddress source, destination;
  uint16_t source_port, destination_port;          ///< ICMP: id and 0
  uint32_t source_identity, destination_identity;  ///< IdentityId
  uint32_t source_workload, destination_workload;  ///< Endpoint::workload
  uint32_t service;                                ///< ServiceKey
  uint32_t rule;                                   ///< RuleIndex in the image of `image_generation`
  uint32_t image_generation;                       ///< low 32 bits
  uint16_t zone;
  uint8_t in_port, out_port;  ///< PortId
  EventKind kind;
  uint8_t proto;        ///< IpProto
  DropReason reason;    ///< deny and revoke
  EndCause end;         ///< close and revoke
  uint8_t verdict;      ///< Verdict
  uint8_t tier;         ///< Tier
  uint8_t state;        ///< FlowState, for lists
  uint8_t source_from;  ///< IdentitySource
  uint8_t log;          ///< 1: the rule asks for its log
  uint8_t worker;
  uint8_t many_kinds;  ///< 1: a deny that stands for packets[0] of many kinds; of it only time and reason are
                       ///< known
  uint8_t mtls;        ///< MtlsMode of the decision
  uint8_t tls_verified;  ///< 1: both hellos said TLS 1.3
  uint16_t tls_suite;    ///< that the ServerHello chose; 0: not known
  TlsFault tls_fault;    ///< with mtls_required: why the hellos weren't good enough, where it was for them
  FlowProtection protection;  ///< of a flow
  uint8_t sni_bytes;          ///< of the ClientHello's server name, of which `sni` holds the first
  char sni[kSniRoom];
};
static_assert(sizeof(FlowRecord) == 256);

enum class FlowState : uint8_t {
  kOpening = 1,
  kHello,  ///< TCP: established, its TLS hellos not verified yet
  kEstablished,
  kClosing,
  kUdp,
  kIcmp,
  kOther
};

inline constexpr uint32_t kEventRingSlots = 16384;  ///< a power of two

/// The memfd of one worker: this header on a page of its own, then kEventRingSlots FlowRecord from
/// kEventRingData.
struct EventRingHeader {
  uint64_t magic;
  uint32_t slots;
  uint32_t record_bytes;
  alignas(64) std::atomic<uint64_t> head;  ///< records written; worker stores release, reader loads acquire
  alignas(64) std::atomic<uint64_t> lost;  ///< worker only
};
inline constexpr uint64_t kEventRingMagic = 0x324752564544484b;
inline constexpr size_t kEventRingData = 4096;
inline constexpr size_t kEventRingBytes = kEventRingData + kEventRingSlots * sizeof(FlowRecord);

/// The consumer's page: a memfd of its own that the reader may write. Reader stores release, worker loads
/// acquire.
struct EventRingTail {
  std::atomic<uint64_t> tail;  ///< records read
};

/// The worker's side. Thread: the worker.
class EventWriter {
 public:
  EventWriter() = default;
  EventWriter(EventRingHeader* ring, const EventRingTail* tail) : ring_(ring), tail_(tail) {}
  /// Copies the record into the ring; false, and counted in `lost`, when it is full or the reader's index
  /// makes no sense.
  bool write(const FlowRecord& record) noexcept;

 private:
  EventRingHeader* ring_ = nullptr;
  const EventRingTail* tail_ = nullptr;
};

/// The control plane's side. Thread: one reader.
class EventReader {
 public:
  EventReader() = default;
  EventReader(const EventRingHeader* ring, EventRingTail* tail) : ring_(ring), tail_(tail) {}
  /// Copies the oldest unread record; false when there is none.
  bool read(FlowRecord& record) noexcept;
  uint64_t lost() const noexcept { return ring_ ? ring_->lost.load(std::memory_order_relaxed) : 0; }

 private:
  const EventRingHeader* ring_ = nullptr;
  EventRingTail* tail_ = nullptr;
};

}  // namespace bulkhead
