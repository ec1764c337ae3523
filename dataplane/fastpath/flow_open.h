// The verdict on a flow: when its first packet comes, and again when what it was allowed by may have changed.
#pragma once

#include "dataplane/fastpath/flow_step.h"

namespace bulkhead {

/// A packet without a flow: judged, and either dropped (with an answer, where policy says so) or sent on with
/// a new flow.
template <class Key>
void open_flow(PipelineState& s, const PacketRef& p, const Key& key, const Moment& m) noexcept;

/// Whether a packet could open a flow of its own; counted as a judgement, nothing else happens.
template <class Key>
bool may_open(PipelineState& s, const PacketRef& p, const Key& key, const Moment& m) noexcept;

/// Judges a live flow anew, endpoints and policy. Updates the flow and returns kNone, or returns why it may
/// not go on: identity_changed where policy would allow it, but not as the flow that it was.
template <class Key>
DropReason judge_flow(PipelineState& s, uint32_t slot, const FlowAddresses& a, const Moment& m) noexcept;

/// A decision's drop reason: kNone for an allow, whatever protection it asks for.
DropReason verdict_reason(const Decision& decision) noexcept;

/// Evaluates what a live flow is allowed by. There is no packet to read a MAC from: a link-local initiator's
/// is kept with the flow; for others the binding's own stands in. `server_name`: as evaluate()'s.
template <class Key>
Evaluation evaluate_flow(PipelineState& s, uint32_t slot, const FlowAddresses& a,
                         const std::string_view* server_name, const Moment& m) noexcept;

/// Whether a denied packet's sender is told: `on_deny: reject`, or `on_implicit_deny: reject` where no rule
/// decided.
bool is_answered(const PipelineState& s, const Evaluation& e, DropReason reason) noexcept;

/// When a flow must be judged again, in the pipeline's milliseconds.
Ticks deadline_ticks(const PipelineState& s, BootTime next_change, const Moment& m) noexcept;

/// A denied packet's event, and its rule's hits.
void note_denied(PipelineState& s, const PacketRef& p, const IpAddress& source, const IpAddress& destination,
                 const Evaluation& e, DropReason reason, const Moment& m) noexcept;

}  // namespace bulkhead
