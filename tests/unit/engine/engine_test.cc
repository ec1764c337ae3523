// The control loop against a real dataplane's control server: what is in the directory becomes what is
// enforced.
#include "controlplane/engine/engine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "controlplane/api/operator_service.h"
#include "dataplane/fastpath/control.h"
#include "policy/evaluate.h"
#include "tests/unit/engine/temporary_directory.h"

namespace bulkhead::test {
namespace {

using namespace std::chrono_literals;

/// A flow table as a worker would list it.
struct LiveFlows {
  uint32_t live;

  size_t list_flows(uint32_t& cursor, uint32_t budget, std::span<FlowRecord> records, const Snapshot*) const {
    size_t count = std::min<size_t>({budget, live - cursor, records.size()});
    for (FlowRecord& record : records.first(count)) {
      record = FlowRecord{};
      record.source = record.destination = *parse_address("10.1.0.1");
    }
    cursor += static_cast<uint32_t>(count);
    if (cursor == live) cursor = UINT32_MAX;
    return count;
  }
  uint32_t flow_count() const { return live; }
};

/// The part of a dataplane that talks to control planes, on a thread of its own; its one worker sleeps.
class Dataplane {
 public:
  /// `ports`: what its publisher believes to have.
  Dataplane(const std::string& socket, const std::string& gateway, unsigned ports = 2)
      : publisher_(published_, *quiescence_, 1, ports) {
    auto made = Telemetry::create(1, 2, 1'000'000'000);
    EXPECT_TRUE(made) << made.error().message;
    telemetry_.emplace(std::move(*made));
    auto listening =
        ControlServer::listen({socket, std::nullopt, gateway, 1 << 20}, publisher_, *telemetry_, flows_);
    EXPECT_TRUE(listening) << listening.error().message;
    server_ = std::move(*listening);
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        if (!(deaf_ = to_be_deaf_.load())) server_->step(5);
        if (live_flows_ != 0) flows_.serve(0, LiveFlows{live_flows_}, nullptr);
        generation_ = publisher_.generation();
      }
    });
  }
  ~Dataplane() {
    thread_.request_stop();
    thread_.join();
  }
  /// Answers nothing until hear().
  void go_deaf() {
    to_be_deaf_ = true;
    while (!deaf_) std::this_thread::yield();
  }
  void hear() { to_be_deaf_ = false; }
  /// From now on its worker lists so many flows; until then it doesn't answer.
  void list(uint32_t live_flows) { live_flows_ = live_flows; }
  uint64_t generation() const { return generation_; }
  /// What the workers would say to this packet. Only while nothing is being published.
  Verdict verdict(const char* from, const char* to, uint16_t port) const {
    const Snapshot* snapshot = published_.current.load();
    if (snapshot == nullptr) return Verdict::kDeny;
    return evaluate(*snapshot->image, *snapshot->endpoints, {*parse_address(from), kPortNone, 0, {}},
                    *parse_address(to), service_key(IpProto::kTcp, port), boot_now())
        .decision.verdict;
  }
  uint64_t image_generation() const { return published_.current.load()->image_generation; }

 private:
  Published published_;
  std::unique_ptr<Quiescence> quiescence_ = Quiescence::create(1);
  Publisher publisher_;
  std::optional<Telemetry> telemetry_;
  FlowExport flows_{1};
  std::unique_ptr<ControlServer> server_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<uint32_t> live_flows_{0};
  std::atomic<bool> to_be_deaf_{false}, deaf_{false};
  std::jthread thread_;
};

std::string policy_text(const std::string& allow, const std::string& web = "10.1.0.0/24") {
  return "segments:\n  web: {tag: 100, members: [" + web +
         "]}\n  db: {tag: 200, members: [10.2.0.0/24]}\n"
         "policies:\n  - {name: r, from: web, to: db, allow: [" +
         allow + "]}\n";
}

/// The policy of policy_text(), whose rule has `time` beside the rest.
std::string timed_policy(const std::string& allow, const std::string& time) {
  std::string text = policy_text(allow);
  return text.insert(text.rfind('}'), ", " + time);
}
/// `after`/`until` so far from now.
std::string from_now(const std::string& kind, std::chrono::seconds by) {
  return kind + ": " + to_string(WallTime{wall_now().ns + Nanoseconds(by).count()});
}

/// A control plane that runs, with its directory of policy.
struct ControlPlane {
  ControlPlane(const TemporaryDirectory& directory, const DataplaneSettings& settings,
               const std::string& socket, Nanoseconds wall_error)
      : wall_error_ns(wall_error.count()) {
    std::filesystem::create_directories(directory.path("state"));
    Clocks clocks = *system_clocks();
    clocks.wall = [this] { return WallTime{wall_now().ns + wall_error_ns}; };
    auto deadlines = Deadlines::open(directory.path("state"), std::move(clocks));
    EXPECT_TRUE(deadlines) << deadlines.error().message;
    auto created = Engine::create({settings, socket, *FileFeed::open(directory.path("policy")),
                                   std::move(*deadlines), board, names, retired});
    EXPECT_TRUE(created);
    engine = std::move(*created);
    thread = std::thread([this] { engine->run(); });
  }
  ~ControlPlane() {
    engine->stop();
    thread.join();
  }
  std::atomic<int64_t> wall_error_ns;  ///< of the clock that deadlines stand on
  StateBoard board;
  NameHistory names;
  RetiredHits retired;
  std::unique_ptr<Engine> engine;
  std::thread thread;
};

struct EngineTest : testing::Test {
  TemporaryDirectory directory;
  DataplaneSettings settings;
  std::optional<Dataplane> dataplane;
  std::optional<ControlPlane> control;
  std::string socket = directory.path("contract.sock");

  void SetUp() override {
    settings.name = "edge";
    settings.ports.resize(2);
    settings.ports[0].name = "left";
    settings.ports[1].name = "right";
    directory.write("policy/a.yaml", policy_text("tcp/80"));
  }
  void start_dataplane() { dataplane.emplace(socket, "edge"); }
  void start_control(Nanoseconds wall_error = 0s) {
    control.emplace(directory, settings, socket, wall_error);
  }
  /// Waits until `holds(ControlState)`.
  template <class Condition>
  testing::AssertionResult eventually(Condition holds) {
    for (int i = 0; i < 1000; ++i) {
      if (holds(control->board.read())) return testing::AssertionSuccess();
      std::this_thread::sleep_for(10ms);
    }
    ControlState state = control->board.read();
    std::string errors;
    for (const std::string& error : state.feed.errors) errors += error + "\n";
    return testing::AssertionFailure() << "not within 10 s; generation " << state.enforced.generation
                                       << ", standing " << int(state.feed.standing) << "\n"
                                       << errors;
  }
  auto enforces(uint64_t generation) {
    return [generation](const ControlState& state) {
      return state.enforced.generation == generation && state.feed.standing == FeedState::Standing::kInForce;
    };
  }
  static bool is_refused(const ControlState& state) {
    return state.feed.standing == FeedState::Standing::kRefused;
  }
};
using Engine_ = EngineTest;

TEST_F(Engine_, PolicyInTheDirectory_IsEnforced) {
  start_dataplane();
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kAllow);
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 81), Verdict::kDeny);
  ControlState state = control->board.read();
  EXPECT_EQ(state.policy->policy.rules.size(), 1u);
  EXPECT_GT(state.enforcement.last_seconds, 0.0);
  EXPECT_LT(state.enforcement.last_seconds, 10.0);
}

TEST_F(Engine_, Change_IsEnforcedAsTheNextGeneration) {
  start_dataplane();
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  directory.write("policy/a.yaml", policy_text("tcp/81"));
  ASSERT_TRUE(eventually(enforces(2)));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kDeny);
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 81), Verdict::kAllow);
}

TEST_F(Engine_, ChangedMembers_AreABatchOnTheSameImage) {
  start_dataplane();
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  directory.write("policy/a.yaml", policy_text("tcp/80", "10.1.0.0/25"));
  ASSERT_TRUE(eventually(enforces(2)));
  EXPECT_EQ(dataplane->image_generation(), 1u);
  EXPECT_EQ(control->board.read().enforced.image_generation, 1u);
  EXPECT_EQ(dataplane->verdict("10.1.0.200", "10.2.0.1", 80), Verdict::kDeny) << "no member any more";
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kAllow);
}

TEST_F(Engine_, ChangeThatChangesNothing_IsNotPublished) {
  start_dataplane();
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  auto before = control->board.read().policy;
  directory.write("policy/a.yaml", policy_text("tcp/80") + "\n\n");
  ASSERT_TRUE(eventually([&](const ControlState& state) { return state.policy != before; }));
  EXPECT_TRUE(eventually(enforces(1)));
  EXPECT_EQ(dataplane->generation(), 1u);
}

TEST_F(Engine_, BrokenPolicy_IsRefusedAndTheOldOneStays) {
  start_dataplane();
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  directory.write("policy/a.yaml", policy_text("tcp/81") + "nonsense: 1\n");
  ASSERT_TRUE(eventually(is_refused));
  EXPECT_FALSE(control->board.read().feed.errors.empty());
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kAllow);
  EXPECT_EQ(dataplane->generation(), 1u);
  directory.write("policy/a.yaml", policy_text("tcp/81"));
  ASSERT_TRUE(eventually(enforces(2)));
  EXPECT_TRUE(control->board.read().feed.errors.empty());
}

TEST_F(Engine_, MemberOnAPortThatTheGatewayLacks_IsRefusedAtItsPlace) {
  start_dataplane();
  directory.write("policy/a.yaml", policy_text("tcp/80", "{prefix: 10.1.0.7, port: edge/middle}"));
  start_control();
  ASSERT_TRUE(eventually(is_refused));
  auto errors = control->board.read().feed.errors;
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_NE(errors[0].find("policy/a.yaml:2:29: error: gateway 'edge' has no port 'middle'"),
            std::string::npos)
      << errors[0];
}

TEST_F(Engine_, PolicyWhoseOwnTestFails_IsRefused) {
  start_dataplane();
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  std::string tests = "tests:\n  - {from: web, to: db, service: tcp/81, expect: deny}\n";
  directory.write("policy/a.yaml", policy_text("tcp/81") + tests);
  ASSERT_TRUE(eventually(is_refused));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 81), Verdict::kDeny);
  directory.write("policy/a.yaml", policy_text("tcp/82") + tests);
  ASSERT_TRUE(eventually(enforces(2)));
}

TEST_F(Engine_, TestAtAnInstant_IsJudgedThen) {
  start_dataplane();
  directory.write(
      "policy/a.yaml",
      "segments:\n  web: {tag: 100, members: [10.1.0.0/24]}\n  db: {tag: 200, members: [10.2.0.0/24]}\n"
      "policies:\n  - {name: r, from: web, to: db, allow: [tcp/80], until: 2100-01-01T00:00:00Z}\n"
      "tests:\n  - {from: web, to: db, service: tcp/80, expect: allow}\n"
      "  - {from: web, to: db, service: tcp/80, at: 2100-01-02T00:00:00Z, expect: deny}\n");
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  EXPECT_NE(directory.read("state/clock.json").find("\"latest_utc_ns\""), std::string::npos);
}

TEST_F(Engine_, FileThatIsWrittenAtTheStart_IsToldAndNothingIsEnforcedBeforeItIsWhole) {
  std::string whole = policy_text("tcp/80, tcp/81"),
              denies = "  - {name: d, from: web, to: db, deny: [tcp/81]}\n";
  std::ofstream file(directory.path("policy/a.yaml"));
  file << whole << std::flush;  // valid, and wider than it will be
  start_dataplane();
  start_control();
  EXPECT_TRUE(eventually([](const ControlState& state) {
    return state.troubles[size_t(Trouble::kFile)].find("no policy is read yet: ") == 0;
  }));
  file << "\n" << std::flush;
  std::this_thread::sleep_for(1500ms);
  EXPECT_EQ(dataplane->generation(), 0u);
  file << denies;
  file.close();
  ASSERT_TRUE(eventually(enforces(1)));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 81), Verdict::kDeny);
  EXPECT_EQ(control->board.read().troubles[size_t(Trouble::kFile)], "");
}

/// The state's file can't be replaced, as on a full disk.
void fill_disk(const TemporaryDirectory& directory) {
  std::filesystem::create_directories(directory.path("state/clock.json.tmp/in-the-way"));
}

TEST_F(Engine_, ClockThatJumpsAhead_EndsGrantsAndIsTold) {
  start_dataplane();
  directory.write("policy/a.yaml", timed_policy("tcp/80", from_now("until", 3600s)));
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kAllow);
  control->wall_error_ns = Nanoseconds(2h).count();
  ASSERT_TRUE(eventually(enforces(2)));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kDeny);
  EXPECT_TRUE(eventually([](const ControlState& state) {
    return state.troubles[size_t(Trouble::kClock)].find("7200 s") != std::string::npos;
  }));
}

TEST_F(Engine_, GrantThatAClockAheadOpened_ShutsWhenTheClockIsPutRight) {
  start_dataplane();
  directory.write("policy/a.yaml", timed_policy("tcp/80", from_now("after", 3600s)));
  start_control(2h);
  ASSERT_TRUE(eventually(enforces(1)));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kAllow) << "nothing tells yet";
  control->wall_error_ns = 0;
  ASSERT_TRUE(eventually(enforces(2)));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kDeny);
}

TEST_F(Engine_, SteppedClock_MovesWhatIsInForceWhateverTheDirectoryHolds) {
  start_dataplane();
  directory.write("policy/a.yaml", timed_policy("tcp/80", from_now("until", 3600s)));
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  directory.write("policy/b.yaml", "nonsense");
  ASSERT_TRUE(eventually(is_refused));
  std::ofstream being_written(directory.path("policy/c.yaml"));
  being_written << "segments:" << std::flush;
  control->wall_error_ns = Nanoseconds(2h).count();
  ASSERT_TRUE(eventually([](const ControlState& state) { return state.enforced.generation == 2; }));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kDeny);
  EXPECT_TRUE(is_refused(control->board.read())) << "what the directory holds is as wrong as it was";
}

TEST_F(Engine_, SteppedClock_MovesWhatARefusedPolicyFallsBackTo) {
  dataplane.emplace(socket, "edge", 1);  // it knows no second port
  directory.write("policy/a.yaml", timed_policy("tcp/80", from_now("until", 3600s)));
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  dataplane->go_deaf();
  directory.write("policy/b.yaml",
                  "segments:\n  app: {tag: 300, members: [{prefix: 10.3.0.1, port: edge/right}]}\n");
  ASSERT_TRUE(eventually(
      [](const ControlState& state) { return state.feed.standing == FeedState::Standing::kWaiting; }));
  control->wall_error_ns = Nanoseconds(2h).count();
  std::this_thread::sleep_for(2500ms);  // the clock is looked at every second
  dataplane->hear();
  ASSERT_TRUE(eventually([](const ControlState& state) { return state.enforced.generation > 1; }));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kDeny);
}

TEST_F(Engine_, FullDisk_RefusesOnlyNewTimedGrants) {
  start_dataplane();
  std::string timed = timed_policy("tcp/80, tcp/81", from_now("until", 3600s));
  directory.write("policy/a.yaml", timed);
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  fill_disk(directory);
  control->wall_error_ns = Nanoseconds(60s).count();  // so that there is something to be kept
  ASSERT_TRUE(eventually(enforces(2))) << "the same times, moved to the safe side";
  EXPECT_TRUE(
      eventually([](const ControlState& state) { return !state.troubles[size_t(Trouble::kState)].empty(); }));

  std::string narrower = timed;
  narrower.erase(narrower.find(", tcp/81"), 8);
  directory.write("policy/a.yaml", narrower);
  ASSERT_TRUE(eventually(enforces(3))) << "permissions are taken away";
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kAllow);
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 81), Verdict::kDeny);

  directory.write("policy/a.yaml", timed_policy("tcp/80", from_now("until", 7200s)));
  ASSERT_TRUE(eventually(is_refused)) << "a grant that a restart could make live longer";
  std::string error = control->board.read().feed.errors.at(0);
  EXPECT_NE(error.find("a.yaml:5:5: error: this allow is new and bounded by time"), std::string::npos)
      << error;
  directory.write("policy/a.yaml", policy_text("tcp/82"));
  ASSERT_TRUE(eventually(enforces(4))) << "nothing of it depends on time";

  std::filesystem::remove_all(directory.path("state/clock.json.tmp"));
  directory.write("policy/a.yaml", timed_policy("tcp/80", from_now("until", 7200s)));
  ASSERT_TRUE(eventually(enforces(5)));
}

TEST_F(Engine_, FullDiskAtTheStart_StillEnforcesWhatDoesNotDependOnTime) {
  std::filesystem::create_directories(directory.path("state"));
  if (::mknod(directory.path("state/clock.json.tmp").c_str(), S_IFCHR | 0600, makedev(1, 7)) != 0)
    GTEST_SKIP() << "needs root, to make another /dev/full";
  start_dataplane();
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  directory.write("policy/a.yaml", timed_policy("tcp/80", from_now("until", 3600s)));
  ASSERT_TRUE(eventually(is_refused));
}

TEST_F(Engine_, ListOfFlowsThatTakesLong_KeepsNoPolicyWaiting) {
  start_dataplane();
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  std::atomic<bool> listed{false};
  std::jthread lister([&, gateway = control->board.dataplane()] {
    auto flows = gateway->list_flows(1000);  // the worker sleeps: nothing for a second
    EXPECT_TRUE(flows) << flows.error().message;
    listed = true;
  });
  std::this_thread::sleep_for(50ms);
  directory.write("policy/a.yaml", policy_text("tcp/81"));
  ASSERT_TRUE(eventually(enforces(2)));
  EXPECT_FALSE(listed);
}

TEST_F(Engine_, ListOfFlows_SaysWhetherItIsCut) {
  start_dataplane();
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  BusyMeter busy;
  OperatorService service({control->board, busy, control->names, settings, "1.2.3"});
  auto answer_to = [&](uint32_t live_flows, const v1::FlowsRequest& request) {
    dataplane->list(live_flows);
    v1::FlowList answer;
    auto status = service.ListFlows(nullptr, &request, &answer);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(answer.total(), live_flows);
    return answer;
  };
  v1::FlowsRequest four, of_another, of_one;
  four.set_limit(4);
  of_another.set_address("10.9.9.9");
  of_one.set_address("10.1.0.1"), of_one.set_limit(9);
  EXPECT_FALSE(answer_to(4, four).truncated());
  EXPECT_TRUE(answer_to(5, four).truncated());
  EXPECT_FALSE(answer_to(10, of_another).truncated());
  EXPECT_TRUE(answer_to(kMaxFlowPage + 1, of_another).truncated());
  EXPECT_FALSE(answer_to(9, of_one).truncated());
  EXPECT_TRUE(answer_to(10, of_one).truncated());
}

TEST_F(Engine_, DataplaneThatComesLater_IsGivenThePolicy) {
  start_control();
  ASSERT_TRUE(eventually([](const ControlState& state) { return !state.dataplane; }));
  std::this_thread::sleep_for(50ms);
  start_dataplane();
  ASSERT_TRUE(eventually(enforces(1)));
}

TEST_F(Engine_, DataplaneThatRestarts_IsGivenItsStateAgain) {
  start_dataplane();
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  dataplane.reset();
  ASSERT_TRUE(eventually(
      [](const ControlState& state) { return !state.dataplane && state.enforced.generation == 0; }));
  start_dataplane();
  ASSERT_TRUE(eventually(enforces(2)));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kAllow);
}

TEST_F(Engine_, NewControlPlane_TakesOverAboveTheGenerationInForce) {
  start_dataplane();
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  control.reset();
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kAllow)
      << "without a control plane the last state stays";
  directory.write("policy/a.yaml", policy_text("tcp/81"));
  start_control();
  ASSERT_TRUE(eventually(enforces(2)));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kDeny);
}

TEST_F(Engine_, DataplaneOfAnotherGateway_IsGivenNothing) {
  dataplane.emplace(socket, "another");
  start_control();
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(dataplane->generation(), 0u);
  EXPECT_EQ(control->board.read().dataplane, nullptr);
}

TEST_F(Engine_, RefusalOfOnePolicy_DoesNotBuryTheOneThatCameMeanwhile) {
  directory.write("policy/a.yaml", "nonsense: 1\n");
  dataplane.emplace(socket, "edge", 1);  // it will refuse what is bound to the second port
  start_control();
  ASSERT_TRUE(eventually([](const ControlState& s) { return s.dataplane && is_refused(s); }));
  dataplane->go_deaf();
  directory.write("policy/a.yaml", policy_text("tcp/80", "{prefix: 10.1.0.7, port: edge/right}"));
  ASSERT_TRUE(
      eventually([](const ControlState& s) { return s.feed.standing == FeedState::Standing::kWaiting; }));
  directory.write("policy/a.yaml", policy_text("tcp/81"));  // the correction, while the other is on its way
  std::this_thread::sleep_for(200ms);
  dataplane->hear();
  ASSERT_TRUE(
      eventually([](const ControlState& s) { return s.feed.standing == FeedState::Standing::kInForce; }));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 81), Verdict::kAllow);
}

/// While this lives, so many more descriptors can be opened here, and no more.
class FewDescriptors {
 public:
  explicit FewDescriptors(size_t free) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    do {  // the loop under test opens and closes some meanwhile
      rlimit few = before_;
      ::setrlimit(RLIMIT_NOFILE, &before_);
      std::vector<Fd> taken = open_at_most(free + 1);
      few.rlim_cur = static_cast<rlim_t>(taken.back().get());
      taken.clear();
      ::setrlimit(RLIMIT_NOFILE, &few);
    } while (open_at_most(free + 1).size() != free);
  }
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  static std::vector<Fd> open_at_most(size_t count) {
    std::vector<Fd> opened;
    while (opened.size() < count) {
      Fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      if (!fd) break;
      opened.push_back(std::move(fd));
    }
    return opened;
  }
  rlimit before_{};
};

bool is_short(const ControlState& state) {
  return state.feed.standing == FeedState::Standing::kRetried &&
         !state.troubles[size_t(Trouble::kShort)].empty() && state.feed.readings_refused == 0;
}

TEST_F(Engine_, NoDescriptorToReadWith_IsTriedAgain) {
  start_dataplane();
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  directory.write("next", policy_text("tcp/81"));
  {
    FewDescriptors none(0);
    std::filesystem::rename(directory.path("next"), directory.path("policy/a.yaml"));
    ASSERT_TRUE(eventually(is_short));
    EXPECT_NE(control->board.read().troubles[size_t(Trouble::kShort)].find("Too many open files"),
              std::string::npos);
    EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 80), Verdict::kAllow);
  }
  ASSERT_TRUE(eventually(enforces(2)));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 81), Verdict::kAllow);
  EXPECT_EQ(control->board.read().troubles[size_t(Trouble::kShort)], "");
}

TEST_F(Engine_, NoDescriptorToPublishWith_IsTriedAgain) {
  start_dataplane();
  start_control();
  ASSERT_TRUE(eventually(enforces(1)));
  directory.write("next", policy_text("tcp/81", "10.1.0.0/25"));  // an image and endpoints, a descriptor each
  {
    FewDescriptors one(1);
    std::filesystem::rename(directory.path("next"), directory.path("policy/a.yaml"));
    ASSERT_TRUE(eventually(is_short));
    EXPECT_NE(control->board.read().troubles[size_t(Trouble::kShort)].find(
                  "can't be handed to the dataplane for now, and is tried again until it can: memfd"),
              std::string::npos)
        << control->board.read().troubles[size_t(Trouble::kShort)];
    EXPECT_EQ(dataplane->generation(), 1u);
  }
  ASSERT_TRUE(eventually(enforces(2)));
  EXPECT_EQ(dataplane->verdict("10.1.0.1", "10.2.0.1", 81), Verdict::kAllow);
  EXPECT_EQ(control->board.read().troubles[size_t(Trouble::kShort)], "");
}

}  // namespace
}  // namespace bulkhead::test
