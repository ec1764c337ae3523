#include "config/policy_on_gateway.h"

#include "tests/unit/config/load_text.h"

namespace bulkhead {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// What is told of a policy with these members on gateway edge-1, which has port left for 10.1.0.0/16, any
/// for anything, and address 10.1.0.254; whether the policy is still there after it.
struct Told {
  explicit Told(const std::string& members, const std::string& rest = {}, bool relay = false) {
    DataplaneSettings settings;
    settings.name = "edge-1";
    settings.ports.resize(2);
    settings.ports[0].name = "left";
    settings.ports[0].sources = {*parse_prefix("10.1.0.0/16")};
    settings.ports[0].addresses = {*parse_interface_address("10.1.0.254/24")};
    settings.ports[1].name = "any";
    settings.ports[1].any_source = true;
    settings.ports[1].relay = relay;
    LoadedPolicy loaded =
        load_policy_text({{"p.yaml", "segments:\n  a: {tag: 2, members: [" + members + "]}\n" + rest}}, kNow);
    EXPECT_TRUE(loaded.policy);
    check_on_gateway(loaded, settings);
    lines = told(loaded.diagnostics);
    accepted = loaded.policy.has_value();
  }
  std::vector<std::string> lines;
  bool accepted;
};

TEST(PolicyOnGateway, MembersThatAgreeWithIt_AreFine) {
  Told told("10.1.0.0/24, {prefix: 10.1.0.7, port: edge-1/left}, {prefix: 10.9.0.1, port: edge-1/any}");
  EXPECT_THAT(told.lines, IsEmpty());
  EXPECT_TRUE(told.accepted);
}

TEST(PolicyOnGateway, AnotherGatewaysPort_IsItsOwnAffair) {
  EXPECT_THAT(Told("{prefix: 10.9.0.7, port: edge-2/nowhere}").lines, IsEmpty());
}

TEST(PolicyOnGateway, PortThatItLacks_IsAnErrorAtTheMember) {
  Told told("10.1.0.8, {prefix: 10.1.0.7, port: edge-1/lfet}");
  EXPECT_THAT(
      told.lines,
      ElementsAre("p.yaml:2:35: error: gateway 'edge-1' has no port 'lfet' (did you mean 'left'?) to bind "
                  "10.1.0.7 to; correct the name, or remove the key 'port'"));
  EXPECT_FALSE(told.accepted);
}

TEST(PolicyOnGateway, ItsOwnAddress_IsAnErrorAtTheMember) {
  Told told("10.1.0.0/24, 10.1.0.254");
  EXPECT_THAT(told.lines,
              ElementsAre(IsAt("p.yaml:2:38: error", "gateway 'edge-1''s own address on port 'left'")));
  EXPECT_FALSE(told.accepted);
}

TEST(PolicyOnGateway, MemberOutsideItsPortsSources_IsAWarning) {
  Told told("{prefix: 10.0.0.0/8, port: edge-1/left}");
  EXPECT_THAT(told.lines, ElementsAre(IsAt("p.yaml:2:25: warning",
                                           "10.0.0.0/8 is outside the sources of port 'edge-1/left'")));
  EXPECT_TRUE(told.accepted);
}

TEST(PolicyOnGateway, RelayThatItLacks_IsAWarningAtTheRule) {
  const std::string rule = "policies:\n  - {name: r, from: a, to: a, allow: [tcp/1], mtls: relay}\n";
  EXPECT_THAT(Told("10.1.0.8", rule).lines,
              ElementsAre(IsAt("p.yaml:4:5: warning", "gateway 'edge-1' has no mTLS relay")));
  EXPECT_THAT(Told("10.1.0.8", rule, true).lines, IsEmpty());
}

TEST(PolicyOnGateway, WithoutAGateway_NoRelayIsMissing) {
  LoadedPolicy loaded =
      load_policy_text({{"p.yaml",
                         "segments:\n  a: {tag: 2, members: [10.1.0.8]}\n"
                         "policies:\n  - {name: r, from: a, to: a, allow: [tcp/1], mtls: relay}\n"}},
                       kNow);
  check_on_gateway(loaded, {});
  EXPECT_THAT(told(loaded.diagnostics), IsEmpty());
}

}  // namespace
}  // namespace bulkhead
