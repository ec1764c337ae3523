#include <gtest/gtest.h>

#include <cstring>

#include "controlplane/compiler/compile.h"
#include "policy_text.h"

namespace bulkhead {
namespace {

using text::member;

class Members : public testing::Test {
 protected:
  Members() {
    policy_.files = {"p.yaml"};
    policy_.segments.resize(2);
    policy_.segments[0].name = "a";
    policy_.segments[0].tag = SegmentTag{10};
    policy_.segments[1].name = "b";
    policy_.segments[1].tag = SegmentTag{20};
  }
  void add(size_t segment, Member member) { policy_.segments[segment].members.push_back(std::move(member)); }
  CompiledPolicy compiled() const { return compile(policy_, target_, wall_as_boot).value(); }
  std::string error() const {
    auto compiled = compile(policy_, target_, wall_as_boot);
    return compiled ? "compiled" : compiled.error().message;
  }
  static std::string prefix_of(const Endpoint& e) { return to_string(Prefix{e.address, e.bits}); }

  Policy policy_;
  CompileTarget target_{"edge-1", {"left", "right"}, {}};
};

TEST_F(Members, BecomeEndpoints_SortedByAddress) {
  add(0, member("10.2.0.0/16", 1));
  add(1, member("10.1.0.0/24", 2));
  add(1, member("10.1.0.0/16", 3));
  auto endpoints = compiled().endpoints;
  ASSERT_EQ(endpoints.size(), 3u);
  EXPECT_EQ(prefix_of(endpoints[0]), "10.1.0.0/16");
  EXPECT_EQ(prefix_of(endpoints[1]), "10.1.0.0/24");
  EXPECT_EQ(prefix_of(endpoints[2]), "10.2.0.0/16");
  EXPECT_EQ(endpoints[2].identity, identity_of(SegmentTag{10}).value);
  EXPECT_EQ(endpoints[2].port, kPortNone.value);
  EXPECT_EQ(endpoints[2].flags, 0);
}

TEST_F(Members, BoundMac_IsAnEndpointOfItsOwn) {
  add(0, member("10.0.0.1", 1));
  add(0, member("fd00::1", 2));
  MacAddress mac{{2, 0, 0, 0, 0, 1}};
  for (Member& m : policy_.segments[0].members) m.mac = mac;
  policy_.segments[0].members[0].port = "edge-1/right";
  auto endpoints = compiled().endpoints;
  ASSERT_EQ(endpoints.size(), 3u);
  EXPECT_EQ(endpoints[2].address, mac_key(mac));
  EXPECT_EQ(endpoints[2].bits, 128);
  EXPECT_EQ(endpoints[2].identity, identity_of(SegmentTag{10}).value);
  EXPECT_EQ(endpoints[2].port, kPortNone.value) << "the two bindings don't agree on one";
}
TEST_F(Members, MacOfTwoSegments_IsNobodys) {
  add(0, member("10.0.0.1", 1));
  add(1, member("10.0.0.2", 2));
  for (Segment& segment : policy_.segments) segment.members[0].mac = MacAddress{{2, 0, 0, 0, 0, 1}};
  EXPECT_EQ(compiled().endpoints.size(), 2u);
}

TEST_F(Members, PortOfThisGateway_Binds) {
  add(0, member("10.0.0.1", 1));
  policy_.segments[0].members[0].port = "edge-1/right";
  EXPECT_EQ(compiled().endpoints[0].port, 1);
}
TEST_F(Members, PortOfAnotherGateway_BindsNothingHere) {
  add(0, member("10.0.0.1", 1));
  policy_.segments[0].members[0].port = "edge-2/uplink";
  EXPECT_EQ(compiled().endpoints[0].port, kPortNone.value);
}
TEST_F(Members, MacAndVlanBesideAnotherGatewaysPort_BindNothingHere) {
  add(0, member("10.0.0.1", 1));
  Member& bound = policy_.segments[0].members[0];
  bound.port = "edge-2/uplink";
  bound.mac = MacAddress{{2, 0, 0, 0, 0, 1}};
  bound.vlan = 20;
  auto endpoints = compiled().endpoints;
  ASSERT_EQ(endpoints.size(), 1u) << "nor is the MAC anybody's";
  EXPECT_EQ(endpoints[0].flags, 0);
  EXPECT_TRUE(endpoints[0].mac.is_zero());
  bound.port = "edge-1/left";
  EXPECT_EQ(compiled().endpoints[0].flags, kEndpointHasMac | kEndpointHasVlan);
}
TEST_F(Members, PortThatThisGatewayDoesNotHave_IsAnErrorWithItsLine) {
  add(0, member("10.0.0.1", 7));
  policy_.segments[0].members[0].port = "edge-1/middle";
  EXPECT_EQ(error(), "p.yaml:7: member 10.0.0.1: gateway 'edge-1' has no port 'middle'");
}

TEST_F(Members, VlanAndMac_BecomePartOfTheBinding) {
  add(0, member("10.0.0.1", 1));
  policy_.segments[0].members[0].vlan = 0;
  policy_.segments[0].members[0].mac = MacAddress{{2, 0, 0, 0, 0, 7}};
  auto endpoint = compiled().endpoints[0];
  EXPECT_EQ(endpoint.flags, kEndpointHasMac | kEndpointHasVlan);
  EXPECT_EQ(endpoint.vlan, 0);
  EXPECT_EQ(endpoint.mac, (MacAddress{{2, 0, 0, 0, 0, 7}}));
}

TEST_F(Members, Workloads_AreNumberedByNameAndSpiffe) {
  for (uint8_t i = 1; i <= 5; ++i) add(0, member("10.0.0." + std::to_string(i), i));
  auto& members = policy_.segments[0].members;
  members[1].workload = "w";
  members[2].spiffe = "spiffe://x/w";
  members[3].workload = "w";
  members[3].spiffe = "spiffe://x/other";
  auto result = compiled();
  std::vector<std::string_view> names;
  for (const Endpoint& endpoint : result.endpoints)
    names.push_back(result.workloads->name(endpoint.workload));
  EXPECT_EQ(names, (std::vector<std::string_view>{"", "w", "spiffe://x/w", "w spiffe://x/other", ""}));
}

TEST(WorkloadDescription, IsTakenApartAgain) {
  auto names = [](std::string_view text) {
    auto [name, spiffe] = describe_workload(text);
    return std::pair(name, spiffe);
  };
  using Pair = std::pair<std::string_view, std::string_view>;
  EXPECT_EQ(names(""), Pair("", ""));
  EXPECT_EQ(names("w"), Pair("w", ""));
  EXPECT_EQ(names("spiffe://x/w"), Pair("", "spiffe://x/w"));
  EXPECT_EQ(names("w spiffe://x/w"), Pair("w", "spiffe://x/w"));
}

/// Else one workload more would be a change of all others, and each of their flows be judged again.
TEST_F(Members, WorkloadThatComesFirst_LeavesTheEndpointsOfTheOthersAsTheyAre) {
  for (uint8_t i = 1; i <= 5; ++i) {
    add(1, member("10.0.0." + std::to_string(i), i));
    policy_.segments[1].members.back().workload = "w" + std::to_string(i);
  }
  auto before = compiled().endpoints;
  add(0, member("10.0.0.0", 1));
  policy_.segments[0].members[0].workload = "first";
  auto after = compiled().endpoints;
  ASSERT_EQ(after.size(), before.size() + 1);
  EXPECT_EQ(std::memcmp(before.data(), after.data() + 1, before.size() * sizeof(Endpoint)), 0);
}

TEST_F(Members, SamePrefixTwice_IsAnErrorWithBothLines) {
  add(0, member("10.0.0.0/24", 3));
  add(1, member("10.0.0.0/24", 9));
  EXPECT_EQ(error(), "p.yaml:9: member 10.0.0.0/24: stands in line 3 already; keep one");
}

TEST_F(Members, OwnAddress_IsTheGateways) {
  add(0, member("10.0.0.0/24", 1));
  target_.own_addresses = {parse_address("10.0.0.254").value()};
  auto endpoints = compiled().endpoints;
  ASSERT_EQ(endpoints.size(), 2u);
  EXPECT_EQ(endpoints[1].identity, kIdentityGateway.value);
  EXPECT_EQ(endpoints[1].bits, 128);
}
TEST_F(Members, OwnAddressAsAMember_IsAnError) {
  add(0, member("10.0.0.254", 4));
  target_.own_addresses = {parse_address("10.0.0.254").value()};
  EXPECT_EQ(
      error(),
      "p.yaml:4: member 10.0.0.254: is one of this gateway's own addresses, segment `gateway`; take it out");
}

TEST_F(Members, WholeOfIpv6_IsItsHalvesWhereNoMemberHasThem) {
  add(0, member("::/0", 1));
  add(1, member("8000::/1", 2));
  auto endpoints = compiled().endpoints;
  ASSERT_EQ(endpoints.size(), 2u);
  EXPECT_EQ(prefix_of(endpoints[0]), "::/1");
  EXPECT_EQ(endpoints[0].identity, identity_of(SegmentTag{10}).value);
  EXPECT_EQ(prefix_of(endpoints[1]), "8000::/1");
  EXPECT_EQ(endpoints[1].identity, identity_of(SegmentTag{20}).value);
}

TEST(TargetOf, Settings_GivePortsByIdAndOwnAddresses) {
  DataplaneSettings settings;
  settings.name = "edge-1";
  settings.ports.resize(2);
  settings.ports[0].name = "left";
  settings.ports[0].addresses = {parse_interface_address("10.0.0.254/24").value()};
  settings.ports[1].name = "right";
  CompileTarget target = target_of(settings);
  EXPECT_EQ(target.gateway, "edge-1");
  EXPECT_EQ(target.port_names, (std::vector<std::string>{"left", "right"}));
  EXPECT_EQ(target.own_addresses, (std::vector<IpAddress>{parse_address("10.0.0.254").value()}));
}

}  // namespace
}  // namespace bulkhead
