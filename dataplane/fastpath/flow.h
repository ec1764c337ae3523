// A flow: one entry for both directions. What every packet needs stands in one 64-byte line for IPv4 (two for
// IPv6); the rest in a cold record of 64 bytes beside it.
// The cold record is touched by a flow's first packet, when it is judged again, by each packet of TCP (its
// counters; UDP and others count in the hot line, where TCP keeps its windows), and at its end.
#pragma once

#include <cstdint>

#include "contract/events.h"
#include "dataplane/fastpath/packet.h"
#include "dataplane/fastpath/record_trace.h"
#include "policy/image.h"

namespace bulkhead {

/// Milliseconds since the pipeline's epoch, modulo 2^32; compared by signed difference.
using Ticks = uint32_t;
constexpr bool is_due(Ticks deadline, Ticks now) {
  return static_cast<int32_t>(now - deadline) >= 0;
}
/// The farthest that a deadline may be set ahead: a flow is judged again at least this often (12 days).
inline constexpr Ticks kFarthest = 1u << 30;

/// Both directions' sequence spaces (RFC 9293 §3.4), as Guido van Rooij's "Real Stateful TCP Packet Filtering
/// in IP Filter" keeps them. [0] is what the initiator sends. 28 bytes.
struct TcpTrack {
  uint32_t end[2];      ///< the highest sequence number sent, plus one
  uint32_t max_end[2];  ///< the highest that the other side has allowed
  uint32_t acked[2];    ///< the highest that the other side has acknowledged
  uint16_t window[2];   ///< the largest window that this side has offered, in units of its scale; 0: nothing
                        ///< seen of it yet
};

/// Packets and bytes since they were last added to the cold record, by direction.
struct FlowCounts {
  uint32_t packets[2];
  uint32_t bytes[2];
};

enum FlowFlag : uint8_t {
  kFlowInitiatorHigh = 1,       ///< the initiator is the key's high end
  kFlowResponderUnchecked = 2,  ///< the responder's binding wasn't checked since the flow was last judged
  kFlowFinInitiator = 4,
  kFlowFinResponder = 8,
  kFlowSenderBound =
      16,             ///< an end's binding names a MAC, or its port believes tags: every packet is checked
  kFlowRevoked = 32,  ///< lost its permission while idle; its next packet is answered and ends it
  kFlowSynAck = 64,   ///< TCP, opening: the responder has shown its sequence numbers
  kFlowEnds = 128,    ///< `deadline` is one that policy set, not just the farthest
};

/// More of a flow, which only packets out of the ordinary ask for.
enum FlowMark : uint8_t {
  kFlowCrossed = 1,    ///< TCP: both ends sent a SYN before an answer (RFC 9293 §3.5)
  kFlowRelayNear = 2,  ///< goes through the mTLS relay: the connection between the initiator and the relay
  kFlowRelayFar = 4,   ///< the one between the relay and the responder; part of the near flow
  kFlowReset = 8,      ///< of the relay's: this connection was reset
  kFlowAwaited = 16,   ///< far: the relay hasn't begun it yet
};

/// What every packet of a flow reads, key excepted. Owner: the worker.
struct FlowHot {
  Ticks last;        ///< of the last packet
  Ticks deadline;    ///< to be judged again from here on
  uint32_t checked;  ///< low half of the generation that it was last found good under
  union {
    TcpTrack tcp;
    FlowCounts counts;  ///< all but TCP
  };
  FlowState state;
  uint8_t flags;     ///< FlowFlag
  uint8_t scales;    ///< TCP window scales: low nibble the initiator's; 15: not offered
  uint8_t ports[2];  ///< PortId that each direction's packets arrive on; [1] is where the initiator's leave
  uint8_t
      shifts[2];  ///< the scales in force by direction: 0 until both ends have offered theirs (RFC 7323 §2.2)
  uint8_t marks;  ///< FlowMark
};
static_assert(sizeof(FlowHot) == 48);

/// The hot line: the key first, so that IPv4's is aligned for one 16-byte compare.
template <class Key>
struct alignas(64) FlowEntry {
  Key key;
  FlowHot hot;
};
/// IPv6 has room for what only it needs.
template <>
struct alignas(64) FlowEntry<FlowKey6> {
  FlowKey6 key;
  FlowHot hot;
  MacAddress initiator_mac;  ///< of a link-local initiator, which is known by it alone; else 0
};
static_assert(sizeof(FlowEntry<FlowKey4>) == 64 && sizeof(FlowEntry<FlowKey6>) == 128);

/// Packets and bytes by direction.
struct FlowTotals {
  uint64_t packets[2];
  uint64_t bytes[2];
};

/// The link addresses of one end's frames: its own, and the one that it writes to.
struct LinkEnds {
  MacAddress own, peer;
};

/// What a connection through the relay needs beyond its two flows. What comes from the relay has lost its
/// link header: wire mode puts it back. Each end is believed only about itself: the one's frames say nothing
/// of where to the other's go.
struct RelayLeg {
  uint32_t near;                  ///< slot of the near flow
  uint16_t vlan;                  ///< of the connection's frames; 0: untagged
  LinkEnds initiator, responder;  ///< as their frames had them last; the responder's before its first: as the
                                  ///< initiator's had it
};

struct FlowBirth {
  Ticks at;
  uint32_t serial;  ///< flows of this worker are numbered, from 1
  bool operator==(const FlowBirth&) const = default;
};

/// The rest of a flow. Owner: the worker.
struct alignas(64) FlowCold {
  union {
    FlowTotals total;
    RelayLeg relay;  ///< of a far flow, which nobody counts
  };
  uint32_t rule;                 ///< RuleIndex in the image that it was judged under last
  uint32_t image_generation;     ///< low half: that image's
  uint32_t source, destination;  ///< IdentityId
  uint32_t next;  ///< in the free list; while it is half open: its place in HalfOpenFlows; verified: that of
                  ///< its server name in NameStore, or kNoIndex
  union {
    FlowBirth birth;
    RecordTrace trace;  ///< of a far flow: what leaves for the uncontrolled port, of either flow of the pair
  };
  Tier tier;
  uint8_t source_from : 2;  ///< IdentitySource
  uint8_t mtls : 2;         ///< MtlsMode of the decision
  uint8_t log : 1;          ///< the rule asks for its log
  uint8_t hellos : 1;       ///< nothing but TLS may pass: the ends' own
  uint8_t verified : 1;     ///< its TLS hellos were good once, under whatever policy
  uint8_t tls;              ///< verified: its suite's low byte (0x13xx); else TlsFault of one that is cut
  DropReason revoked_for;   ///< with kFlowRevoked: why
};
static_assert(sizeof(FlowCold) == 64);

}  // namespace bulkhead
