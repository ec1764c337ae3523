#include "controlplane/observe/metrics.h"

namespace bulkhead {
namespace {

using enum MetricType;

void add_control(MetricsText& out, const MetricsInput& in) {
  const ControlState& state = in.state;
  out.family("bulkhead_build", kInfo, "The control plane's version.");
  out.sample(uint64_t{1}, {{"version", in.version}});
  out.family("bulkhead_dataplane_up", kGauge, "1 while a dataplane is attached.");
  out.sample(uint64_t{in.readings.has_value()});
  out.family("bulkhead_policy_generation", kGauge, "The generation that every worker enforces; 0: none.");
  out.sample(state.enforced.generation);
  out.family("bulkhead_policy_readings_refused", kCounter, "Changes of the policy that were refused whole.");
  out.sample(state.feed.readings_refused);
  out.family("bulkhead_policy_current", kGauge,
             "1 while what the policy directory holds is what is in force.");
  out.sample(uint64_t{state.feed.standing == FeedState::Standing::kInForce});
  out.family("bulkhead_decision_to_enforcement_seconds", kHistogram,
             "From a policy change being seen until every worker enforced it.", "seconds");
  out.histogram(EnforcementTimes::kBounds, state.enforcement.counts, state.enforcement.sum_seconds);
  if (state.feed.changed) {
    out.family("bulkhead_feed_age_seconds", kGauge, "Since what is in force from this feed was read.",
               "seconds");
    out.sample(static_cast<double>(in.now.ns - state.feed.changed_boot.ns) / 1e9, {{"feed", "file"}});
  }
  out.family("bulkhead_controlplane_trouble", kGauge,
             "1 while the control plane can't work as it should; `bulkhead status` says what to do.");
  for (size_t i = 0; i < kTroubleNames.size(); ++i)
    out.sample(uint64_t{!state.troubles[i].empty()}, {{"kind", kTroubleNames[i]}});
  out.family("bulkhead_flow_log_lost", kCounter, "Flow log lines that could not be written.");
  out.sample(in.flow_log_lost);
}

/// This version has no mTLS relay, so its handshakes stay at 0; the series are there for who watches them.
void add_mtls(MetricsText& out) {
  out.family("bulkhead_mtls_handshakes", kCounter,
             "TLS handshakes of the mTLS relay, by its role and result.");
  for (std::string_view role : {"client", "server"})
    for (std::string_view result : {"success", "failure"})
      out.sample(uint64_t{0}, {{"role", role}, {"result", result}});
}

void add_conservation(MetricsText& out, const Readings& r) {
  out.family("bulkhead_packets_received", kCounter, "Packets taken from ports.");
  out.sample(r.received);
  out.family("bulkhead_packets_originated", kCounter, "Packets that the gateway made itself.");
  out.sample(r.originated);
  out.family("bulkhead_packets_transmitted", kCounter, "Packets that ports accepted.");
  out.sample(r.transmitted);
  out.family("bulkhead_packets_consumed", kCounter, "Packets that ended at the gateway.");
  out.sample(r.consumed);
  out.family("bulkhead_packets_held", kGauge, "Packets held now.");
  out.sample(r.held);
  out.family("bulkhead_fragmented_datagrams_held", kGauge,
             "Datagrams whose fragments wait for each other, or are refused.");
  out.sample(r.datagrams_held);
  out.family("bulkhead_drops", kCounter, "Packets dropped, by reason.");
  for (size_t i = 0; i < kDropReasonCount; ++i)
    out.sample(r.drops[i], {{"reason", name_of(static_cast<DropReason>(i))}});
}

void add_ports(MetricsText& out, const Readings& r, const std::vector<std::string>& names) {
  auto name = [&](size_t port) { return port < names.size() ? names[port] : std::to_string(port); };
  auto each = [&](auto sample) {
    for (size_t port = 0; port < r.ports.size(); ++port) sample(name(port), r.ports[port]);
  };
  out.family("bulkhead_port_packets", kCounter, "Packets by port and direction.");
  each([&](const std::string& port, const PortReading& p) {
    out.sample(p.rx_packets, {{"port", port}, {"direction", "rx"}});
    out.sample(p.tx_packets, {{"port", port}, {"direction", "tx"}});
  });
  out.family("bulkhead_port_bytes", kCounter, "Bytes by port and direction.", "bytes");
  each([&](const std::string& port, const PortReading& p) {
    out.sample(p.rx_bytes, {{"port", port}, {"direction", "rx"}});
    out.sample(p.tx_bytes, {{"port", port}, {"direction", "tx"}});
  });
  out.family("bulkhead_port_missed_packets", kCounter, "Packets that the device lost for want of room.");
  each([&](const std::string& port, const PortReading& p) { out.sample(p.missed, {{"port", port}}); });
  out.family("bulkhead_port_up", kGauge, "1 while the port is there and has link.");
  each([&](const std::string& port, const PortReading& p) { out.sample(uint64_t{p.up}, {{"port", port}}); });
  out.family("bulkhead_guard_dropped_packets", kCounter, "Frames that the guard kept from the host.");
  each([&](const std::string& port, const PortReading& p) { out.sample(p.guard_dropped, {{"port", port}}); });
  out.family("bulkhead_guard_passed_packets", kCounter, "Frames that the guard left to the host.");
  each([&](const std::string& port, const PortReading& p) { out.sample(p.guard_passed, {{"port", port}}); });
}

void add_flows(MetricsText& out, const MetricsInput& in) {
  const Readings& r = *in.readings;
  out.family("bulkhead_flows", kGauge, "Live flows by state.");
  out.sample(r.tcp_opening, {{"state", "tcp_opening"}});
  out.sample(r.tcp_established, {{"state", "tcp_established"}});
  out.sample(r.tcp_closing, {{"state", "tcp_closing"}});
  out.sample(r.udp, {{"state", "udp"}});
  out.sample(r.icmp, {{"state", "icmp"}});
  out.sample(r.other, {{"state", "other"}});
  out.family("bulkhead_flow_table_capacity", kGauge, "Flows that the tables of all workers have room for.");
  out.sample(in.state.welcome.max_flows);
  out.family("bulkhead_new_flows", kCounter, "Flows that were opened.");
  out.sample(r.new_flows);
  out.family("bulkhead_revoked_flows", kCounter, "Live flows ended because they are no longer allowed.");
  out.sample(r.revoked);
  out.family("bulkhead_half_open_evicted", kCounter, "Opening TCP connections that gave way to newer ones.");
  out.sample(r.half_open_evicted);
  out.family("bulkhead_policy_evaluations", kCounter, "Times that policy was evaluated for a flow.");
  out.sample(r.judged);
  out.family("bulkhead_handed_off_packets", kCounter, "Packets passed to the worker that owns their flow.");
  out.sample(r.handed_off);
  out.family("bulkhead_endpoints", kGauge, "Addresses and prefixes with an identity.");
  out.sample(r.endpoints);
  out.family("bulkhead_events_lost", kCounter, "Flow events that found their ring full.");
  out.sample(r.events_lost);
  out.family("bulkhead_worker_busy_ratio", kGauge,
             "Share of its time that a worker spent on packets, over the last second.", "ratio");
  for (size_t w = 0; w < in.busy_ratios.size(); ++w)
    out.sample(in.busy_ratios[w], {{"worker", std::to_string(w)}});
}

void add_rules(MetricsText& out, const MetricsInput& in) {
  const ImageView& image = in.state.policy->view;
  bool zeroes = image.rules.size() <= kMaxZeroRules;
  auto each = [&](bool audit, auto count) {
    for (size_t i = 0; i < image.rules.size() && i < in.rule_hits.size(); ++i) {
      const RuleRecord& rule = image.rules[i];
      uint64_t hits = count(in.rule_hits[i]);
      if (((rule.flags & kRuleAudit) != 0) != audit || (hits == 0 && !zeroes)) continue;
      out.sample(hits,
                 {{"rule", image.text(rule.name)}, {"verdict", name_of(static_cast<Action>(rule.action))}});
    }
  };
  out.family("bulkhead_rule_hits", kCounter, "Flow decisions by rule.");
  each(false, [](const DataplaneClient::Hits& hits) { return hits.decided; });
  out.family("bulkhead_audit_hits", kCounter, "Flow decisions that a rule in audit mode would have made.");
  each(true, [](const DataplaneClient::Hits& hits) { return hits.audited; });
}

void add_retired(RuleHitCounts& counts, const ImageView& image, const RetiredHits& retired) {
  counts.resize(image.rules.size());
  for (size_t i = 0; i < counts.size(); ++i) {
    auto before = retired.of(image, RuleIndex{static_cast<uint32_t>(i)});
    counts[i].decided += before.decided;
    counts[i].audited += before.audited;
  }
}

}  // namespace

std::string metrics_text(const MetricsInput& input, MetricsFormat format) {
  MetricsText out(format);
  add_control(out, input);
  add_mtls(out);
  if (input.readings) {
    add_conservation(out, *input.readings);
    add_ports(out, *input.readings, input.port_names);
    add_flows(out, input);
  }
  if (input.state.policy != nullptr) add_rules(out, input);
  return out.finish();
}

MetricsInput read_metrics(const MetricsSources& sources, BootTime now) {
  MetricsInput in;
  auto dataplane = sources.board.dataplane();
  auto read_all = [&](DataplaneClient* client) {
    in.state = sources.board.read();
    if (client != nullptr && in.state.dataplane == dataplane) {
      in.readings = read_counters(*client);
      in.rule_hits = read_rule_hits(*client);
    }
    if (in.state.policy != nullptr) add_retired(in.rule_hits, in.state.policy->view, sources.retired);
  };
  // Under the dataplane's lock, so that hits, retired hits and policy belong together.
  if (dataplane != nullptr)
    dataplane->with([&](DataplaneClient& client) { read_all(&client); });
  else
    read_all(nullptr);
  in.busy_ratios = sources.busy.ratios();
  in.port_names = sources.port_names;
  in.flow_log_lost = sources.flow_log_lost();
  in.version = sources.version;
  in.now = now;
  return in;
}

}  // namespace bulkhead
