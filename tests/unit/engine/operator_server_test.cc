// The operator's socket and what it answers, over gRPC as the command does.
#include "controlplane/api/operator_server.h"
#include "controlplane/api/clear_rules.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "controlplane/api/hints.h"
#include "tests/unit/engine/temporary_directory.h"

namespace bulkhead::test {
namespace {

struct OperatorServerTest : testing::Test {
  TemporaryDirectory directory;
  std::string path = directory.path("control.sock");
  StateBoard board;
  BusyMeter busy;
  NameHistory names;
  DataplaneSettings settings;
  std::unique_ptr<OperatorServer> server;
  std::unique_ptr<v1::Operator::Stub> stub;

  Expected<std::unique_ptr<OperatorServer>> start() {
    return OperatorServer::start(path, "", {board, busy, names, settings, "1.2.3"});
  }
  void SetUp() override {
    settings.name = "edge";
    auto started = start();
    ASSERT_TRUE(started) << started.error().message;
    server = std::move(*started);
    stub = v1::Operator::NewStub(grpc::CreateChannel("unix:" + path, grpc::InsecureChannelCredentials()));
  }
  void enforce(const std::string& text) {
    auto loaded = load_policy_text({{"p.yaml", text}}, WallTime{0});
    ASSERT_TRUE(loaded.policy) << to_string(loaded.diagnostics.at(0));
    auto policy = make_explainable(std::move(*loaded.policy), {}, wall_as_boot);
    ASSERT_TRUE(policy) << policy.error().message;
    std::shared_ptr<const ExplainablePolicy> shared = std::move(*policy);
    names.add(3, 3, *shared);
    board.change([&](ControlState& state) { state.policy = shared, state.enforced = {3, 3}; });
  }
  template <class Answer, class Request>
  std::pair<grpc::Status, Answer> call(grpc::Status (v1::Operator::Stub::*method)(grpc::ClientContext*,
                                                                                  const Request&, Answer*),
                                       const Request& request) {
    grpc::ClientContext context;
    Answer answer;
    grpc::Status status = (stub.get()->*method)(&context, request, &answer);
    return {status, answer};
  }
  std::pair<grpc::Status, v1::Explanation> explain(const std::string& from, const std::string& to,
                                                   const std::string& service) {
    v1::ExplainRequest request;
    request.set_from(from), request.set_to(to), request.set_service(service);
    return call(&v1::Operator::Stub::Explain, request);
  }
};
using OperatorServer_ = OperatorServerTest;

constexpr const char* kPolicy =
    "segments:\n  web: {tag: 100, members: [10.1.0.0/24], labels: {tier: frontend}}\n  db: {tag: 200, "
    "members: [10.2.0.0/24]}\n"
    "policies:\n  - {name: web-calls-db, from: web, to: db, allow: [tcp/5432]}\n";

TEST_F(OperatorServer_, Status_WithoutDataplaneSaysSo) {
  auto [status, answer] = call(&v1::Operator::Stub::GetStatus, v1::StatusRequest{});
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(answer.gateway(), "edge");
  EXPECT_EQ(answer.version(), "1.2.3");
  EXPECT_FALSE(answer.dataplane_connected());
  EXPECT_EQ(answer.policy_feed().state(), "waiting for the dataplane");
}

TEST_F(OperatorServer_, FlowsAndDrops_WithoutDataplaneAreUnavailable) {
  EXPECT_EQ(call(&v1::Operator::Stub::ListFlows, v1::FlowsRequest{}).first.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(call(&v1::Operator::Stub::ListDrops, v1::DropsRequest{}).first.error_code(), grpc::UNAVAILABLE);
}

TEST_F(OperatorServer_, Segments_AreThoseInForce) {
  EXPECT_EQ(call(&v1::Operator::Stub::ListSegments, v1::SegmentsRequest{}).first.error_code(),
            grpc::FAILED_PRECONDITION);
  enforce(kPolicy);
  auto [status, answer] = call(&v1::Operator::Stub::ListSegments, v1::SegmentsRequest{});
  ASSERT_TRUE(status.ok());
  ASSERT_EQ(answer.segments_size(), 2);
  EXPECT_EQ(answer.segments(0).name(), "db");
  EXPECT_EQ(answer.segments(1).name(), "web");
  EXPECT_EQ(answer.segments(1).labels().at("tier"), "frontend");
}

TEST_F(OperatorServer_, Explain_IsTheRunningPolicysWord) {
  enforce(kPolicy);
  auto [status, allowed] = explain("10.1.0.5", "10.2.0.9", "tcp/5432");
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(allowed.verdict(), "allow");
  EXPECT_EQ(allowed.reason(), "allowed");
  EXPECT_EQ(allowed.rule(), "web-calls-db");
  EXPECT_EQ(allowed.source().segment(), "web");
  EXPECT_EQ(allowed.generation(), 3u);
  auto denied = explain("10.1.0.5", "10.2.0.9", "tcp/22").second;
  EXPECT_EQ(denied.verdict(), "deny");
  EXPECT_EQ(denied.reason(), "policy_denied");
}

TEST_F(OperatorServer_, Explain_WhatCannotBeReadIsInvalid) {
  enforce(kPolicy);
  EXPECT_EQ(explain("10.1.0", "10.2.0.9", "tcp/22").first.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(explain("10.1.0.5", "db?", "tcp/22").first.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(explain("10.1.0.5", "10.2.0.9", "tcp/0").first.error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(OperatorServer_, FlowsOfWhatThePolicyDoesNotHave_AreToldApartFromNone) {
  enforce(kPolicy);
  auto code = [&](auto set) {
    v1::FlowsRequest request;
    set(request);
    return call(&v1::Operator::Stub::ListFlows, request).first.error_code();
  };
  EXPECT_EQ(code([](auto& r) { r.set_segment("wbe"); }), grpc::NOT_FOUND);
  EXPECT_EQ(code([](auto& r) { r.set_rule("web"); }), grpc::NOT_FOUND);
  EXPECT_EQ(code([](auto& r) { r.set_service("tcp/0"); }), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(code([](auto& r) { r.set_address("web"); }), grpc::INVALID_ARGUMENT);
  for (const char* segment : {"web", "unknown", "gateway"})  // so far right: only the dataplane is missing
    EXPECT_EQ(
        code([&](auto& r) { r.set_segment(segment), r.set_rule("web-calls-db"), r.set_service("tcp"); }),
        grpc::UNAVAILABLE)
        << segment;
}

TEST_F(OperatorServer_, TooLargeARequest_IsRefused) {
  EXPECT_EQ(explain(std::string(100 << 10, '1'), "10.2.0.9", "tcp/22").first.error_code(),
            grpc::RESOURCE_EXHAUSTED);
}

TEST_F(OperatorServer_, Socket_IsClosedToOthers) {
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0660u);
}

TEST_F(OperatorServer_, SecondGatewayOnTheSocket_IsRefusedAndTheFirstGoesOn) {
  auto second = start();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
  EXPECT_TRUE(call(&v1::Operator::Stub::GetStatus, v1::StatusRequest{}).first.ok());
}

TEST_F(OperatorServer_, LeftoverOfADeadGateway_IsReplaced) {
  server.reset();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(dead, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::close(dead);
  auto again = start();
  ASSERT_TRUE(again) << again.error().message;
}

TEST_F(OperatorServer_, FileThatIsNoSocket_IsLeftAlone) {
  server.reset();
  directory.write("control.sock", "precious");
  auto again = start();
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kExists);
  EXPECT_EQ(directory.read("control.sock"), "precious");
}

TEST(ClearRules, AreTheAllowsThatHoldAndAskForNoMtls) {
  auto loaded = load_policy_text({{"p.yaml", R"(
segments:
  web: {tag: 100, members: [10.1.0.0/24], labels: {tier: frontend, zone: a}}
  db: {tag: 200, members: [10.2.0.0/24]}
policies:
  - {name: clear, from: [web, db], to: any, allow: [tcp/80, any, tcp/8000-8099, udp, icmp/echo, icmp/3, icmp, proto/47]}
  - {name: encrypted, from: web, to: db, allow: [tcp/443], mtls: end_to_end}
  - {name: denied, from: web, to: db, deny: [tcp/1]}
  - {name: watched, from: web, to: db, allow: [tcp/2], audit: true}
  - {name: over, from: web, to: db, allow: [tcp/3], until: 2020-01-01T00:00:00Z}
  - {name: later, from: web, to: db, allow: [tcp/4], after: 2040-01-01T00:00:00Z}
  - {name: for-now, tier: baseline, from: {labels: {tier: frontend, zone: a}}, to: unknown, allow: [tcp/5], until: 2040-01-01T00:00:00Z}
)"}},
                                 *parse_time("2030-01-01T00:00:00Z"));
  ASSERT_TRUE(loaded.policy);
  auto rules = clear_rules(*loaded.policy, *parse_time("2030-01-01T00:00:00Z"));
  ASSERT_EQ(rules.size(), 2u);
  EXPECT_EQ(rules[0].rule(), "clear");
  EXPECT_EQ(rules[0].from(), "db, web");
  EXPECT_EQ(rules[0].to(), "any");
  std::vector<std::string> services(rules[0].services().begin(), rules[0].services().end());
  EXPECT_EQ(services, (std::vector<std::string>{"tcp/80", "any", "tcp/8000-8099", "udp", "icmp/echo",
                                                "icmp/3", "icmp", "proto/47"}));
  EXPECT_EQ(rules[0].until_ns(), 0);
  EXPECT_EQ(rules[1].rule(), "for-now");
  EXPECT_EQ(rules[1].tier(), "baseline");
  EXPECT_EQ(rules[1].from(), "tier: frontend, zone: a");
  EXPECT_EQ(rules[1].to(), "unknown");
  EXPECT_EQ(rules[1].until_ns(), parse_time("2040-01-01T00:00:00Z")->ns);
}

TEST(Hints, KnownCauses_AreNamedOnlyWhenTheyPileUp) {
  using namespace std::chrono_literals;
  Readings readings;
  EXPECT_TRUE(hints_for(readings, 1h, true).empty());
  readings.drops[static_cast<size_t>(DropReason::k_l4_checksum)] = 100;
  auto hints = hints_for(readings, 1h, true);
  ASSERT_EQ(hints.size(), 1u);
  EXPECT_NE(hints[0].find("ethtool -K"), std::string::npos);
  readings.drops[static_cast<size_t>(DropReason::k_tcp_no_state)] = 100;
  EXPECT_NE(hints_for(readings, 1min, true).at(1), hints_for(readings, 1h, true).at(1))
      << "right after the start it is another cause";
}

TEST(Hints, NoPolicy_IsAHintOnlyWhileNoneIsInForce) {
  using namespace std::chrono_literals;
  Readings readings;
  readings.drops[static_cast<size_t>(DropReason::k_no_policy)] = 1000;
  EXPECT_TRUE(hints_for(readings, 1h, true).empty());
  EXPECT_EQ(hints_for(readings, 1h, false).size(), 1u);
}

}  // namespace
}  // namespace bulkhead::test
