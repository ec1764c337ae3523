#include "controlplane/observe/metrics.h"

#include <numeric>
#include <utility>

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

/// The roles are the relay's in TLS: the client's where it originates, the server's where it terminates.
constexpr std::pair<std::string_view, RelayRole> kRoles[] = {{"client", RelayRole::kOriginate},
                                                             {"server", RelayRole::kTerminate}};

void add_handshakes(MetricsText& out, const RelayCounters& c) {
  out.family("bulkhead_mtls_handshakes", kCounter,
             "TLS handshakes of the mTLS relay, by its role and result.");
  for (auto [name, role] : kRoles) {
    const auto& failed = c.failed[index_of(role)];
    out.sample(c.established[index_of(role)], {{"role", name}, {"result", "success"}});
    out.sample(std::accumulate(std::begin(failed), std::end(failed), uint64_t{0}),
               {{"role", name}, {"result", "failure"}});
  }
}

void add_relay(MetricsText& out, const MetricsInput& in) {
  const RelayCounters none{};
  const RelayCounters& c = in.relay ? *in.relay : none;
  add_handshakes(out, c);
  if (!in.relay) return;
  out.family("bulkhead_relay_up", kGauge, "1 while the mTLS relay is attached.");
  out.sample(uint64_t{in.relay_attached});
  out.family("bulkhead_relay_connections", kGauge, "Connections of the mTLS relay now.");
  out.sample(c.live);
  out.family(
      "bulkhead_relay_connections_ended", kCounter,
      "Ends of the mTLS relay's connections, by its role, whether they had been established, and reason.");
  for (auto [name, role] : kRoles) {
    for (size_t end = 0; end < kRelayEndCount; ++end) {
      std::string_view reason = name_of(static_cast<RelayEnd>(end));
      out.sample(c.ended[index_of(role)][end], {{"role", name}, {"established", "yes"}, {"reason", reason}});
      out.sample(c.failed[index_of(role)][end], {{"role", name}, {"established", "no"}, {"reason", reason}});
    }
  }
  out.family("bulkhead_relay_resumed", kCounter, "Connections that took up a TLS session of before.");
  out.sample(c.resumed);
  out.family("bulkhead_relay_bytes", kCounter, "Application data that the mTLS relay passed on.", "bytes");
  out.sample(c.bytes_from_client, {{"from", "client"}});
  out.sample(c.bytes_from_server, {{"from", "server"}});
  out.family("bulkhead_relay_buffers_bytes", kGauge, "The mTLS relay's buffers in use.", "bytes");
  out.sample(c.memory_bytes);
  out.family("bulkhead_relay_proofs_lost", kCounter, "Proofs of connections that could not be told.");
  out.sample(c.proofs_lost);
  out.family("bulkhead_relay_proofs_dropped", kCounter,
             "Proofs of connections that the control plane had no room for, by what they were kept for.");
  out.sample(in.relay_dropped.proofs, {{"reason", "too_many_flows"}});
  out.sample(in.relay_dropped.news, {{"reason", "flow_log_slow"}});
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
  add_relay(out, input);
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
  if (sources.relay != nullptr) {
    in.relay = sources.relay->counters();
    in.relay_attached = sources.relay->is_attached();
    in.relay_dropped = sources.relay->dropped();
  }
  in.now = now;
  return in;
}

}  // namespace bulkhead
