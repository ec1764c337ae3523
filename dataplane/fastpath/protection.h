// What the mTLS mode of a policy comes to for a connection between two ports: whether it may begin, and
// whether it may go on.
#pragma once

#include "dataplane/fastpath/flow_step.h"
#include "policy/evaluate.h"

namespace bulkhead {

enum class Protection : uint8_t {
  kNone,    ///< in clear
  kHellos,  ///< TLS 1.3 between its ends: hello_step.h
  kRelay,   ///< the mTLS relay has it: relayed.h
};

/// `relay` is in clear between two attached ports, which is the gateway's own link, and TLS of the ends' own
/// where neither is a workload's.
Protection protection_between(const PipelineState& s, MtlsMode mode, uint8_t in, uint8_t out) noexcept;

/// Why a flow that policy allows with `mode` may not begin with this packet, kNone else: mtls_required where
/// it isn't TCP, has data before any hello, comes from a link-local address, or its answers would leave by
/// another kind of port than it came in on; relay_unavailable.
DropReason may_begin(const PipelineState& s, MtlsMode mode, const PacketRef& p, const IpAddress& initiator,
                     PortId out, const Moment& m) noexcept;

/// Whether a live flow has what a mode asks for that it may not have been opened under.
DropReason still_protected(const PipelineState& s, MtlsMode mode, const FlowHot& flow) noexcept;

/// The reason to drop a packet that has no flow, and so nothing that protects it: kNone where policy allows
/// it so. Where TLS is required end to end a TCP segment without data may pass.
DropReason reason_without_flow(const Decision& decision, const PacketRef& p) noexcept;

}  // namespace bulkhead
