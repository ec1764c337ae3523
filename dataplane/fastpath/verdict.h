// The pipeline's word on one packet.
#pragma once

#include <cstdint>

#include "base/drop_reason.h"
#include "base/types.h"
#include "policy/evaluate.h"

namespace bulkhead {

/// What became of a packet; `reason` counts only where it was dropped (or rejected).
enum class Fate : uint8_t { kForward, kDrop, kReject, kConsume, kHold, kHandOff, kRelay };
/// How the packet relates to a flow.
enum class FlowRelation : uint8_t { kNone, kNew, kEstablished, kRelated };

/// The pipeline's word on one packet, for replay, traces and tests. Valid from run() until the next run().
struct PacketVerdict {
  Fate fate;
  DropReason reason;  ///< kNone unless dropped or rejected
  FlowRelation flow;
  PortId out;  ///< kForward and kRelay: the port; else kPortNone
  RuleIndex rule;
  uint8_t tier;         ///< Tier
  uint8_t source_from;  ///< IdentitySource
  IdentityId source, destination;
  uint32_t service;  ///< ServiceKey; 0: none could be read
};

/// Of a packet that nothing is known of yet.
inline constexpr PacketVerdict kNotJudged{Fate::kDrop,
                                          DropReason::kNone,
                                          FlowRelation::kNone,
                                          kPortNone,
                                          kRuleNone,
                                          static_cast<uint8_t>(Tier::kDefault),
                                          static_cast<uint8_t>(IdentitySource::kNone),
                                          kIdentityUnknown,
                                          kIdentityUnknown,
                                          0};

}  // namespace bulkhead
