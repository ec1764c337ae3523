#include "cli/live_tables.h"

#include <gtest/gtest.h>

#include <sstream>

#include "cli/text.h"

namespace bulkhead {
namespace {

constexpr WallTime kNow{1'700'000'100'000'000'000};
constexpr int64_t kMinuteAgo = kNow.ns - 60'000'000'000;

v1::FlowList one_flow() {
  v1::FlowList list;
  list.set_total(17);
  auto* f = list.add_flows();
  f->set_proto("tcp");
  f->set_source("10.1.0.5");
  f->set_source_port(40000);
  f->set_destination("fd00::9");
  f->set_destination_port(5432);
  f->set_source_segment("web");
  f->set_destination_segment("db");
  f->set_rule("web-calls-db");
  f->set_service("tcp/5432");
  f->set_state("established");
  f->set_packets_out(12345);
  f->set_packets_back(9);
  f->set_bytes_out(1024);
  f->set_bytes_back(512);
  f->set_opened_ns(kMinuteAgo);
  f->set_last_ns(kNow.ns - 250'000'000);
  return list;
}

TEST(FlowsText, NumbersAreHumanised_Ipv6PortsStandApart) {
  EXPECT_EQ(flows_text(one_flow(), Screen{200, false}, kNow),
            "PROTO  FROM            SEGMENT  TO              SEGMENT  STATE        RULE          PKTS OUT  "
            "BACK     BYTES    AGE    IDLE  ENDS IN\n"
            "tcp    10.1.0.5:40000  web      [fd00::9]:5432  db       established  web-calls-db    12.3 k    "
            " 9  1.50 KiB  1m 0s  250 ms        -\n"
            "1 of 17 live flows\n");
}

TEST(FlowsText, Tls_IsAColumnWhereAFlowIsToHaveIt) {
  v1::FlowList list = one_flow();
  EXPECT_EQ(flows_text(list, Screen{200, false}, kNow).find("TLS"), std::string::npos);
  list.mutable_flows(0)->set_mtls("end_to_end");
  list.mutable_flows(0)->set_protection("end_to_end");
  EXPECT_NE(flows_text(list, Screen{200, false}, kNow).find("  end_to_end, not verified yet  "),
            std::string::npos);
  list.mutable_flows(0)->set_verified_by("workloads");
  list.mutable_flows(0)->set_tls_version("1.3");
  list.mutable_flows(0)->set_cipher("TLS_AES_128_GCM_SHA256");
  list.mutable_flows(0)->set_sni("db.corp.example");
  EXPECT_NE(flows_text(list, Screen{200, false}, kNow).find("  end_to_end, verified by workloads  "),
            std::string::npos);
  Json flow = flows_json(list)["flows"][0];
  EXPECT_EQ(flow["mtls"], "end_to_end");
  EXPECT_EQ(flow["verified_by"], "workloads");
  EXPECT_EQ(flow["tls_version"], "1.3");
  EXPECT_EQ(flow["cipher"], "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(flow["sni"], "db.corp.example");
  flow = flows_json(one_flow())["flows"][0];
  EXPECT_TRUE(flow["verified_by"].is_null() && flow["sni"].is_null());
}

TEST(FlowsText, Relayed_SaysWhoVerifiedIt_AndLocalThatItIsInClear) {
  v1::FlowList list = one_flow();
  v1::Flow& relayed = *list.mutable_flows(0);
  relayed.set_mtls("relay");
  relayed.set_protection("relay");
  EXPECT_NE(flows_text(list, Screen{200, false}, kNow).find("  relay, not verified yet  "),
            std::string::npos);
  relayed.set_verified_by("gateway");
  relayed.set_source_svid("spiffe://corp.example/web/relay");
  EXPECT_NE(flows_text(list, Screen{200, false}, kNow).find("  relay, verified by gateway  "),
            std::string::npos);
  Json flow = flows_json(list)["flows"][0];
  EXPECT_EQ(flow["protection"], "relay");
  EXPECT_EQ(flow["src_svid"], "spiffe://corp.example/web/relay");
  EXPECT_TRUE(flow["dst_svid"].is_null());
  relayed.set_protection("local");
  EXPECT_NE(flows_text(list, Screen{200, false}, kNow).find("  local, in clear  "), std::string::npos);
}

TEST(ClearRules, AreATableAndJson) {
  v1::FlowList list;
  EXPECT_EQ(clear_rules_text(list, Screen{}, kNow), "no rule in force lets anything pass in clear\n");
  EXPECT_EQ(clear_rules_json(list), Json::array());
  auto* rule = list.add_clear_rules();
  rule->set_rule("web-calls-db");
  rule->set_tier("segment");
  rule->set_from("web, app");
  rule->set_to("any");
  rule->add_services("tcp/80");
  rule->add_services("udp");
  EXPECT_EQ(clear_rules_text(list, Screen{200, false}, kNow),
            "\nIN CLEAR FROM  TO   SERVICES     RULE          TIER     ENDS IN\n"
            "web, app       any  tcp/80, udp  web-calls-db  segment        -\n");
  EXPECT_EQ(
      clear_rules_json(list).dump(),
      R"([{"rule":"web-calls-db","tier":"segment","from":"web, app","to":"any","services":["tcp/80","udp"],"until_ns":null}])");
}

TEST(FlowsText, ListThatIsCut_SaysSo) {
  v1::FlowList list = one_flow();
  EXPECT_EQ(flows_json(list)["truncated"], false);
  list.set_truncated(true);
  EXPECT_EQ(flows_json(list)["truncated"], true);
  EXPECT_TRUE(flows_text(list, Screen{}, kNow)
                  .ends_with("live flows\nmore may match: raise --limit; of all flows a gateway looks at "
                             "65,536 at a time\n"));
}

TEST(FlowsText, EightyColumns_NoLineIsWider) {
  std::istringstream in(flows_text(one_flow(), Screen{80, false}, kNow));
  for (std::string line; std::getline(in, line);) EXPECT_LE(display_width(line), 80u) << line;
}

TEST(FlowsText, EightyColumns_ShowBothEndsAndTheRuleWhole) {
  v1::FlowList list = one_flow();
  list.mutable_flows(0)->set_source_segment("a-segment-with-a-rather-long-name");
  std::string text = flows_text(list, Screen{80, false}, kNow);
  for (const char* part : {"10.1.0.5:40000", "[fd00::9]:5432", "web-calls-db"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
}

TEST(FlowsText, EightyColumns_HoldTheLongestIpv4Ends) {
  v1::FlowList list = one_flow();
  auto* flow = list.mutable_flows(0);
  flow->set_source("192.168.100.100");
  flow->set_destination("192.168.200.200");
  flow->set_destination_port(65535);
  flow->set_source_segment("a-long-segment-name");
  flow->set_destination_segment("another-long-segment-name");
  flow->set_rule("a-rule-with-a-long-name");
  std::string text = flows_text(list, Screen{80, false}, kNow);
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) EXPECT_LE(display_width(line), 80u) << line;
  for (const char* part : {"192.168.100.100:40000", "192.168.200.200:65535"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
}

TEST(FlowsText, NoFlows_SaysHowManyThereAreInAll) {
  v1::FlowList list;
  list.set_total(3);
  EXPECT_EQ(flows_text(list, Screen{}, kNow), "0 of 3 live flows\n");
}

TEST(FlowsJson, NumbersAreExact_NoDeadlineIsNull) {
  Json json = flows_json(one_flow());
  EXPECT_EQ(json["total"], 17);
  EXPECT_EQ(json["flows"][0]["packets_out"], 12345);
  EXPECT_EQ(json["flows"][0]["src"]["segment"], "web");
  EXPECT_TRUE(json["flows"][0]["until_ns"].is_null());
}

TEST(Flows, IcmpHasAnIdentifierAndNoPorts) {
  v1::FlowList list = one_flow();
  list.mutable_flows(0)->set_proto("icmp6");
  list.mutable_flows(0)->set_destination_port(0);
  EXPECT_EQ(flows_text(list, Screen{200, false}, kNow).find("40000"), std::string::npos);
  Json flow = flows_json(list)["flows"][0];
  EXPECT_TRUE(flow["src"]["port"].is_null());
  EXPECT_EQ(flow["icmp_id"], 40000);
  EXPECT_FALSE(flows_json(one_flow())["flows"][0].contains("icmp_id"));
}

v1::DropList two_reasons() {
  v1::DropList list;
  auto* denied = list.add_drops();
  denied->set_reason("policy_denied");
  denied->set_help("no rule allows it");
  denied->set_packets(5);
  auto* never = list.add_drops();
  never->set_reason("tx_full");
  never->set_help("the output port's queue is full");
  return list;
}

TEST(DropsText, ReasonsThatNeverHappened_AreLeftOutUnlessAsked) {
  EXPECT_EQ(drops_text(two_reasons(), Screen{}, false),
            "REASON         PACKETS  WHAT IT MEANS\n"
            "policy_denied        5  no rule allows it\n");
  EXPECT_NE(drops_text(two_reasons(), Screen{}, true).find("tx_full"), std::string::npos);
}

TEST(DropsText, PortsWhereNothingHappened_AreLeftOutUnlessAsked) {
  v1::DropList list;
  list.add_guards()->set_port("quiet");
  auto* busy = list.add_guards();
  busy->set_port("busy");
  busy->set_dropped(12);
  EXPECT_EQ(drops_text(list, Screen{}, false),
            "no drops\n\n"
            "PORT  KEPT FROM THE HOST  LEFT TO THE HOST  MISSED BY THE DEVICE\n"
            "busy                  12                 0                     0\n");
  EXPECT_NE(drops_text(list, Screen{}, true).find("quiet"), std::string::npos);
}

TEST(DropsText, LongHints_AreWrapped) {
  v1::DropList list;
  list.add_hints("one two three");
  list.add_hints("four");
  EXPECT_EQ(drops_text(list, Screen{14, false}, false),
            "no drops\n\nhint: one two\n      three\nhint: four\n");
}

TEST(DropsText, Hints_StandBelow) {
  auto list = two_reasons();
  list.add_hints("turn offloads off");
  EXPECT_NE(drops_text(list, Screen{}, false).find("\nhint: turn offloads off\n"), std::string::npos);
}

TEST(DropsJson, EveryReasonIsThere_ZeroesIncluded) {
  Json json = drops_json(two_reasons());
  EXPECT_EQ(json["drops"].size(), 2u);
  EXPECT_EQ(json["drops"][1]["packets"], 0);
}

TEST(StatusText, NothingEnforced_SaysThatNothingIsForwarded) {
  v1::Status status;
  status.set_gateway("edge-1");
  status.set_dataplane_connected(true);
  std::string text = status_text(status, Screen{}, kNow);
  EXPECT_NE(text.find("nothing yet: nothing is forwarded"), std::string::npos) << text;
}

TEST(StatusText, NoDataplane_ClaimsNothingOfIt) {
  v1::Status status;
  std::string text = status_text(status, Screen{}, kNow);
  EXPECT_NE(text.find("dataplane   not connected: if it runs, it enforces what it was last given\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("enforced    not known without a dataplane\n"), std::string::npos) << text;
}

TEST(StatusText, RefusedChange_IsToldApartFromWhatIsInForce) {
  v1::Status status;
  status.mutable_policy_feed()->set_source("policy/");
  status.mutable_policy_feed()->set_state("refused");
  EXPECT_NE(status_text(status, Screen{}, kNow).find("policy      policy/, refused\n"), std::string::npos);
  status.mutable_policy_feed()->set_changed_ns(kMinuteAgo);
  std::string text = status_text(status, Screen{}, kNow);
  EXPECT_NE(text.find("policy/, its last change was refused; what is in force was read 1m 0s ago\n"),
            std::string::npos)
      << text;
}

v1::Status busy_status() {
  v1::Status status;
  status.set_gateway("edge-1");
  status.mutable_conservation()->set_received(123'456);
  status.mutable_conservation()->set_dropped(9'000);
  for (const char* reason : {"l4_checksum", "policy_denied", "tcp_no_state", "tx_full"}) {
    auto* drop = status.add_drops();
    drop->set_reason(reason);
    drop->set_packets(1000);
  }
  auto* port = status.add_ports();
  port->set_name("left");
  port->set_device("af_xdp:enp1s0f0np0");
  port->set_attached(true);
  port->set_up(true);
  port->set_rx_packets(123'456);
  port->set_rx_bytes(1'234'567'890);
  return status;
}

TEST(StatusText, EightyColumns_NoLineIsWider) {
  v1::Status status = busy_status();
  status.mutable_policy_feed()->add_errors("p.yaml:1:1: error: " + std::string(20, 'x') + " " +
                                           std::string(30, 'y') + " " + std::string(30, 'z'));
  std::istringstream in(status_text(status, Screen{80, false}, kNow));
  for (std::string line; std::getline(in, line);) EXPECT_LE(display_width(line), 80u) << line;
}

TEST(StatusText, Drops_NameTheMostFrequentReasons) {
  std::string text = status_text(busy_status(), Screen{120, false}, kNow);
  EXPECT_NE(text.find("dropped     9000: l4_checksum 1000, policy_denied 1000, tcp_no_state 1000, ...; "
                      "`bulkhead drops` says more\n"),
            std::string::npos)
      << text;
  EXPECT_EQ(status_json(busy_status())["drops"][0], (Json{{"reason", "l4_checksum"}, {"packets", 1000}}));
}

TEST(StatusText, PacketsBreakBeforeTheEqualsSign_WhereTheScreenIsNarrow) {
  std::string text = status_text(busy_status(), Screen{80, false}, kNow);
  EXPECT_NE(text.find("packets     received 123 k + originated 0\n            = transmitted 0"),
            std::string::npos)
      << text;
}

TEST(StatusText, NameWithEscapeSequence_IsEscaped) {
  v1::Status status;
  status.set_gateway("edge\033[2J");
  EXPECT_EQ(status_text(status, Screen{}, kNow).find('\033'), std::string::npos);
}

TEST(StatusJson, KeysThatScriptsUse_AreThere) {
  v1::Status status;
  status.set_generation(42);
  status.add_ports()->set_name("left");
  Json json = status_json(status);
  EXPECT_EQ(json["generation"], 42);
  EXPECT_EQ(json["ports"][0]["name"], "left");
  EXPECT_EQ(json["conservation"]["received"], 0);
}

TEST(SegmentsText, LabelsAreSorted) {
  v1::SegmentList list;
  auto* segment = list.add_segments();
  segment->set_name("web");
  segment->set_tag(100);
  segment->set_members(2);
  (*segment->mutable_labels())["tier"] = "frontend";
  (*segment->mutable_labels())["data"] = "internal";
  EXPECT_EQ(segments_text(list, Screen{}),
            "SEGMENT  TAG  MEMBERS  LABELS\n"
            "web      100        2  data: internal, tier: frontend\n");
}

}  // namespace
}  // namespace bulkhead
