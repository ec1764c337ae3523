// The one place that judges. The dataplane, explain, test and replay all call what is here, and precedence is
// documented here and nowhere else:
//
//   1. containment: an end in quarantine denies, whatever rules say;
//   2. then tiers guardrail, segment, baseline: the first in which a rule matches decides;
//   3. within a tier deny beats ask, ask beats allow;
//   4. of several allows: the strictest mTLS mode of them, until the last of them ends, and the rule reported
//      is the first (by file name, then position); of several denies or asks the first is reported. Where the
//      mode is end_to_end, a server name is admitted by any of the allows that ask for it: one without names
//      admits every name, and none;
//   5. else the implicit deny.
//
// A rule holds from its `after` until its `until`; a rule in audit mode decides nothing.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/address.h"
#include "base/clock.h"
#include "base/drop_reason.h"
#include "base/service.h"
#include "base/types.h"
#include "policy/endpoint_table.h"
#include "policy/image_view.h"

namespace bulkhead {

enum class Verdict : uint8_t { kDeny, kAsk, kAllow };

/// What was decided, and until when it stands.
struct Decision {
  Verdict verdict = Verdict::kDeny;
  DropReason reason = DropReason::k_policy_denied;  ///< kNone for an allow; for an ask kNone too
  bool reject = false;  ///< a deny that answers (an explicit one; the implicit deny's way is the gateway's
                        ///< configuration)
  bool log = false;     ///< the deciding rule asks for a log line
  MtlsMode mtls = MtlsMode::kNone;
  bool admits_name = false;  ///< kEndToEnd: whether one of the allows admits the name that was asked about
  Tier tier = Tier::kDefault;
  RuleIndex rule = kRuleNone;           ///< the rule reported
  RuleIndex audit_rule = kRuleNone;     ///< the rule in audit mode that would have decided, were it not
  Action audit_action = Action::kDeny;  ///< what that one would have done
  BootTime until = kNever;              ///< an allow: when the last of the allows ends
  BootTime next_change = kNever;  ///< the earliest instant at which judging again could come out otherwise
};

/// Judges a service between two identities.
/// Input:  identities by their place in `image` (ImageView::identity_index); `contained`: either end is.
/// `server_name`: that a ClientHello has, in lower case (empty: it has none); nullptr: nobody asks.
/// Thread: any; reads only. Cost: |source selectors| x |destination selectors| hash probes, a binary search
/// each. Never allocates.
Decision judge(const ImageView& image, uint32_t source_index, uint32_t destination_index, bool contained,
               ServiceKey service, BootTime now, const std::string_view* server_name = nullptr) noexcept;

/// Where a packet's source identity came from.
enum class IdentitySource : uint8_t { kNone, kBinding, kTag };

/// What a packet says of its own origin, for the binding's checks.
struct Origin {
  IpAddress address;
  PortId port;        ///< where it came in; kPortNone: not known (explain, test): not checked
  uint16_t vlan = 0;  ///< 0: untagged
  MacAddress mac;     ///< source MAC; checked only where `port` is known
  SegmentTag tag{};   ///< that it came with and that its port believes; kTagNone: none
};

/// One end of a flow as the endpoint table knows it.
struct End {
  IdentityId identity = kIdentityUnknown;
  IdentitySource source = IdentitySource::kNone;
  bool contained = false;
  bool spoofed = false;                ///< a binding exists and contradicts the packet
  const Endpoint* endpoint = nullptr;  ///< the binding; valid while the table is unchanged
};

/// The source's identity: the tag's segment where it came with one; else that of the longest prefix that
/// holds it; of an IPv6 link-local source, that of the binding that names its MAC. Where the binding names a
/// port, VLAN or MAC and the packet contradicts it, `spoofed` is set, and an address in quarantine is in
/// quarantine with a tag, too. A tag that policy doesn't define is an identity that no image knows: judged as
/// `unknown`.
End classify_source(const EndpointTable& endpoints, const Origin& origin) noexcept;
/// The destination's identity.
End classify_destination(const EndpointTable& endpoints, const IpAddress& address) noexcept;

/// Classifies both ends and judges. A spoofed source is denied with spoofed_source.
struct Evaluation {
  End source;
  End destination;
  Decision decision;
};
Evaluation evaluate(const ImageView& image, const EndpointTable& endpoints, const Origin& source,
                    const IpAddress& destination, ServiceKey service, BootTime now,
                    const std::string_view* server_name = nullptr) noexcept;

}  // namespace bulkhead
