#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/config/load_text.h"

namespace bulkhead {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A gateway in which each part can be replaced.
struct Parts {
  std::string gateway = "{name: edge-1}";
  std::string mode = "wire";
  std::string left = "{name: left, device: \"af_xdp:ga\", link: attached, sources: [10.1.0.0/24]}";
  std::string right = "{name: right, device: \"af_xdp:gb\"}";
  std::string topology = "  wires: [[left, right]]\n";
  std::string more;  ///< of dataplane, from line 8
  std::string rest;  ///< top level
  std::string text() const {
    return "gateway: " + gateway + "\ndataplane:\n  mode: " + mode + "\n  ports:\n    - " + left +
           "\n    - " + right + "\n" + topology + more + rest;
  }
  std::vector<std::string> errors(bool for_replay = false) const {
    LoadedGateway loaded = load_gateway_text("/etc/bh/g.yaml", text(), for_replay);
    EXPECT_EQ(loaded.config.has_value(), !has_errors(loaded.diagnostics));
    std::vector<std::string> lines = told(loaded.diagnostics);
    for (std::string& line : lines) line.erase(0, std::string("/etc/bh/").size());
    return lines;
  }
};

Parts left(const std::string& port) {
  Parts parts;
  parts.left = port;
  return parts;
}
Parts more(const std::string& line) {
  Parts parts;
  parts.more = "  " + line + "\n";
  return parts;
}
Parts rest(const std::string& lines) {
  Parts parts;
  parts.rest = lines + "\n";
  return parts;
}
Parts routed(const std::string& left_keys, const std::string& right_keys, const std::string& topology = "") {
  Parts parts;
  parts.mode = "route";
  parts.left = "{name: left, device: \"af_xdp:ga\", " + left_keys + "}";
  parts.right = "{name: right, device: \"af_xdp:gb\", " + right_keys + "}";
  parts.topology = topology;
  return parts;
}

TEST(GatewayLoad, Least_HasTheDefaults) {
  LoadedGateway loaded = load_gateway_text("/etc/bh/g.yaml", Parts().text());
  ASSERT_TRUE(loaded.config) << told(loaded.diagnostics).front();
  const GatewayConfig& config = *loaded.config;
  EXPECT_EQ(config.file, "/etc/bh/g.yaml");
  EXPECT_EQ(config.dataplane.name, "edge-1");
  EXPECT_EQ(config.dataplane.file_prefix, "edge-1");
  EXPECT_THAT(config.dataplane.cores, ElementsAre(1u));
  EXPECT_EQ(config.dataplane.max_flows, 1'048'576u);
  EXPECT_EQ(config.dataplane.max_flows_per_identity, 786'432u);
  ASSERT_EQ(config.dataplane.ports.size(), 2u);
  EXPECT_TRUE(config.dataplane.ports[0].attached);
  EXPECT_FALSE(config.dataplane.ports[0].any_source);
  EXPECT_TRUE(config.dataplane.ports[1].any_source);
  ASSERT_EQ(config.dataplane.wires.size(), 1u);
  EXPECT_EQ(config.dataplane.wires[0].second, PortId{1});
  EXPECT_EQ(config.policy, "");
  EXPECT_EQ(config.controlplane.metrics, "127.0.0.1:9464");
  EXPECT_EQ(config.contract_socket(), "/run/bulkhead/control.sock.dataplane");
}

TEST(GatewayLoad, EverythingElse_IsRead) {
  Parts parts;
  parts.gateway = "{name: edge-1, trust_domain: corp.example}";
  parts.left =
      "{name: left, device: \"pcap:in.pcap\", link: attached, sources: any, vlans: [20, 10], mac: "
      "\"02:00:00:00:00:01\", "
      "mtu: 9000, trust_tags: false, untrusted_tags: drop, impose_tags: none}";
  parts.right = "{name: right, device: \"af_xdp:gb\", host_addresses: [10.0.0.1, \"fd00::1\"]}";
  parts.more =
      "  cores: [2, 3]\n  memory_mib: 512\n  buffers: 50000\n  max_flows: 4096\n  file_prefix: other\n  tcp: "
      "liberal\n"
      "  timeouts: {syn: 250ms, udp: 2h}\n  half_open: {per_identity: 1, total: 2}\n  "
      "fragments: {datagrams: 3, per_source: 2, timeout: 1m}\n  on_implicit_deny: "
      "reject\n"
      "  on_revoke: drop\n  reject_rate: {per_identity: 3, total: 4}\n";
  parts.rest =
      "policy: policy/\ncontrolplane:\n  user: bh\n  socket: run/c.sock\n  socket_group: ops\n  metrics: "
      "\"[::1]:9464\"\n"
      "  flow_log: {path: log/flows.jsonl, rotate_mib: 1, keep: 2}\n  state: state\n";
  LoadedGateway loaded = load_gateway_text("/etc/bh/g.yaml", parts.text());
  ASSERT_TRUE(loaded.config) << told(loaded.diagnostics).front();
  const DataplaneSettings& dataplane = loaded.config->dataplane;
  const PortSetting& port = dataplane.ports[0];
  EXPECT_EQ(loaded.config->trust_domain, "corp.example");
  EXPECT_EQ(port.device, "pcap:/etc/bh/in.pcap");
  EXPECT_TRUE(port.any_source);
  EXPECT_THAT(port.vlans.ids, ElementsAre(10, 20));
  EXPECT_EQ(port.mtu, 9000);
  EXPECT_EQ(dataplane.ports[1].host_addresses.size(), 2u);
  EXPECT_THAT(dataplane.cores, ElementsAre(2u, 3u));
  EXPECT_EQ(dataplane.memory_mib, 512u);
  EXPECT_EQ(dataplane.max_flows_per_identity, 3072u);
  EXPECT_EQ(dataplane.buffers, 50'000u);
  EXPECT_EQ(dataplane.file_prefix, "other");
  EXPECT_EQ(dataplane.tcp, TcpMode::kLiberal);
  EXPECT_EQ(dataplane.timeouts.syn.count(), 250);
  EXPECT_EQ(dataplane.timeouts.udp.count(), 7'200'000);
  EXPECT_EQ(dataplane.timeouts.closing.count(), 240'000);
  EXPECT_EQ(dataplane.half_open_total, 2u);
  EXPECT_EQ(dataplane.fragments, (FragmentSettings{3, 2, std::chrono::minutes(1)}));
  EXPECT_TRUE(dataplane.reject_implicit_deny);
  EXPECT_FALSE(dataplane.reset_on_revoke);
  EXPECT_EQ(dataplane.reject_total, 4u);
  const ControlplaneConfig& controlplane = loaded.config->controlplane;
  EXPECT_EQ(loaded.config->policy, "/etc/bh/policy/");
  EXPECT_EQ(controlplane.socket, "/etc/bh/run/c.sock");
  EXPECT_EQ(controlplane.metrics, "[::1]:9464");
  EXPECT_EQ(controlplane.flow_log.path, "/etc/bh/log/flows.jsonl");
  EXPECT_EQ(controlplane.flow_log.keep, 2u);
  EXPECT_EQ(controlplane.state, "/etc/bh/state");
}

TEST(GatewayLoad, RouteMode_IsRead) {
  Parts parts = routed(
      "addresses: [10.1.0.254/24, \"fd00:1::fe/64\"], neighbours: [{address: 10.1.0.9, mac: "
      "\"02:00:00:00:00:09\"}]",
      "addresses: [10.9.0.254/24]",
      "  routes: [{to: 0.0.0.0/0, via: 10.9.0.1}, {to: \"::/0\", via: \"fd00:1::1\"}]\n");
  LoadedGateway loaded = load_gateway_text("g.yaml", parts.text());
  ASSERT_TRUE(loaded.config) << told(loaded.diagnostics).front();
  EXPECT_EQ(loaded.config->dataplane.mode, Mode::kRoute);
  EXPECT_EQ(to_string(loaded.config->dataplane.ports[0].addresses[0].address), "10.1.0.254");
  EXPECT_EQ(loaded.config->dataplane.ports[0].neighbours.size(), 1u);
  EXPECT_EQ(loaded.config->dataplane.routes.size(), 2u);
}

TEST(GatewayLoad, MissingSectionsAndKeys) {
  EXPECT_THAT(told(load_gateway_text("g.yaml", "").diagnostics),
              ElementsAre(IsAt("g.yaml", "the file is empty")));
  EXPECT_THAT(told(load_gateway_text("g.yaml", "policy: p\n").diagnostics),
              ElementsAre(IsAt("g.yaml:1:1", "needs the key 'dataplane'"),
                          IsAt("g.yaml:1:1", "needs the key 'gateway'")));
  Parts parts;
  parts.gateway = "{trust_domain: a}";
  EXPECT_THAT(parts.errors(), ElementsAre(IsAt("g.yaml:1:10", "needs the key 'name'")));
  EXPECT_THAT(told(load_gateway_text("g.yaml", "gateway: {name: a}\ndataplane: {mode: wire}\n").diagnostics),
              ElementsAre(IsAt("g.yaml:2:12", "needs the key 'ports'"),
                          IsAt("g.yaml:2:12", "needs the key 'wires'")));
  EXPECT_THAT(more("mdoe: x").errors(), ElementsAre(IsAt("g.yaml:8:3", "did you mean 'mode'?")));
}

TEST(GatewayLoad, PolicyBesideTheFile_IsTheDefault) {
  std::string pattern = testing::TempDir() + "gateway.XXXXXX";
  std::string directory = ::mkdtemp(pattern.data());
  auto policy_of = [&](const std::string& more) {
    LoadedGateway loaded = load_gateway_text(directory + "/g.yaml", Parts().text() + more);
    EXPECT_TRUE(loaded.config);
    return loaded.config ? loaded.config->policy : "";
  };
  EXPECT_EQ(policy_of(""), "") << "it isn't there";
  std::filesystem::create_directory(directory + "/policy");
  EXPECT_EQ(policy_of(""), directory + "/policy/");
  EXPECT_EQ(policy_of("policy: other\n"), directory + "/other");
  std::filesystem::remove_all(directory);
}

TEST(GatewayLoad, KeysOfLaterVersions_AreRefusedByName) {
  EXPECT_THAT(rest("feeds: {}").errors(),
              ElementsAre(IsAt("g.yaml:8:1", "'feeds' is not available in this version")));
  EXPECT_THAT(rest("svid: {}").errors(),
              ElementsAre(IsAt("g.yaml:8:7", "needs the key 'directory' or the key 'workload_api'")));
  EXPECT_THAT(more("hold: {packets: 1}").errors(),
              ElementsAre(IsAt("g.yaml:8:3", "'hold' is not available")));
}

TEST(GatewayLoad, SvidsComeFromADirectoryOrAnAgent) {
  auto agent = [](const std::string& text) {
    LoadedGateway loaded =
        load_gateway_text("g.yaml", Parts().text() + "svid: {workload_api: \"" + text + "\"}\n");
    EXPECT_TRUE(loaded.config) << told(loaded.diagnostics).front();
    if (!loaded.config) return std::string();
    EXPECT_TRUE(loaded.config->svid.is_there() && loaded.config->svid.directory.empty());
    EXPECT_EQ(loaded.config->dataplane.ports.back().name, "relay");
    return loaded.config->svid.workload_api;
  };
  EXPECT_EQ(agent("unix:/run/spire/agent.sock"), "unix:/run/spire/agent.sock");
  EXPECT_EQ(agent("unix:///run/spire/agent.sock"), "unix:/run/spire/agent.sock");
  std::string longest = "/" + std::string(106, 'x');
  EXPECT_EQ(agent("unix:" + longest), "unix:" + longest);
  for (const std::string& wrong :
       {std::string("/run/agent.sock"), std::string("unix:agent.sock"), std::string("unix://host/x"),
        std::string("unix:////x"), std::string("tcp:127.0.0.1:8080"), "unix:" + longest + "x"})
    EXPECT_THAT(rest("svid: {workload_api: \"" + wrong + "\"}").errors(),
                ElementsAre(IsAt("g.yaml:8:22", "isn't a Unix socket; write \"unix:/PATH\"")));
  EXPECT_THAT(
      rest("svid: {directory: x, workload_api: \"unix:/x\"}").errors(),
      ElementsAre(IsAt("g.yaml:8:7", "from 'directory' or from 'workload_api'; remove one of the two")));
  EXPECT_THAT(rest("svid: {workload_api: }").errors(), ElementsAre(IsAt("g.yaml:8:8", "has no value")));
  EXPECT_THAT(rest("svid: {directory: x, workload_api: }").errors(), testing::SizeIs(2))
      << "an empty one is there, too";
}

TEST(Svid, UserOfTheControlPlane_IsNoneForTheRelay) {
  EXPECT_THAT(rest("svid: {directory: x, user: sys}\ncontrolplane: {user: daemon}").errors(), IsEmpty());
  EXPECT_THAT(
      rest("svid: {directory: x, user: daemon}\ncontrolplane: {user: daemon}").errors(),
      ElementsAre(IsAt("g.yaml:8:28", "would run as 'daemon', which is the user of the control plane")));
  EXPECT_THAT(rest("svid: {directory: x}\ncontrolplane: {user: bulkhead-relay}").errors(),
              ElementsAre(IsAt("g.yaml:8:7", "name a user of its own as svid.user")));
  EXPECT_THAT(rest("controlplane: {user: bulkhead-relay}").errors(), IsEmpty()) << "there is no relay";
}

TEST(Svid, SameUserUnderAnotherName_IsNoneForTheRelay) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to see users that aren't this host's";
  std::string users = testing::TempDir() + "bulkhead-passwd-" + std::to_string(getpid());
  std::ofstream(users) << "root:x:0:0::/:/bin/sh\none:x:501:501::/:/bin/sh\nalias:x:501:501::/:/bin/sh\n"
                          "two:x:502:502::/:/bin/sh\n";
  pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount(users.c_str(), "/etc/passwd", nullptr, MS_BIND, nullptr) != 0)
      _exit(3);
    auto errors = [](const std::string& user) {
      return rest("svid: {directory: x, user: " + user + "}\ncontrolplane: {user: one}").errors();
    };
    bool told = errors("alias").size() == 1 &&
                errors("alias")[0].find("'alias', which is the user of the control plane, 'one'") !=
                    std::string::npos;
    _exit(told && errors("two").empty() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  unlink(users.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Ports, Tags) {
  auto read = [](const std::string& keys) {
    LoadedGateway loaded =
        load_gateway_text("g.yaml", left("{name: left, device: \"null\", " + keys + "}").text());
    EXPECT_TRUE(loaded.config) << told(loaded.diagnostics).front();
    return loaded.config ? loaded.config->dataplane.ports[0] : PortSetting{};
  };
  PortSetting usual = read("mtu: 1500");
  EXPECT_FALSE(usual.trust_tags || usual.strip_tags);
  EXPECT_EQ(usual.impose_tags, ImposeTags::kNone);
  EXPECT_FALSE(read("trust_tags: false, untrusted_tags: drop, impose_tags: none").strip_tags);
  EXPECT_TRUE(read("untrusted_tags: strip").strip_tags);
  PortSetting trunk = read("trust_tags: true, untrusted_tags: drop, impose_tags: cmd");
  EXPECT_TRUE(trunk.trust_tags);
  EXPECT_EQ(trunk.impose_tags, ImposeTags::kCmd);

  auto errors = [](const std::string& keys) {
    return left("{name: left, device: \"null\", " + keys + "}").errors();
  };
  EXPECT_THAT(errors("trust_tags: yes"), ElementsAre(IsAt("g.yaml:5:48", "must be true or false")));
  EXPECT_THAT(errors("untrusted_tags: keep"), ElementsAre(IsAt("g.yaml:5:52", "write one of: drop, strip")));
  EXPECT_THAT(errors("trust_tags: true, untrusted_tags: strip"),
              ElementsAre(IsAt("g.yaml:5:70", "none is untrusted; remove this key, or trust_tags")));
  EXPECT_THAT(errors("impose_tags: sgt"),
              ElementsAre(IsAt("g.yaml:5:49", "write one of: none, vxlan_gbp, cmd")));
  EXPECT_THAT(errors("impose_tags: cmd, mtu: 75"),
              ElementsAre(IsAt("g.yaml:5:59", "takes 8 bytes of its MTU; write 76 or more")));
  EXPECT_THAT(errors("impose_tags: cmd, mtu: 76"),
              ElementsAre(IsAt("g.yaml:5:59: warning", "write 1288 or more")));
  EXPECT_THAT(errors("impose_tags: cmd, mtu: 1288"), IsEmpty());
  EXPECT_THAT(errors("link: attached, sources: any, trust_tags: true"),
              ElementsAre(IsAt("g.yaml:5:78: warning", "may claim any segment with a tag")));
}

TEST(Ports, Overlays) {
  auto errors = [](const std::string& keys) {
    return left("{name: left, device: \"null\", " + keys + "}").errors();
  };
  LoadedGateway loaded =
      load_gateway_text("g.yaml", left("{name: left, device: \"null\", impose_tags: vxlan_gbp, "
                                       "vxlan: {local: 192.0.2.1, vni: 42, peers: [192.0.2.2, 192.0.2.3]}}")
                                      .text());
  ASSERT_TRUE(loaded.config) << told(loaded.diagnostics).front();
  const PortSetting& port = loaded.config->dataplane.ports[0];
  EXPECT_EQ(port.impose_tags, ImposeTags::kVxlanGbp);
  ASSERT_TRUE(port.vxlan);
  EXPECT_EQ(*port.vxlan, (OverlaySetting{*parse_address("192.0.2.1"),
                                         42,
                                         4789,
                                         {*parse_address("192.0.2.2"), *parse_address("192.0.2.3")}}));
  EXPECT_THAT(errors("vxlan: {local: \"fd00::1\", vni: 0, peers: [\"fd00::2\"], udp_port: 8472}"), IsEmpty());

  EXPECT_THAT(errors("vxlan: 42"), ElementsAre(IsAt("g.yaml:5:43", "'vxlan' must be a mapping")));
  EXPECT_THAT(
      errors("vxlan: {colour: red}"),
      ElementsAre(IsAt("g.yaml:5:43", "needs the key 'local'"), IsAt("g.yaml:5:43", "needs the key 'peers'"),
                  IsAt("g.yaml:5:43", "needs the key 'vni'"), IsAt("g.yaml:5:44", "has no key 'colour'")));
  EXPECT_THAT(errors("vxlan: {local: 224.0.0.1, vni: 16777216, peers: [\"fe80::1\"], udp_port: 0}"),
              ElementsAre(IsAt("g.yaml:5:51", "'224.0.0.1' can't be an end of an overlay"),
                          IsAt("g.yaml:5:67", "isn't a decimal number from 0 to 16777215"),
                          IsAt("g.yaml:5:85", "'fe80::1' can't be an end of an overlay"),
                          IsAt("g.yaml:5:107", "isn't a decimal number from 1 to 65535")));
  for (std::string reserved : {"169.254.0.1", "240.0.0.1", "\"::1\"", "\"::192.0.2.1\""})
    EXPECT_THAT(errors("vxlan: {local: " + reserved + ", vni: 1, peers: [192.0.2.2]}"),
                ElementsAre(IsAt("g.yaml:5:51", "can't be an end of an overlay")));
  EXPECT_THAT(errors("vxlan: {local: 192.0.2.1, vni: 1, peers: []}"),
              ElementsAre(IsAt("g.yaml:5:77", "this list is empty")));
  EXPECT_THAT(
      errors("vxlan: {local: 192.0.2.1, vni: 1, peers: [\"fd00::2\", 192.0.2.1, 192.0.2.3, 192.0.2.3]}"),
      ElementsAre(IsAt("g.yaml:5:78", "another family than local"),
                  IsAt("g.yaml:5:89", "local can't be its own peer"),
                  IsAt("g.yaml:5:111", "is in the list already, in /etc/bh/g.yaml:5:100")));
  EXPECT_THAT(errors("impose_tags: vxlan_gbp"),
              ElementsAre(IsAt("g.yaml:5:49", "vxlan_gbp is for overlay ports; add 'vxlan', or write cmd")));
  EXPECT_THAT(errors("impose_tags: cmd, vxlan: {local: 192.0.2.1, vni: 1, peers: [192.0.2.2]}"),
              ElementsAre(IsAt("g.yaml:5:49", "write vxlan_gbp")));
  EXPECT_THAT(errors("mtu: 117, vxlan: {local: 192.0.2.1, vni: 1, peers: [192.0.2.2]}"),
              ElementsAre(IsAt("g.yaml:5:41", "takes 50 bytes of its MTU; write 118 or more")));
  std::string many = "192.0.2.2";
  for (int i = 0; i < 64; ++i) many += ", 198.51.100." + std::to_string(i + 1);
  EXPECT_THAT(errors("vxlan: {local: 192.0.2.1, vni: 1, peers: [" + many + "]}"),
              ElementsAre(IsAt("g.yaml:5:1025", "at most 64 peers")));
}

TEST(Ports, Devices) {
  auto device = [](const std::string& text) {
    return left("{name: left, device: \"" + text + "\"}").errors();
  };
  for (const char* text :
       {"pci:0000:03:00.0", "af_xdp:eth0.20", "tap:t0", "pcap:a/b.pcap", "null", "dpdk:net_x0,a=b"})
    EXPECT_THAT(device(text), IsEmpty()) << text;
  EXPECT_THAT(device("eth0"), ElementsAre(IsAt("g.yaml:5:28", "af_xdp:IFNAME")));
  EXPECT_THAT(device("null:x"), ElementsAre(IsAt("g.yaml:5:28", "af_xdp:IFNAME")));
  EXPECT_THAT(device("pci:03:00.0"), ElementsAre(IsAt("g.yaml:5:28", "0000:03:00.0")));
  EXPECT_THAT(device("pci:0000:03:00.8"), ElementsAre(IsAt("g.yaml:5:28", "0000:03:00.0")));
  EXPECT_THAT(device("af_xdp:"), ElementsAre(IsAt("g.yaml:5:28", "interface's name")));
  EXPECT_THAT(device("af_xdp:a,b=c"), ElementsAre(IsAt("g.yaml:5:28", "interface's name")));
  EXPECT_THAT(device("tap:sixteen-letters-"), ElementsAre(IsAt("g.yaml:5:28", "15 characters")));
  EXPECT_THAT(device("pcap:a,b"), ElementsAre(IsAt("g.yaml:5:28", "commas")));
  EXPECT_THAT(device("dpdk:a b"), ElementsAre(IsAt("g.yaml:5:28", "without spaces")));
  EXPECT_THAT(device("af_xdp:gb"),
              ElementsAre(IsAt("g.yaml:6:29", "used by two ports, first in /etc/bh/g.yaml:5:28")));
  EXPECT_THAT(device("af_packet:gb"),
              ElementsAre(IsAt("g.yaml:5:28: warning", "af_packet is for trying things"),
                          IsAt("g.yaml:6:29: error", "'interface gb' is used by two ports")));
  Parts nulls = left("{name: left, device: \"null\"}");
  nulls.right = "{name: right, device: \"null\"}";
  EXPECT_THAT(nulls.errors(), IsEmpty());
}

TEST(Ports, DeviceMayBeMissing_InReplayOnly) {
  EXPECT_THAT(left("{name: left}").errors(), ElementsAre(IsAt("g.yaml:5:7", "needs the key 'device'")));
  EXPECT_THAT(left("{name: left}").errors(true), IsEmpty());
  EXPECT_THAT(left("{name: left, device: eth0}").errors(true),
              ElementsAre(IsAt("g.yaml:5:28", "isn't a device")));
}

TEST(Ports, Keys) {
  auto port = [](const char* keys) {
    return left("{name: left, device: \"null\", " + std::string(keys) + "}").errors();
  };
  EXPECT_THAT(port("link: attached"),
              ElementsAre(IsAt("g.yaml:5:7", "attached port needs the key 'sources'")));
  EXPECT_THAT(port("link: attached, sources: any"), IsEmpty());
  EXPECT_THAT(port("link: attached, sources: []"), ElementsAre(IsAt("g.yaml:5:61", "list is empty")));
  EXPECT_THAT(port("link: near"), ElementsAre(IsAt("g.yaml:5:42", "attached, uncontrolled")));
  EXPECT_THAT(port("sources: [10.0.0.1/8]"), ElementsAre(IsAt("g.yaml:5:46", "write 10.0.0.0/8")));
  EXPECT_THAT(port("sources: [\"::/0\"]"), ElementsAre(IsAt("g.yaml:5:46", "where IPv4 stands")));
  EXPECT_THAT(port("vlans: any"), IsEmpty());
  EXPECT_THAT(port("vlans: none"), IsEmpty());
  EXPECT_THAT(port("vlans: all"), ElementsAre(IsAt("g.yaml:5:43", "none, any, or a list")));
  EXPECT_THAT(port("vlans: [0]"), ElementsAre(IsAt("g.yaml:5:44", "1 to 4094")));
  EXPECT_THAT(port("vlans: [4095]"), ElementsAre(IsAt("g.yaml:5:44", "1 to 4094")));
  EXPECT_THAT(port("vlans: [7, 7]"), ElementsAre(IsAt("g.yaml:5:47",
                                                      "VLAN '7' is in this list twice, first "
                                                      "in /etc/bh/g.yaml:5:44")));
  EXPECT_THAT(port("mtu: 67"), ElementsAre(IsAt("g.yaml:5:41", "68 to 9600")));
  EXPECT_THAT(port("mtu: 9601"), ElementsAre(IsAt("g.yaml:5:41", "68 to 9600")));
  EXPECT_THAT(port("mac: \"ff:ff:ff:ff:ff:ff\""), ElementsAre(IsAt("g.yaml:5:41", "unicast")));
  EXPECT_THAT(port("host_addresses: [10.0.0.0/8]"),
              ElementsAre(IsAt("g.yaml:5:53", "not an IPv4 or IPv6 address")));
  EXPECT_THAT(port("addresses: [10.0.0.1/8]"), ElementsAre(IsAt("g.yaml:5:47", "only in mode route")));
  Parts same = left("{name: right, device: \"null\"}");
  same.topology = "  wires: [[right, right]]\n";
  EXPECT_THAT(same.errors(), testing::Contains(IsAt("g.yaml:6:14",
                                                    "the name 'right' is used by two ports, first in "
                                                    "/etc/bh/g.yaml:5:14")));
  Parts macs = left("{name: left, device: \"null\", mac: \"02:00:00:00:00:01\"}");
  macs.right = "{name: right, device: \"null\", mac: \"02:00:00:00:00:01\"}";
  EXPECT_THAT(macs.errors(), ElementsAre(IsAt("g.yaml:6:42",
                                              "is used by two ports, first in "
                                              "/etc/bh/g.yaml:5:41")));
}

TEST(Ports, HostAddresses_NeedAnInterfaceThatTheKernelHas) {
  auto port = [](const std::string& device, const std::string& addresses) {
    return left("{name: left, device: \"" + device + "\", host_addresses: [" + addresses + "]}").errors();
  };
  EXPECT_THAT(port("af_xdp:ga", "10.0.0.1"), IsEmpty());
  EXPECT_THAT(port("null", ""), IsEmpty());
  for (const char* device : {"null", "tap:t0", "pcap:a", "pci:0000:03:00.0", "dpdk:net_x0"})
    EXPECT_THAT(port(device, "10.0.0.1"), ElementsAre(HasSubstr("only on af_xdp and af_packet devices")))
        << device;
  std::string many = "10.0.0.0";
  for (int i = 1; i < 256; ++i) many += ", 10.0.0." + std::to_string(i);
  EXPECT_THAT(port("af_xdp:ga", many), IsEmpty());
  EXPECT_THAT(port("af_xdp:ga", many + ", 10.0.1.0"), ElementsAre(HasSubstr("at most 256 host_addresses")));
  EXPECT_THAT(
      routed("addresses: [10.1.0.1/24], host_addresses: [10.1.0.2, 10.1.0.1]", "addresses: [10.9.0.254/24]")
          .errors(),
      ElementsAre(IsAt("g.yaml:5:94", "it can't be the host's too")));
}

TEST(Wires, EachPortEndsExactlyOne) {
  auto wires = [](const char* text) {
    Parts parts;
    parts.topology = "  wires: " + std::string(text) + "\n";
    return parts.errors();
  };
  EXPECT_THAT(wires("[[left, rihgt]]"),
              ElementsAre(IsAt("g.yaml:6:7", "'right' is in no wire"),
                          IsAt("g.yaml:7:18", "no port 'rihgt' (did you mean 'right'?)")));
  EXPECT_THAT(wires("[[left, left]]"),
              ElementsAre(IsAt("g.yaml:6:7", "'right' is in no wire"), IsAt("g.yaml:7:18",
                                                                            "in a wire already, in "
                                                                            "/etc/bh/g.yaml:7:12")));
  EXPECT_THAT(wires("[[left, right], [right, left]]"), ElementsAre(IsAt("g.yaml:7:27", "in a wire already"),
                                                                   IsAt("g.yaml:7:34", "in a wire already")));
  EXPECT_THAT(wires("[[left]]"), testing::Contains(IsAt("g.yaml:7:11", "joins two ports")));
  EXPECT_THAT(wires("[]"), testing::Contains(IsAt("g.yaml:7:10", "list of pairs")));
  EXPECT_THAT(more("routes: []").errors(), ElementsAre(IsAt("g.yaml:8:11", "only in mode route")));
}

TEST(Routes, SubnetsNeighboursAndNextHops) {
  const std::string kLeft = "addresses: [10.1.0.254/24]", kRight = "addresses: [10.9.0.254/24]";
  EXPECT_THAT(routed(kLeft, kRight).errors(), IsEmpty());
  EXPECT_THAT(routed("mtu: 1500", kRight).errors(),
              ElementsAre(IsAt("g.yaml:5:7", "needs the key 'addresses'")));
  EXPECT_THAT(routed(kLeft, "addresses: [10.1.0.1/16]").errors(),
              ElementsAre(IsAt("g.yaml:6:54", "overlaps with that of port 'left' in /etc/bh/g.yaml:5:53")));
  EXPECT_THAT(routed("addresses: [10.1.0.1/24, 10.1.0.2/24, 10.1.0.1/24]", kRight).errors(),
              ElementsAre(IsAt("g.yaml:5:79",
                               "10.1.0.1 is an address of this port already, in "
                               "/etc/bh/g.yaml:5:53")));
  EXPECT_THAT(routed("addresses: [10.1.0.0/24]", kRight).errors(),
              ElementsAre(IsAt("g.yaml:5:53", "subnet's own or its broadcast")));
  EXPECT_THAT(routed("addresses: [10.1.0.255/24]", kRight).errors(),
              ElementsAre(IsAt("g.yaml:5:53", "subnet's own or its broadcast")));
  EXPECT_THAT(routed("addresses: [10.1.0.0/31]", kRight).errors(), IsEmpty());
  EXPECT_THAT(routed("addresses: [10.1.0.1]", kRight).errors(),
              ElementsAre(IsAt("g.yaml:5:53", "ADDRESS/LENGTH")));
  EXPECT_THAT(routed("addresses: [\"fd00::1/64\"], mtu: 1279", kRight).errors(),
              ElementsAre(IsAt("g.yaml:5:73", "1280 or more")));
  EXPECT_THAT(routed(kLeft + ", mtu: 1279", kRight).errors(), IsEmpty());
  EXPECT_THAT(
      routed(kLeft + ", neighbours: [{address: 10.2.0.1, mac: \"02:00:00:00:00:09\"}]", kRight).errors(),
      ElementsAre(IsAt("g.yaml:5:82", "no neighbour on this port")));
  std::string neighbour = "{address: 10.1.0.9, mac: \"02:00:00:00:00:09\"}";
  EXPECT_THAT(routed(kLeft + ", neighbours: [" + neighbour + ", " + neighbour + "]", kRight).errors(),
              ElementsAre(IsAt("g.yaml:5:129", "10.1.0.9 is a neighbour already, in /etc/bh/g.yaml:5:82")));
  EXPECT_THAT(routed(kLeft, kRight, "  wires: [[left, right]]\n").errors(),
              ElementsAre(IsAt("g.yaml:7:10", "only in mode wire")));
  auto route = [&](const char* text) {
    return routed(kLeft, kRight, "  routes: [" + std::string(text) + "]\n").errors();
  };
  EXPECT_THAT(route("{to: 0.0.0.0/0, via: 10.9.0.1}"), IsEmpty());
  EXPECT_THAT(route("{to: 0.0.0.0/0, via: 10.8.0.1}"),
              ElementsAre(IsAt("g.yaml:7:33", "in no port's subnet")));
  EXPECT_THAT(route("{to: 0.0.0.0/0, via: 10.9.0.254}"),
              ElementsAre(IsAt("g.yaml:7:33", "in no port's subnet")));
  EXPECT_THAT(route("{to: \"::/0\", via: 10.9.0.1}"), ElementsAre(IsAt("g.yaml:7:30", "another family")));
  EXPECT_THAT(route("{to: 10.0.0.0/8, via: 10.9.0.1}, {to: 10.0.0.0/8, via: 10.9.0.2}"),
              ElementsAre(IsAt("g.yaml:7:50", "a route to 10.0.0.0/8 already, in /etc/bh/g.yaml:7:17")));
  EXPECT_THAT(route("{to: 10.0.0.1/8, via: 10.9.0.1}"), ElementsAre(IsAt("g.yaml:7:17", "write 10.0.0.0/8")));
}

TEST(Limits, OutsideTheirRange_AreRefused) {
  EXPECT_THAT(
      more("cores: [1, 1]").errors(),
      ElementsAre(IsAt("g.yaml:8:14", "CPU '1' is in this list twice, first in /etc/bh/g.yaml:8:11")));
  EXPECT_THAT(more("cores: []").errors(), ElementsAre(IsAt("g.yaml:8:10", "list is empty")));
  EXPECT_THAT(more("memory_mib: 63").errors(), ElementsAre(IsAt("g.yaml:8:15", "from 64")));
  EXPECT_THAT(more("max_flows: 1023").errors(), ElementsAre(IsAt("g.yaml:8:14", "1024 to 268435456")));
  EXPECT_THAT(more("max_flows: 268435456").errors(), IsEmpty());
  EXPECT_THAT(more("timeouts: {syn: 0s}").errors(), ElementsAre(IsAt("g.yaml:8:19", "1ms to 720h")));
  EXPECT_THAT(more("timeouts: {syn: 30}").errors(), ElementsAre(IsAt("g.yaml:8:19", "isn't a duration")));
  EXPECT_THAT(more("timeouts: {sny: 30s}").errors(), ElementsAre(IsAt("g.yaml:8:14", "did you mean 'syn'?")));
  EXPECT_THAT(more("half_open: {total: 0}").errors(), ElementsAre(IsAt("g.yaml:8:22", "from 1")));
  EXPECT_THAT(more("tcp: lax").errors(), ElementsAre(IsAt("g.yaml:8:8", "strict, liberal")));
}

TEST(Limits, PortsAndWires) {
  auto with_pairs = [](int pairs) {
    std::string ports, wires;
    for (int i = 0; i < pairs; ++i) {
      std::string n = std::to_string(i);
      ports += "    - {name: l" + n + ", device: \"null\"}\n    - {name: r" + n + ", device: \"null\"}\n";
      wires += "    - [l" + n + ", r" + n + "]\n";
    }
    return told(load_gateway_text("g.yaml", "gateway: {name: a}\ndataplane:\n  mode: wire\n  ports:\n" +
                                                ports + "  wires:\n" + wires)
                    .diagnostics);
  };
  EXPECT_THAT(with_pairs(16), IsEmpty());
  EXPECT_THAT(with_pairs(17),
              ElementsAre(IsAt("g.yaml:37:7", "at most 32 ports"), IsAt("g.yaml:56:7", "at most 16 wires")));
}

TEST(Controlplane, Keys) {
  auto with = [](const std::string& line) { return rest("controlplane:\n  " + line).errors(); };
  for (const char* text : {"127.0.0.1:9464", "localhost:1", "\"[::1]:9464\"", "off"})
    EXPECT_THAT(with("metrics: " + std::string(text)), IsEmpty()) << text;
  for (const char* text : {"9464", "127.0.0.1", "\":9464\"", "\"127.0.0.1:0\"", "\"a b:1\"", "\"::1:9464\"",
                           "\"h:65536\"", "\"h:080\"", "\"[::1:1\""})
    EXPECT_THAT(with("metrics: " + std::string(text)), ElementsAre(IsAt("g.yaml:9:12", "HOST:PORT"))) << text;
  EXPECT_THAT(with("socket: /" + std::string(96, 's')), IsEmpty());
  EXPECT_THAT(with("socket: /" + std::string(97, 's')),
              ElementsAre(IsAt("g.yaml:9:11", "98 bytes; at most 97")));
  EXPECT_THAT(with("flow_log: {keep: 1}"), ElementsAre(IsAt("g.yaml:9:13", "needs the key 'path'")));
  EXPECT_THAT(with("flow_log: {path: f, keep: 0}"), ElementsAre(IsAt("g.yaml:9:29", "from 1 to 1000")));
  EXPECT_THAT(with("user: \"a b\""), ElementsAre(IsAt("g.yaml:9:9", "name of a user")));
}

TEST(IsGatewayFile, ByItsTopLevelKey) {
  std::string pattern = testing::TempDir() + "gateway.XXXXXX";
  std::string directory = ::mkdtemp(pattern.data());
  auto is_gateway = [&](const char* text) {
    std::ofstream(directory + "/f.yaml") << text;
    return is_gateway_file(directory + "/f.yaml");
  };
  EXPECT_TRUE(is_gateway("# one\ngateway:\n  name: a\n"));
  EXPECT_TRUE(is_gateway("{gateway: {name: a}}"));
  EXPECT_TRUE(is_gateway("\xef\xbb\xbfgateway: [broken\r\n"));
  EXPECT_FALSE(is_gateway("segments:\n  gateway: {tag: 2}\n"));
  EXPECT_FALSE(is_gateway("gateways: {}\n"));
  EXPECT_FALSE(is_gateway(""));
  EXPECT_FALSE(is_gateway_file(directory + "/none.yaml"));
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace bulkhead
