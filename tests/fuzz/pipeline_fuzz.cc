// Bursts of frames through a whole pipeline: whatever comes, packets are conserved, none leaks, and no flow
// exists that policy didn't allow. The input is a list of (port, milliseconds since the one before, length,
// frame); 0xff for a length runs the timers.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include <rte_mbuf.h>

#include "base/check.h"
#include "config/gateway.h"
#include "config/policy.h"
#include "dataplane/fastpath/parse.h"
#include "dataplane/fastpath/replay.h"
#include "rig.h"

using namespace bulkhead;

namespace {

constexpr const char* kWires = R"(gateway: {name: gw}
dataplane:
  mode: wire
  ports: [{name: left, vlans: any}, {name: right, link: attached, sources: [10.2.0.0/16, "fd00:2::/32"]}]
  wires: [[left, right]]
  on_implicit_deny: reject
)";
constexpr const char* kRoutes = R"(gateway: {name: gw}
dataplane:
  mode: route
  ports: [{name: left, addresses: [10.1.0.254/24, "fd00:1::fe/64"]}, {name: right, addresses: [10.2.0.254/24, "fd00:2::fe/64"]}]
  on_implicit_deny: reject
)";
constexpr const char* kTags = R"(gateway: {name: gw}
dataplane:
  mode: wire
  ports:
    - {name: left, vlans: any, trust_tags: true, impose_tags: cmd}
    - {name: right, mac: "02:ff:00:00:00:02", trust_tags: true, impose_tags: vxlan_gbp, vxlan: {local: 192.0.2.1, vni: 42, peers: [192.0.2.2, 192.0.2.3]}}
  wires: [[left, right]]
  on_implicit_deny: reject
)";
/// One pair may open; nothing else may, so every flow must be of that pair.
constexpr const char* kPolicy = R"(segments:
  web: {tag: 100, members: [10.1.0.0/24, "fd00:1::/32"]}
  db: {tag: 200, members: [10.2.0.0/24, "fd00:2::/32"]}
policies:
  - {name: open, from: web, to: db, allow: [any, proto/47]}
  - {name: encrypted, from: web, to: db, allow: [tcp/443, udp/443], mtls: end_to_end, sni: [db.corp.example, "*.apps.example"]}
)";

std::unique_ptr<test::Rig> make_rig(const char* gateway) {
  auto loaded = load_gateway_text("fuzz", gateway, true);
  auto policy = load_policy_text({{"fuzz", kPolicy}}, WallTime{0});
  BULKHEAD_CHECK(loaded.config && policy.policy);
  auto compiled = compile(*policy.policy, target_of(loaded.config->dataplane), wall_as_boot);
  BULKHEAD_CHECK(compiled.has_value());
  auto rig = std::make_unique<test::Rig>(loaded.config->dataplane, 1, BootTime{1'000'000'000'000},
                                         std::chrono::hours(1), kSkipIpChecksum | kSkipL4Checksum);
  rig->publish(*compiled);
  return rig;
}

void check_flows(const test::Rig& rig) {
  static const Prefix kWeb4 = *parse_prefix("10.1.0.0/24"), kWeb6 = *parse_prefix("fd00:1::/32");
  static const Prefix kDb4 = *parse_prefix("10.2.0.0/24"), kDb6 = *parse_prefix("fd00:2::/32");
  for (const FlowRecord& flow : rig.flows()) {
    bool tagged = flow.source_from == static_cast<uint8_t>(IdentitySource::kTag);
    BULKHEAD_CHECK(tagged ? tag_of(IdentityId{flow.source_identity}) == SegmentTag{100}
                          : kWeb4.contains(flow.source) || kWeb6.contains(flow.source));
    BULKHEAD_CHECK(kDb4.contains(flow.destination) || kDb6.contains(flow.destination));
    if (flow.service != service_key(IpProto::kTcp, 443).value) {
      BULKHEAD_CHECK(flow.mtls == static_cast<uint8_t>(MtlsMode::kNone));
      continue;
    }
    // Established is only what was verified, under a name that policy has.
    BULKHEAD_CHECK(flow.mtls == static_cast<uint8_t>(MtlsMode::kEndToEnd));
    BULKHEAD_CHECK(flow.state != static_cast<uint8_t>(FlowState::kEstablished) || flow.tls_verified == 1);
    std::string_view name(flow.sni, flow.sni_bytes);
    BULKHEAD_CHECK(name.empty() ? flow.tls_verified == 0
                                : name == "db.corp.example" || name.ends_with(".apps.example"));
  }
}

void run(test::Rig& rig, std::span<const uint8_t> input) {
  while (input.size() >= 4) {
    PortId port{static_cast<uint8_t>(input[0] & 1)};
    rig.set_now(BootTime{rig.now().ns + (int64_t{input[1]} << (input[0] >> 4)) * 1'000'000});
    size_t wanted = size_t{input[2]} << 8 | input[3];
    input = input.subspan(4);
    if (wanted >= 0xff00) {
      rig.maintain();
    } else {
      size_t bytes = std::min(wanted % 2048, input.size());
      rig.inject(port, input.first(bytes));
      input = input.subspan(bytes);
    }
    rig.own_frames().clear();
    rig.released().clear();
    BULKHEAD_CHECK(rig.broken_conservation().empty());
  }
  check_flows(rig);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  auto started = start_replay_memory(256);
  if (!started) std::fprintf(stderr, "%s\n", started.error().message.c_str());
  BULKHEAD_CHECK(started.has_value());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size == 0) return 0;
  auto rig = make_rig((input[0] & 2) != 0 ? kTags : (input[0] & 1) != 0 ? kRoutes : kWires);
  run(*rig, {input + 1, size - 1});
  BULKHEAD_CHECK(rig->close() == 0);
  return 0;
}
