// A flow record as a dataplane would write it.
#pragma once

#include "contract/events.h"

namespace bulkhead::test {

inline FlowRecord record(EventKind kind, const char* from = "10.1.0.5", const char* to = "10.2.0.9",
                         uint16_t port = 5432) {
  FlowRecord record{};
  record.flow_id = kind == EventKind::kDeny ? 0 : 17;
  record.opened_boot_ns = 1'000'000'000;
  record.time_boot_ns = 2'000'000'000;
  record.until_boot_ns = INT64_MAX;
  record.generation = 7;
  record.image_generation = 7;
  bool passes = kind != EventKind::kDeny && kind != EventKind::kAudit;
  record.packets[0] = passes ? 3 : 1, record.packets[1] = passes ? 2 : 0;
  record.bytes[0] = passes ? 300 : 60, record.bytes[1] = passes ? 200 : 0;
  record.source = *parse_address(from);
  record.destination = *parse_address(to);
  record.source_port = 40000;
  record.destination_port = port;
  record.source_identity = identity_of(SegmentTag{100}).value;
  record.destination_identity = identity_of(SegmentTag{200}).value;
  record.service = service_key(IpProto::kTcp, port).value;
  record.rule = kind == EventKind::kDeny ? kRuleNone.value : 0;
  record.in_port = 0, record.out_port = kind == EventKind::kDeny ? 255 : 1;
  record.kind = kind;
  record.proto = static_cast<uint8_t>(IpProto::kTcp);
  record.reason = kind == EventKind::kDeny ? DropReason::k_policy_denied : DropReason::kNone;
  record.end = kind == EventKind::kClose ? EndCause::kFin : EndCause::kNone;
  record.verdict = static_cast<uint8_t>(kind == EventKind::kDeny ? Verdict::kDeny : Verdict::kAllow);
  record.tier = static_cast<uint8_t>(kind == EventKind::kDeny ? Tier::kDefault : Tier::kSegment);
  record.source_from = static_cast<uint8_t>(IdentitySource::kBinding);
  record.log = 1;
  return record;
}

}  // namespace bulkhead::test
