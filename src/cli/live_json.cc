#include <map>

#include "cli/live_tables.h"

namespace bulkhead {

/// 0 stands for "no such time" on the wire.
static Json time_or_null(int64_t ns) {
  return ns == 0 ? Json(nullptr) : Json(ns);
}

Json status_json(const v1::Status& s) {
  Json workers = Json::array(), ports = Json::array(), errors = Json::array();
  for (const auto& w : s.workers())
    workers.push_back({{"worker", w.number()}, {"busy_ratio", w.busy_ratio()}});
  for (const auto& p : s.ports())
    ports.push_back({{"name", p.name()},
                     {"device", p.device()},
                     {"attached", p.attached()},
                     {"up", p.up()},
                     {"rx_packets", p.rx_packets()},
                     {"rx_bytes", p.rx_bytes()},
                     {"tx_packets", p.tx_packets()},
                     {"tx_bytes", p.tx_bytes()},
                     {"missed", p.missed()}});
  for (const std::string& error : s.policy_feed().errors()) errors.push_back(error);
  Json drops = Json::array();
  for (const auto& d : s.drops()) drops.push_back({{"reason", d.reason()}, {"packets", d.packets()}});
  const auto& c = s.conservation();
  return {{"gateway", s.gateway()},
          {"version", s.version()},
          {"dataplane_connected", s.dataplane_connected()},
          {"started_ns", time_or_null(s.started_ns())},
          {"generation", s.generation()},
          {"image_generation", s.image_generation()},
          {"segments", s.segments()},
          {"rules", s.rules()},
          {"endpoints", s.endpoints()},
          {"live_flows", s.live_flows()},
          {"max_flows", s.max_flows()},
          {"events_lost", s.events_lost()},
          {"last_enforcement_seconds", s.last_enforcement_seconds()},
          {"policy",
           {{"source", s.policy_feed().source()},
            {"state", s.policy_feed().state()},
            {"changed_ns", time_or_null(s.policy_feed().changed_ns())},
            {"errors", std::move(errors)}}},
          {"workers", std::move(workers)},
          {"ports", std::move(ports)},
          {"conservation",
           {{"received", c.received()},
            {"originated", c.originated()},
            {"transmitted", c.transmitted()},
            {"consumed", c.consumed()},
            {"held", c.held()},
            {"dropped", c.dropped()}}},
          {"drops", std::move(drops)}};
}

/// ICMP has no ports; what stands for one is the echo's identifier.
static Json port_or_null(const v1::Flow& flow, uint32_t port) {
  return flow.proto().starts_with("icmp") ? Json(nullptr) : Json(port);
}

static Json text_or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json flows_json(const v1::FlowList& list) {
  Json flows = Json::array();
  for (const auto& f : list.flows()) {
    flows.push_back({{"proto", f.proto()},
                     {"src",
                      {{"address", f.source()},
                       {"port", port_or_null(f, f.source_port())},
                       {"segment", f.source_segment()}}},
                     {"dst",
                      {{"address", f.destination()},
                       {"port", port_or_null(f, f.destination_port())},
                       {"segment", f.destination_segment()}}},
                     {"service", f.service()},
                     {"rule", f.rule().empty() ? Json(nullptr) : Json(f.rule())},
                     {"state", f.state()},
                     {"in", f.in_port()},
                     {"out", f.out_port()},
                     {"packets_out", f.packets_out()},
                     {"packets_back", f.packets_back()},
                     {"bytes_out", f.bytes_out()},
                     {"bytes_back", f.bytes_back()},
                     {"opened_ns", f.opened_ns()},
                     {"last_ns", f.last_ns()},
                     {"until_ns", time_or_null(f.until_ns())},
                     {"generation", f.generation()},
                     {"zone", f.zone()},
                     {"mtls", f.mtls()},
                     {"protection", f.protection()},
                     {"verified_by", text_or_null(f.verified_by())},
                     {"tls_version", text_or_null(f.tls_version())},
                     {"cipher", text_or_null(f.cipher())},
                     {"sni", text_or_null(f.sni())},
                     {"src_svid", text_or_null(f.source_svid())},
                     {"dst_svid", text_or_null(f.destination_svid())}});
    if (f.proto().starts_with("icmp")) flows.back()["icmp_id"] = f.source_port();
  }
  return {{"total", list.total()}, {"truncated", list.truncated()}, {"flows", std::move(flows)}};
}

Json clear_rules_json(const v1::FlowList& list) {
  Json rules = Json::array();
  for (const auto& r : list.clear_rules()) {
    Json services = Json::array();
    for (const std::string& service : r.services()) services.push_back(service);
    rules.push_back({{"rule", r.rule()},
                     {"tier", r.tier()},
                     {"from", r.from()},
                     {"to", r.to()},
                     {"services", std::move(services)},
                     {"until_ns", time_or_null(r.until_ns())}});
  }
  return rules;
}

Json drops_json(const v1::DropList& list) {
  Json drops = Json::array(), guards = Json::array(), hints = Json::array();
  for (const auto& d : list.drops())
    drops.push_back({{"reason", d.reason()}, {"packets", d.packets()}, {"help", d.help()}});
  for (const auto& g : list.guards())
    guards.push_back(
        {{"port", g.port()}, {"dropped", g.dropped()}, {"passed", g.passed()}, {"missed", g.missed()}});
  for (const std::string& hint : list.hints()) hints.push_back(hint);
  return {{"drops", std::move(drops)}, {"guards", std::move(guards)}, {"hints", std::move(hints)}};
}

Json segments_json(const v1::SegmentList& list) {
  Json segments = Json::array();
  for (const auto& s : list.segments()) {
    Json labels = Json::object();
    for (const auto& [key, value] : std::map<std::string, std::string>(s.labels().begin(), s.labels().end()))
      labels[key] = value;
    segments.push_back(
        {{"name", s.name()}, {"tag", s.tag()}, {"members", s.members()}, {"labels", std::move(labels)}});
  }
  return {{"segments", std::move(segments)}};
}

}  // namespace bulkhead
