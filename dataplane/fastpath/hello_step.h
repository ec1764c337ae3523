// Flows that policy lets pass as TLS 1.3 only: nothing but its two hellos passes until they are verified.
//
// Nothing is held. Of each direction the next bytes in order pass as long as they are a hello; others wait
// for their sender to send them again. What was read is kept until its receiver has acknowledged it: the same
// bytes may come again, others not.
#pragma once

#include <string_view>

#include "dataplane/fastpath/flow_step.h"

namespace bulkhead {

/// step_tcp() of a flow that needs_hellos(). Beyond its errors: mtls_required for data that isn't the next of
/// a hello, which ends the flow, and for data that may not pass now: out of order, different from what passed
/// before, with a SYN or RST, in IP fragments; the flow lives on.
template <class Key>
bool step_hello(PipelineState& s, const PacketRef& p, const Key& key, uint32_t slot, unsigned direction,
                const Moment& m) noexcept;

/// The server name that a flow's ClientHello had.
struct ServerName {
  bool known;  ///< it has been heard; or it is forgotten, which is as if it had none
  std::string_view text;
};
ServerName server_name_of(const PipelineState& s, const FlowHot& hot, const FlowCold& cold) noexcept;

/// Whether a live flow may go on under a decision that allows it with TLS of its ends' own: mtls_required
/// where it was neither verified nor is being read, or has a server name that isn't admitted. Output:
/// `flow.tls` says which.
DropReason judge_tls(FlowCold& flow, const ServerName& name, const Decision& decision) noexcept;

/// The end of reading: a flow whose hellos matter no more, or have no way to.
template <class Key>
void stop_reading(PipelineState& s, uint32_t slot) noexcept;

}  // namespace bulkhead
