#include "controlplane/observe/flow_line.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>

#include "base/service.h"
#include "config/policy.h"
#include "wire/tls.h"

namespace bulkhead {
namespace {

using Json = nlohmann::ordered_json;

std::string_view end_name(EndCause end) {
  switch (end) {
    case EndCause::kNone:
      return "none";
    case EndCause::kFin:
      return "fin";
    case EndCause::kRst:
      return "rst";
    case EndCause::kIdle:
      return "idle";
    case EndCause::kRevoked:
      return "revoked";
    case EndCause::kReopened:
      return "reopened";
    case EndCause::kEvicted:
      return "evicted";
  }
  return "unknown";
}

Json text_or_null(std::string_view text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

void add_five_tuple(Json& line, const FlowRecord& record) {
  line["proto"] = proto_name(record.proto);
  line["src"] = to_string(record.source);
  line["dst"] = to_string(record.destination);
  auto proto = static_cast<IpProto>(record.proto);
  bool icmp = proto == IpProto::kIcmp || proto == IpProto::kIcmpv6;
  if (has_ports(proto)) {
    line["src_port"] = record.source_port;
    line["dst_port"] = record.destination_port;
  } else if (icmp && record.flow_id != 0) {  // of an echo, as the record has it
    line["icmp_id"] = record.source_port;
  }
  line["service"] = to_string(ServiceKey{record.service});
}

void add_end(Json& line, const std::string& prefix, uint32_t identity, uint32_t workload,
             const LineContext& context) {
  line[prefix + "_segment"] = text_or_null(segment_of(identity, context));
  line[prefix + "_identity"] = identity;
  if (context.names == nullptr) return;
  auto [name, spiffe] = describe_workload(context.names->workload(workload));
  if (!name.empty()) line[prefix + "_workload"] = name;
  if (!spiffe.empty()) line[prefix + "_spiffe"] = spiffe;
}

/// Why it passed or not. A rule in audit mode gives the reason that it would have given.
std::string_view reason_text(const FlowRecord& record) {
  if (record.kind != EventKind::kAudit)
    return record.reason == DropReason::kNone ? "allowed" : name_of(record.reason);
  return reason_name(static_cast<Verdict>(record.verdict), DropReason::k_policy_explicit_deny);
}

void add_decision(Json& line, const FlowRecord& record, const LineContext& context) {
  line["verdict"] = name_of(static_cast<Verdict>(record.verdict));
  line["rule"] =
      text_or_null(context.names != nullptr ? context.names->rule(record.rule) : std::string_view{});
  line["tier"] = name_of(static_cast<Tier>(record.tier));
  line["reason"] = reason_text(record);
  line["generation"] = record.generation;
  line["decision"] = std::to_string(record.generation) +
                     (record.rule == kRuleNone.value ? ":default" : ":" + std::to_string(record.rule));
  line["mtls"] = name_of(static_cast<MtlsMode>(record.mtls));
  if (record.until_boot_ns != INT64_MAX) line["until"] = to_string(context.wall(record.until_boot_ns));
}

/// What is known of the flow's TLS.
void add_tls(Json& line, const FlowRecord& record) {
  if (record.flow_id != 0) line["protection"] = name_of(record.protection);
  if (record.tls_verified != 0) {
    line["verified_by"] = "workloads";  // TLS 1.3 hides certificates: who is who only they know
    line["tls_version"] = "1.3";
    line["cipher"] = cipher_name(record.tls_suite);
  }
  if (std::string sni = sni_text(record); !sni.empty()) line["sni"] = std::move(sni);
  if (record.tls_fault != TlsFault::kNone) line["tls_fault"] = text_of(record.tls_fault);
}

std::string hex(std::span<const uint8_t> bytes) {
  std::string text;
  for (uint8_t byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

/// Who spoke with whom, how, as the relay verified it.
void add_proof(Json& line, const ConnectionProof& proof) {
  bool originates = proof.record.role == RelayRole::kOriginate;
  line["relay_role"] = originates ? "originate" : "terminate";
  if (proof.record.tls_version != 0) {
    line["tls_version"] = tls_version_name(proof.record.tls_version);
    line["cipher"] = cipher_name(proof.record.cipher_suite);
    line["resumed"] = proof.record.resumed != 0;
  }
  if (!proof.own_id.empty()) {
    line[originates ? "src_svid" : "dst_svid"] = proof.own_id;
    line[originates ? "src_svid_sha256" : "dst_svid_sha256"] = hex(proof.record.own_certificate);
  }
  if (!proof.peer_id.empty()) {
    line[originates ? "dst_svid" : "src_svid"] = proof.peer_id;
    line[originates ? "dst_svid_sha256" : "src_svid_sha256"] = hex(proof.record.peer_certificate);
  }
}

void add_traffic(Json& line, const FlowRecord& record, const LineContext& context) {
  line["opened"] = to_string(context.wall(record.opened_boot_ns));
  line["packets_out"] = record.packets[0];
  line["packets_back"] = record.packets[1];
  line["bytes_out"] = record.bytes[0];
  line["bytes_back"] = record.bytes[1];
  line["end"] = end_name(record.end);
}

}  // namespace

std::string flow_line(const FlowRecord& record, const LineContext& context, const Repetition& repetition) {
  Json line;
  line["time"] =
      to_string(context.wall(repetition.count > 0 ? repetition.last_boot_ns : record.time_boot_ns));
  line["event"] = event_name(record.kind);
  if (record.flow_id != 0) line["flow"] = record.flow_id;
  add_five_tuple(line, record);
  line["in_port"] = text_or_null(port_name(record.in_port, context));
  line["out_port"] = text_or_null(port_name(record.out_port, context));
  if (record.zone != 0) line["zone"] = record.zone;
  add_end(line, "src", record.source_identity, record.source_workload, context);
  line["src_source"] = name_of(static_cast<IdentitySource>(record.source_from));
  add_end(line, "dst", record.destination_identity, record.destination_workload, context);
  add_decision(line, record, context);
  add_tls(line, record);
  if (record.kind == EventKind::kClose || record.kind == EventKind::kRevoke)
    add_traffic(line, record, context);
  if (context.proof != nullptr && context.proof->record.moment != ProofMoment::kFailed) {
    line["verified_by"] = "gateway";
    add_proof(line, *context.proof);
    if (context.proof->record.moment == ProofMoment::kEnded)
      line["relay_end"] = name_of(context.proof->record.end);
  }
  bool repeats = record.kind == EventKind::kDeny || record.kind == EventKind::kAudit;
  if (repetition.count > 0) {
    line["count"] = repetition.count;
    line["first"] = to_string(context.wall(repetition.first_boot_ns));
  } else if (repeats && packets_of(record) > 1) {
    line["count"] = packets_of(record);
  }
  return line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string relay_line(const ConnectionProof& proof, const WallOfBoot& wall) {
  const ProofRecord& r = proof.record;
  bool established = r.moment == ProofMoment::kEstablished;
  Json line;
  line["time"] = to_string(wall(r.time_boot_ns));
  line["event"] = established ? "mtls" : "mtls_failed";
  if (r.flow_id != 0) line["flow"] = r.flow_id;
  line["proto"] = "tcp";
  line["src"] = to_string(r.client);
  line["dst"] = to_string(r.server);
  line["src_port"] = r.client_port;
  line["dst_port"] = r.server_port;
  if (established) line["verified_by"] = "gateway";
  add_proof(line, proof);
  if (!established) line["reason"] = name_of(r.end);
  if (!proof.detail.empty()) line["detail"] = proof.detail;
  return line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

uint64_t packets_of(const FlowRecord& event) {
  return std::max<uint64_t>(event.packets[0], 1);
}

std::string_view event_name(EventKind kind) {
  switch (kind) {
    case EventKind::kOpen:
      return "open";
    case EventKind::kDeny:
      return "deny";
    case EventKind::kRevoke:
      return "revoke";
    case EventKind::kClose:
      return "close";
    case EventKind::kAudit:
      return "audit";
    case EventKind::kVerified:
      return "verified";
  }
  return "unknown";
}

std::string proto_name(uint8_t proto) {
  switch (static_cast<IpProto>(proto)) {
    case IpProto::kTcp:
      return "tcp";
    case IpProto::kUdp:
      return "udp";
    case IpProto::kIcmp:
      return "icmp";
    case IpProto::kIcmpv6:
      return "icmp6";
    case IpProto::kSctp:
      return "sctp";
    default:
      return "proto/" + std::to_string(proto);
  }
}

std::string_view state_name(uint8_t state) {
  switch (static_cast<FlowState>(state)) {
    case FlowState::kOpening:
    case FlowState::kHello:
      return "opening";
    case FlowState::kEstablished:
      return "established";
    case FlowState::kClosing:
      return "closing";
    case FlowState::kUdp:
    case FlowState::kIcmp:
    case FlowState::kOther:
      return "open";
  }
  return {};
}

static std::string number_text(uint16_t suite) {
  char text[8];
  std::snprintf(text, sizeof text, "0x%04x", suite);
  return text;
}

std::string_view name_of(FlowProtection protection) {
  switch (protection) {
    case FlowProtection::kNone:
      return "none";
    case FlowProtection::kLocal:
      return "local";
    case FlowProtection::kEndToEnd:
      return "end_to_end";
    case FlowProtection::kRelay:
      return "relay";
  }
  return "unknown";
}

std::string tls_version_name(uint16_t version) {
  return version == kTlsVersion13 ? "1.3" : std::to_string(version);
}

std::string cipher_name(uint16_t suite) {
  static constexpr std::string_view kNames[] = {
      "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
      "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"};  // RFC 8446 appendix B.4, in order
  size_t at = size_t{suite} - 0x1301;
  return at < std::size(kNames) ? std::string(kNames[at]) : number_text(suite);
}

std::string sni_text(const FlowRecord& record) {
  bool cut = record.sni_bytes > sizeof record.sni;
  return std::string(record.sni, cut ? sizeof record.sni : record.sni_bytes) + (cut ? "..." : "");
}

std::string_view segment_of(uint32_t identity, const LineContext& context) {
  if (context.names != nullptr) return context.names->segment(identity);
  return context.newest != nullptr ? context.newest->segment(identity) : std::string_view{};
}

std::string_view port_name(uint8_t port, const LineContext& context) {
  if (context.ports == nullptr || port >= context.ports->size()) return {};
  return (*context.ports)[port];
}

}  // namespace bulkhead
