#include "controlplane/api/operator_service.h"

#include <algorithm>
#include <functional>

#include "controlplane/api/clear_rules.h"
#include "controlplane/api/hints.h"
#include "controlplane/observe/flow_line.h"

namespace bulkhead {
namespace {

using grpc::StatusCode;

grpc::Status not_attached() {
  return {StatusCode::UNAVAILABLE, "no dataplane is attached: see the control plane's log for why"};
}
grpc::Status no_policy_yet() {
  return {StatusCode::FAILED_PRECONDITION,
          "no policy is in force yet: `bulkhead status` says what is wrong with it"};
}

std::string_view standing_name(FeedState::Standing standing) {
  switch (standing) {
    case FeedState::Standing::kWaiting:
      return "waiting for the dataplane";
    case FeedState::Standing::kInForce:
      return "in force";
    case FeedState::Standing::kRefused:
      return "refused";
    case FeedState::Standing::kRetried:
      return "tried again";
  }
  return "unknown";
}

void fill_feed(const FeedState& feed, const Troubles& troubles, v1::Feed& answer) {
  answer.set_source(feed.source);
  answer.set_state(std::string(standing_name(feed.standing)));
  if (feed.changed) answer.set_changed_ns(feed.changed->ns);
  for (const std::string& error : feed.errors) answer.add_errors(error);
  for (const std::string& trouble : troubles)
    if (!trouble.empty()) answer.add_errors(trouble);
}

void fill_ports(const DataplaneSettings& settings, const Readings& readings, v1::Status& answer) {
  for (size_t p = 0; p < settings.ports.size() && p < readings.ports.size(); ++p) {
    const PortReading& reading = readings.ports[p];
    v1::Port& port = *answer.add_ports();
    port.set_name(settings.ports[p].name);
    port.set_device(settings.ports[p].device);
    port.set_attached(settings.ports[p].attached);
    port.set_up(reading.up);
    port.set_rx_packets(reading.rx_packets);
    port.set_rx_bytes(reading.rx_bytes);
    port.set_tx_packets(reading.tx_packets);
    port.set_tx_bytes(reading.tx_bytes);
    port.set_missed(reading.missed);
  }
}

void fill_conservation(const Readings& readings, v1::Conservation& answer) {
  answer.set_received(readings.received);
  answer.set_originated(readings.originated);
  answer.set_transmitted(readings.transmitted);
  answer.set_consumed(readings.consumed);
  answer.set_held(readings.held);
  answer.set_dropped(readings.dropped);
}

/// Reasons that happened, the most frequent first; the same number in the counters' order.
void fill_drops(const Readings& readings, v1::Status& answer) {
  std::vector<size_t> reasons;
  for (size_t i = 0; i < kDropReasonCount; ++i)
    if (readings.drops[i] > 0) reasons.push_back(i);
  std::ranges::stable_sort(reasons, std::greater{}, [&](size_t i) { return readings.drops[i]; });
  for (size_t i : reasons) {
    v1::Drop& drop = *answer.add_drops();
    drop.set_reason(std::string(name_of(static_cast<DropReason>(i))));
    drop.set_help(std::string(help_of(static_cast<DropReason>(i))));
    drop.set_packets(readings.drops[i]);
  }
}

/// Which flows are asked for.
struct FlowFilter {
  std::optional<IpAddress> address;
  std::string segment, rule;
  std::vector<ServiceRange> services;  ///< empty: all
  bool unencrypted = false;
  bool any() const { return !address && segment.empty() && rule.empty() && services.empty() && !unencrypted; }
  bool takes(const FlowRecord& flow, const LineContext& context) const {
    if (unencrypted && flow.protection != FlowProtection::kNone && flow.protection != FlowProtection::kLocal)
      return false;
    if (address && flow.source != *address && flow.destination != *address) return false;
    if (!services.empty() && std::ranges::none_of(services, [&](const ServiceRange& range) {
          return range.first.value <= flow.service && flow.service <= range.last.value;
        }))
      return false;
    if (!rule.empty() && (context.names == nullptr || context.names->rule(flow.rule) != rule)) return false;
    return segment.empty() || segment_of(flow.source_identity, context) == segment ||
           segment_of(flow.destination_identity, context) == segment;
  }
};

/// Errors: kInvalid for what can't be read; kNotFound for names that the policy in force doesn't have, which
/// no flow can have for longer than its next look at policy.
Expected<FlowFilter> read_filter(const v1::FlowsRequest& request, const PolicyNames* newest) {
  FlowFilter filter{std::nullopt, request.segment(), request.rule(), {}, request.unencrypted()};
  if (!request.address().empty()) {
    auto address = parse_address(request.address());
    if (!address) return std::unexpected(address.error());
    filter.address = *address;
  }
  if (!request.service().empty()) {
    auto services = parse_service(request.service());
    if (!services) return std::unexpected(services.error());
    filter.services = std::move(*services);
  }
  if (newest == nullptr) return filter;
  auto is_wanted = [&](const auto& entry) { return entry.second == filter.segment; };
  if (!filter.segment.empty() && std::ranges::none_of(newest->segments, is_wanted))
    return fail(ErrorCode::kNotFound, "the policy in force has no segment '" + filter.segment + "'");
  if (!filter.rule.empty() && std::ranges::find(newest->rules, filter.rule) == newest->rules.end())
    return fail(ErrorCode::kNotFound, "the policy in force has no rule '" + filter.rule + "'");
  return filter;
}

/// What the relay has verified of a flow's ends.
void fill_proof(const ConnectionProof& proof, v1::Flow& flow) {
  bool originates = proof.record.role == RelayRole::kOriginate;
  flow.set_verified_by("gateway");
  flow.set_tls_version(tls_version_name(proof.record.tls_version));
  flow.set_cipher(cipher_name(proof.record.cipher_suite));
  flow.set_source_svid(originates ? proof.own_id : proof.peer_id);
  flow.set_destination_svid(originates ? proof.peer_id : proof.own_id);
}

void fill_flow(const FlowRecord& record, const LineContext& context, v1::Flow& flow) {
  flow.set_proto(proto_name(record.proto));
  flow.set_source(to_string(record.source));
  flow.set_destination(to_string(record.destination));
  flow.set_source_port(record.source_port);
  flow.set_destination_port(record.destination_port);
  flow.set_source_segment(std::string(segment_of(record.source_identity, context)));
  flow.set_destination_segment(std::string(segment_of(record.destination_identity, context)));
  if (context.names != nullptr) flow.set_rule(std::string(context.names->rule(record.rule)));
  flow.set_service(to_string(ServiceKey{record.service}));
  flow.set_state(std::string(state_name(record.state)));
  flow.set_in_port(std::string(port_name(record.in_port, context)));
  flow.set_out_port(std::string(port_name(record.out_port, context)));
  flow.set_packets_out(record.packets[0]);
  flow.set_packets_back(record.packets[1]);
  flow.set_bytes_out(record.bytes[0]);
  flow.set_bytes_back(record.bytes[1]);
  flow.set_opened_ns(context.wall(record.opened_boot_ns).ns);
  flow.set_last_ns(context.wall(record.time_boot_ns).ns);
  if (record.until_boot_ns != INT64_MAX) flow.set_until_ns(context.wall(record.until_boot_ns).ns);
  flow.set_generation(record.generation);
  flow.set_zone(record.zone);
  flow.set_mtls(std::string(name_of(static_cast<MtlsMode>(record.mtls))));
  flow.set_protection(std::string(name_of(record.protection)));
  flow.set_sni(sni_text(record));
  if (context.proof != nullptr) fill_proof(*context.proof, flow);
  if (record.tls_verified == 0) return;
  flow.set_verified_by("workloads");
  flow.set_tls_version("1.3");
  flow.set_cipher(cipher_name(record.tls_suite));
}

void fill_end(const ExplainedEnd& end, v1::Explanation::End& answer) {
  answer.set_address(end.address);
  answer.set_segment(end.segment);
  answer.set_tag(end.tag.value);
  answer.set_source(std::string(name_of(end.source)));
  answer.set_binding(end.binding);
  answer.set_workload(end.workload);
  answer.set_spiffe(end.spiffe);
}

void fill_explanation(const Explanation& explanation, v1::Explanation& answer) {
  const Decision& decision = explanation.decision;
  answer.set_verdict(std::string(name_of(decision.verdict)));
  answer.set_reason(std::string(reason_name(decision.verdict, decision.reason)));
  answer.set_rule(explanation.rule);
  answer.set_rule_file(explanation.rule_where.file);
  answer.set_rule_line(explanation.rule_where.line);
  answer.set_tier(std::string(name_of(decision.tier)));
  answer.set_mtls(std::string(name_of(decision.mtls)));
  if (explanation.until) answer.set_until_ns(explanation.until->ns);
  fill_end(explanation.source, *answer.mutable_source());
  fill_end(explanation.destination, *answer.mutable_destination());
  answer.set_service(to_string(explanation.service));
  answer.set_reject(decision.reject);
  for (const std::string& name : explanation.sni) answer.add_sni(name);
  for (const LostRule& lost : explanation.lost) {
    v1::Explanation::Lost& line = *answer.add_lost();
    line.set_rule(lost.rule);
    line.set_tier(std::string(name_of(lost.tier)));
    line.set_why(lost.why);
  }
}

std::vector<std::string> port_names(const DataplaneSettings& settings) {
  std::vector<std::string> names;
  for (const PortSetting& port : settings.ports) names.push_back(port.name);
  return names;
}

}  // namespace

grpc::Status OperatorService::GetStatus(grpc::ServerContext*, const v1::StatusRequest*, v1::Status* answer) {
  ControlState state = sources_.board.read();
  answer->set_gateway(sources_.settings.name);
  answer->set_version(sources_.version);
  answer->set_dataplane_connected(state.dataplane != nullptr);
  answer->set_generation(state.enforced.generation);
  answer->set_image_generation(state.enforced.image_generation);
  answer->set_last_enforcement_seconds(state.enforcement.last_seconds);
  fill_feed(state.feed, state.troubles, *answer->mutable_policy_feed());
  if (state.policy) {
    answer->set_segments(state.policy->policy.segments.size());
    answer->set_rules(state.policy->policy.rules.size());
  }
  if (!state.dataplane) return grpc::Status::OK;

  Readings readings = state.dataplane->with([](DataplaneClient& client) { return read_counters(client); });
  WallOfBoot wall = WallOfBoot::now();
  answer->set_endpoints(readings.endpoints);
  answer->set_live_flows(readings.live_flows());
  answer->set_max_flows(state.welcome.max_flows);
  answer->set_events_lost(readings.events_lost);
  answer->set_started_ns(wall(static_cast<int64_t>(state.welcome.started_boot_ns)).ns);
  fill_ports(sources_.settings, readings, *answer);
  fill_conservation(readings, *answer->mutable_conservation());
  fill_drops(readings, *answer);
  uint32_t number = 0;
  for (double ratio : sources_.busy.ratios()) {
    v1::Worker& worker = *answer->add_workers();
    worker.set_number(number++);
    worker.set_busy_ratio(ratio);
  }
  return grpc::Status::OK;
}

grpc::Status OperatorService::ListFlows(grpc::ServerContext*, const v1::FlowsRequest* request,
                                        v1::FlowList* answer) {
  auto newest = sources_.names.newest();
  auto filter = read_filter(*request, newest.get());
  if (!filter)
    return {
        filter.error().code == ErrorCode::kNotFound ? StatusCode::NOT_FOUND : StatusCode::INVALID_ARGUMENT,
        filter.error().message};
  uint64_t limit = std::min(request->limit() == 0 ? kDefaultFlows : request->limit(), kMostFlows);
  ControlState state = sources_.board.read();
  if (!state.dataplane) return not_attached();
  uint64_t wanted = filter->any() ? limit : state.welcome.max_flows;
  auto list = state.dataplane->list_flows(wanted);
  if (!list) return {StatusCode::UNAVAILABLE, list.error().message};

  answer->set_total(list->total);
  if (filter->unencrypted && state.policy)
    for (v1::ClearRule& rule : clear_rules(state.policy->policy, wall_now()))
      *answer->add_clear_rules() = std::move(rule);
  bool cut = list->flows.size() >= std::min(wanted, kMaxFlowPage) && list->total > list->flows.size();
  answer->set_truncated(cut);
  std::ranges::sort(list->flows, std::greater{}, &FlowRecord::time_boot_ns);
  std::vector<std::string> ports = port_names(sources_.settings);
  WallOfBoot wall = WallOfBoot::now();
  for (const FlowRecord& record : list->flows) {
    auto names = sources_.names.of(record);
    LineContext context{names.get(), newest.get(), &ports, wall};
    auto proof = sources_.relay != nullptr ? sources_.relay->proof_of(record.flow_id) : std::nullopt;
    if (proof) context.proof = &*proof;
    if (!filter->takes(record, context)) continue;
    if (static_cast<uint64_t>(answer->flows_size()) == limit) {
      answer->set_truncated(true);
      break;
    }
    fill_flow(record, context, *answer->add_flows());
  }
  return grpc::Status::OK;
}

grpc::Status OperatorService::ListDrops(grpc::ServerContext*, const v1::DropsRequest*, v1::DropList* answer) {
  ControlState state = sources_.board.read();
  if (!state.dataplane) return not_attached();
  Readings readings = state.dataplane->with([](DataplaneClient& client) { return read_counters(client); });
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    v1::Drop& drop = *answer->add_drops();
    drop.set_reason(std::string(name_of(static_cast<DropReason>(i))));
    drop.set_help(std::string(help_of(static_cast<DropReason>(i))));
    drop.set_packets(readings.drops[i]);
  }
  for (size_t p = 0; p < readings.ports.size() && p < sources_.settings.ports.size(); ++p) {
    v1::GuardCounter& guard = *answer->add_guards();
    guard.set_port(sources_.settings.ports[p].name);
    guard.set_dropped(readings.ports[p].guard_dropped);
    guard.set_passed(readings.ports[p].guard_passed);
    guard.set_missed(readings.ports[p].missed);
  }
  BootTime started{static_cast<int64_t>(state.welcome.started_boot_ns)};
  for (const std::string& hint :
       hints_for(readings, Nanoseconds{boot_now().ns - started.ns}, state.enforced.generation != 0))
    answer->add_hints(hint);
  return grpc::Status::OK;
}

grpc::Status OperatorService::ListSegments(grpc::ServerContext*, const v1::SegmentsRequest*,
                                           v1::SegmentList* answer) {
  ControlState state = sources_.board.read();
  if (!state.policy) return no_policy_yet();
  for (size_t i = 0; i < state.policy->policy.segments.size(); ++i) {
    const Segment& segment = state.policy->policy.segments[i];
    v1::Segment& line = *answer->add_segments();
    line.set_name(segment.name);
    line.set_tag(segment.tag.value);
    line.set_members(state.policy->member_count[i]);
    for (const auto& [key, value] : segment.labels) (*line.mutable_labels())[key] = value;
  }
  return grpc::Status::OK;
}

grpc::Status OperatorService::Explain(grpc::ServerContext*, const v1::ExplainRequest* request,
                                      v1::Explanation* answer) {
  auto from = parse_address(request->from());
  if (!from) return {StatusCode::INVALID_ARGUMENT, "from: " + from.error().message};
  auto to = parse_address(request->to());
  if (!to) return {StatusCode::INVALID_ARGUMENT, "to: " + to.error().message};
  auto service = parse_exact_service(request->service());
  if (!service) return {StatusCode::INVALID_ARGUMENT, "service: " + service.error().message};
  ControlState state = sources_.board.read();
  if (!state.policy) return no_policy_yet();
  fill_explanation(explain(*state.policy, *from, *to, *service, boot_now(), wall_now()), *answer);
  answer->set_generation(state.enforced.generation);
  return grpc::Status::OK;
}

}  // namespace bulkhead
