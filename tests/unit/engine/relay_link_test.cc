// The control loop with a relay: what the relay is given, and that it is what the dataplane enforces.
#include <gtest/gtest.h>

#include <filesystem>

#include "controlplane/engine/engine.h"
#include "tests/unit/engine/relay_ends.h"
#include "tests/unit/engine/temporary_directory.h"

namespace bulkhead::test {
namespace {

/// A policy whose segment web has the workloads of spiffe://corp.example/`kind`.
std::string policy_of(const std::string& kind) {
  return "segments:\n"
         "  web: {tag: 100, members: [10.1.0.0/24], spiffe: [\"spiffe://corp.example/" +
         kind +
         "/*\"], relay_id: \"spiffe://corp.example/web/relay\"}\n"
         "  db: {tag: 200, members: [10.2.0.0/24], spiffe: [\"spiffe://corp.example/db/*\"], relay_id: "
         "\"spiffe://corp.example/db/relay\"}\n"
         "policies:\n  - {name: r, from: web, to: db, allow: [tcp/80]}\n";
}
const std::string kOld = "spiffe://corp.example/old/1", kNew = "spiffe://corp.example/new/1";

/// A control plane that runs, with its directory of policy.
struct ControlPlane {
  ControlPlane(const TemporaryDirectory& directory, const DataplaneSettings& settings) {
    std::filesystem::create_directories(directory.path("state"));
    link = *RelayLink::start(directory.path("relay.sock"), relay_board);
    engine = *Engine::create(
        {settings, directory.path("contract.sock"), *FileFeed::open(directory.path("policy")),
         *Deadlines::open(directory.path("state"), *system_clocks()), board, names, retired, link.get()});
    thread = std::thread([this] { engine->run(); });
  }
  ~ControlPlane() {
    engine->stop();
    thread.join();
  }
  StateBoard board;
  NameHistory names;
  RetiredHits retired;
  RelayBoard relay_board;
  std::unique_ptr<RelayLink> link;
  std::unique_ptr<Engine> engine;
  std::thread thread;
};

struct RelayedEngine : testing::Test {
  TemporaryDirectory directory;
  DataplaneSettings settings;
  std::optional<DataplaneEnd> dataplane;
  std::optional<RelayControlEnd> relay;
  std::optional<ControlPlane> control;

  void SetUp() override {
    settings.name = "edge";
    settings.ports.resize(2);
    settings.ports[0].name = "left", settings.ports[1].name = "right";
    write(policy_of("old"));
  }
  void write(const std::string& policy) {
    directory.write("next", policy);
    std::filesystem::create_directories(directory.path("policy"));
    std::filesystem::rename(directory.path("next"), directory.path("policy/a.yaml"));
  }
  void start_dataplane(DataplaneEnd::Answer answer, uint64_t started = 1) {
    dataplane.emplace(directory.path("contract.sock"), std::move(answer), started);
  }
  void start_relay() { relay.emplace(directory.path("relay.sock")); }
  void start_control() { control.emplace(directory, settings); }
  /// Whether relay and dataplane are under one policy by now, and it is that of `id`.
  bool is_under(const std::string& id) {
    return soon([&] {
      return dataplane->image_generation() != 0 && relay->generation() == dataplane->image_generation() &&
             relay->web_may_be(id);
    });
  }
};

/// The dataplane is short of memory once, and by the time that it isn't the policy is another one.
TEST_F(RelayedEngine, ShortageAtThePublish_GivesNoGenerationTwoMeanings) {
  start_relay();
  start_dataplane([&](const Publish& publish) -> Expected<> {
    if (publish.generation != 1) return {};
    EXPECT_TRUE(soon([&] { return relay->generation() == 1; }));
    write(policy_of("new"));
    return fail(ErrorCode::kExhausted, "no memory for this update");
  });
  start_control();
  EXPECT_TRUE(is_under(kNew));
  EXPECT_FALSE(relay->web_may_be(kOld));
}

Expected<> take_all(const Publish&) {
  return {};
}

TEST_F(RelayedEngine, GatewayThatStartsAgainBesideALivingRelay_GivesItItsPolicy) {
  start_relay();
  start_dataplane(take_all);
  start_control();
  ASSERT_TRUE(is_under(kOld));
  write(policy_of("other"));
  ASSERT_TRUE(soon([&] { return relay->generation() == 2; }));
  control.reset(), dataplane.reset();

  write(policy_of("new"));
  start_dataplane(take_all);
  start_control();
  EXPECT_TRUE(is_under(kNew));
  EXPECT_EQ(relay->generation(), 1u);
}

/// The relay forgot them with the dataplane before, whose generation has the same number.
TEST_F(RelayedEngine, DataplaneThatStartsAgain_HasTheRelayGivenItsPolicyAnew) {
  start_relay();
  start_dataplane(take_all);
  start_control();
  ASSERT_TRUE(is_under(kOld));
  size_t given = relay->given().size();
  dataplane.reset();
  start_dataplane(take_all, 2);
  EXPECT_TRUE(soon([&] { return relay->given().size() > given; }));
  EXPECT_TRUE(is_under(kOld));
}

TEST_F(RelayedEngine, RelayThatStartsAgain_IsGivenWhatIsInForce) {
  start_relay();
  start_dataplane(take_all);
  start_control();
  ASSERT_TRUE(is_under(kOld));
  relay.reset();
  start_relay();
  EXPECT_TRUE(is_under(kOld));
}

Expected<> refuse(const Publish&) {
  return fail(ErrorCode::kInvalid, "an image that is wrong");
}

/// While the dataplane has neither taken nor refused it, the relay is as strict as both policies.
TEST_F(RelayedEngine, PolicyOnItsWay_RulesTheRelayFirst) {
  start_relay();
  start_dataplane([&](const Publish& publish) -> Expected<> {
    EXPECT_TRUE(soon([&] { return relay->generation() == publish.generation; }));
    return {};
  });
  start_control();
  ASSERT_TRUE(is_under(kOld));
  write(policy_of("new"));
  EXPECT_TRUE(is_under(kNew));
}

TEST_F(RelayedEngine, RefusedPolicy_DoesNotRuleTheRelay) {
  start_relay();
  start_dataplane([&](const Publish& publish) -> Expected<> {
    if (publish.generation == 1) return {};
    EXPECT_TRUE(soon([&] { return relay->web_may_be(kNew); }));
    return refuse(publish);
  });
  start_control();
  ASSERT_TRUE(is_under(kOld));
  write(policy_of("new"));
  ASSERT_TRUE(soon([&] { return control->board.read().feed.standing == FeedState::Standing::kRefused; }));
  EXPECT_TRUE(is_under(kOld));
  EXPECT_FALSE(relay->web_may_be(kNew));
}

/// It doesn't know what to put back, so that it waits for the dataplane's word.
TEST_F(RelayedEngine, RefusedPolicyOfANewControlPlane_IsNotGivenToTheRelay) {
  start_relay();
  start_dataplane(
      [&](const Publish& publish) { return publish.generation == 1 ? take_all(publish) : refuse(publish); });
  start_control();
  ASSERT_TRUE(is_under(kOld));
  control.reset();
  write(policy_of("new"));
  start_control();
  ASSERT_TRUE(soon([&] { return control->board.read().feed.standing == FeedState::Standing::kRefused; }));
  EXPECT_TRUE(soon([&] { return relay->attachments() == 2; }));
  EXPECT_EQ(relay->given(), std::vector<uint64_t>{1});
}

TEST_F(RelayedEngine, PolicyOfANewControlPlane_IsGivenToTheRelayWhenItIsEnforced) {
  start_relay();
  start_dataplane(take_all);
  start_control();
  ASSERT_TRUE(is_under(kOld));
  control.reset();
  write(policy_of("new"));
  start_control();
  EXPECT_TRUE(is_under(kNew));
}

/// Flows are still announced under the policy in force.
TEST_F(RelayedEngine, RelayThatStartsWhileAPolicyIsOnItsWay_IsGivenTheOneInForceToo) {
  std::atomic<bool> on_its_way{false}, may_answer{false};
  start_relay();
  start_dataplane([&](const Publish& publish) -> Expected<> {
    if (publish.generation == 1) return {};
    on_its_way = true;
    EXPECT_TRUE(soon([&] { return may_answer.load(); }));
    return {};
  });
  start_control();
  ASSERT_TRUE(is_under(kOld));
  write(policy_of("new"));
  ASSERT_TRUE(soon([&] { return on_its_way.load(); }));
  relay.reset();
  start_relay();
  EXPECT_TRUE(soon([&] { return relay->given() == std::vector<uint64_t>({1, 2}); }));
  may_answer = true;
  EXPECT_TRUE(is_under(kNew));
}

TEST_F(RelayedEngine, DataplaneThatStartsAgain_HasNoProofsOfTheOneBefore) {
  start_relay();
  start_dataplane(take_all, 1);
  start_control();
  ASSERT_TRUE(is_under(kOld));
  ConnectionProof proof;
  proof.record.flow_id = 17, proof.record.time_boot_ns = 2;
  proof.record.moment = ProofMoment::kEstablished, proof.record.role = RelayRole::kOriginate;
  proof.record.end = RelayEnd::kCount;
  relay->tell(proof);
  ASSERT_TRUE(soon([&] { return control->relay_board.proof_of(17).has_value(); }));
  dataplane.reset();
  start_dataplane(take_all, 1000);
  ASSERT_TRUE(is_under(kOld));
  EXPECT_FALSE(control->relay_board.proof_of(17));
}

IdentitySet identities_of(uint64_t generation) {
  return {.generation = generation, .segments = {{SegmentTag{100}, "web", {}, ""}}, .workloads = {}};
}

struct RelayLinkTest : testing::Test {
  TemporaryDirectory directory;
  std::string socket = directory.path("relay.sock");
  RelayBoard board;
};
using RelayLink_ = RelayLinkTest;

TEST_F(RelayLink_, RelayThatDoesNotAnswer_IsGivenUpAndAttachedToAnew) {
  RelayControlEnd relay(socket);
  relay.answer(false);
  auto link = *RelayLink::start(socket, board, 200ms);
  link->offer(identities_of(1));
  ASSERT_TRUE(soon([&] { return relay.given() == std::vector<uint64_t>({1}); }));
  EXPECT_TRUE(soon([&] { return relay.given() == std::vector<uint64_t>({1, 1}); }))
      << "what isn't known to be in force is handed over again";
  relay.answer(true);
  link->offer(identities_of(2));
  EXPECT_TRUE(soon([&] { return relay.generation() == 2; }));
}

/// The answer is all that comes: nothing else wakes the link up.
TEST_F(RelayLink_, OfferDuringAnother_GoesAsSoonAsThatIsAnswered) {
  RelayControlEnd relay(socket);
  relay.answer(false);
  auto link = *RelayLink::start(socket, board);
  link->offer(identities_of(1));
  ASSERT_TRUE(soon([&] { return relay.generation() == 1; }));
  link->offer(identities_of(2));
  std::this_thread::sleep_for(50ms);
  relay.answer(true);
  EXPECT_TRUE(soon([&] { return relay.generation() == 2; }));
  EXPECT_EQ(relay.attachments(), 1u);
}

/// A relay's end at which the test itself speaks.
class BareRelay {
 public:
  explicit BareRelay(const std::string& socket) : listener_(*listen_at(socket)) {}
  /// Lets the next control plane in.
  Channel welcome() {
    Fd fd;
    EXPECT_TRUE(soon([&] {
      fd = *accept_from(listener_);
      return bool(fd);
    }));
    Channel plane(std::move(fd));
    EXPECT_TRUE(plane.receive(1000));
    auto welcome = make_message<RelayWelcome>(MessageType::kRelayWelcome);
    welcome.state = RelayState::kReady;
    EXPECT_TRUE(plane.send_message(welcome));
    return plane;
  }

 private:
  Fd listener_;
};

TEST_F(RelayLink_, RelayThatHangsUpAtOnce_IsNotTriedAllTheTime) {
  BareRelay relay(socket);
  auto link = RelayLink::start(socket, board);
  BootTime begun = boot_now();
  for (int attached = 0; attached < 5; ++attached) relay.welcome();
  EXPECT_GE(boot_now(), begun + (50ms + 100ms + 200ms + 400ms));
}

TEST_F(RelayLink_, MoreMessagesThanAreTakenAtOnce_AreTakenInTurns) {
  BareRelay relay(socket);
  std::unique_ptr<RelayClient> client;
  std::jthread attaching([&] { client = *RelayClient::attach(socket); });
  Channel plane = relay.welcome();
  attaching.join();
  ConnectionProof proof;
  proof.record.moment = ProofMoment::kEstablished, proof.record.role = RelayRole::kOriginate;
  proof.record.end = RelayEnd::kCount;
  unsigned sent = 0, taken = 0;
  while (plane.send(encode_proof(proof), {}, 0)) ++sent;
  ASSERT_GT(sent, RelayClient::kMessagesAtOnce);
  for (bool first = true; taken < sent; first = false) {
    ASSERT_TRUE(client->handle_readable());
    while (client->next_proof()) ++taken;
    ASSERT_TRUE(!first || taken == RelayClient::kMessagesAtOnce) << taken;
  }
  EXPECT_EQ(taken, sent);
}

}  // namespace
}  // namespace bulkhead::test
