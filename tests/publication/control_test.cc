// Both ends of the contract over a real socket: a control server in a thread, and clients that attach to it.
#include "dataplane/fastpath/control.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <thread>

#include "controlplane/observe/readings.h"
#include "controlplane/publish/dataplane_client.h"
#include "controlplane/publish/endpoint_diff.h"
#include "enforcer.h"

namespace bulkhead::test {
namespace {

constexpr SegmentTag kSite{100};
constexpr unsigned kWorkers = 2;

/// A list of `live` flows, as if workers had given it at once.
class FixedFlows final : public FlowLister {
 public:
  explicit FixedFlows(size_t live) : live_(live) {}
  bool begin(uint64_t limit) override {
    limit_ = limit;
    return !busy;
  }
  std::optional<FlowListing> collect(bool) override {
    FlowListing listing{std::vector<FlowRecord>(std::min<size_t>(limit_, live_)), live_};
    for (size_t i = 0; i < listing.flows.size(); ++i) listing.flows[i].flow_id = i + 1;
    return listing;
  }
  std::atomic<bool> busy{false};  ///< a worker still has a request that was given up

 private:
  size_t live_;
  uint64_t limit_ = 0;
};

/// A dataplane without packets: its control thread runs, its workers sleep.
class Dataplane {
 public:
  explicit Dataplane(std::optional<uid_t> control_plane = geteuid()) : enforcer_(kWorkers) {
    EXPECT_NE(mkdtemp(directory_), nullptr);
    auto server = ControlServer::listen({socket(), control_plane, "edge-1", 4096}, enforcer_.publisher,
                                        telemetry, flows_);
    EXPECT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    thread_ = std::jthread([this](std::stop_token stop) {
      while (!stop.stop_requested()) {
        server_->step(2);
        if (int port = port_down_.exchange(-1); port >= 0)
          server_->announce_port(PortId{static_cast<uint8_t>(port)}, false);
        shutdown_requested = server_->shutdown_requested();
      }
    });
  }
  ~Dataplane() {
    thread_ = {};
    unlink(socket().c_str());
    rmdir(directory_);
  }
  std::string socket() const { return std::string(directory_) + "/control.sock.dataplane"; }
  void port_goes_down(int port) { port_down_ = port; }
  Expected<std::unique_ptr<DataplaneClient>> attach() { return DataplaneClient::attach(socket()); }
  /// Attaches where the control plane before may not be known to be gone yet.
  std::unique_ptr<DataplaneClient> attach_soon() {
    for (int i = 0; i < 200; ++i) {
      if (auto client = attach()) return std::move(*client);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return nullptr;
  }
  const Snapshot* snapshot() const { return enforcer_.snapshot(); }
  Quiescence& quiescence() { return *enforcer_.quiescence; }
  void worker_does_not_list(bool busy) { flows_.busy = busy; }

  Telemetry telemetry = *Telemetry::create(kWorkers, Enforcer::kPorts, 1'000'000'000);
  std::atomic<bool> shutdown_requested{false};

 private:
  char directory_[32] = "/tmp/bulkhead-control-XXXXXX";
  Enforcer enforcer_;
  FixedFlows flows_{10};
  std::unique_ptr<ControlServer> server_;
  std::atomic<int> port_down_{-1};
  std::jthread thread_;
};

struct ControlTest : testing::Test {
  Dataplane dataplane;
  MarkerImage image{kSite, "first"};
  std::vector<EndpointChange> endpoints{put("10.0.0.1", identity_of(kSite), 1),
                                        put("10.0.0.2", identity_of(kSite), 2)};

  std::unique_ptr<DataplaneClient> attached() {
    auto client = dataplane.attach();
    EXPECT_TRUE(client) << client.error().message;
    return client ? std::move(*client) : nullptr;
  }
  PublishResult publish(DataplaneClient& client, const PublishRequest& request) {
    auto sent = client.publish(request);
    EXPECT_TRUE(sent) << sent.error().message;
    auto result = client.wait_result(5000);
    EXPECT_TRUE(result) << result.error().message;
    return result.value_or(PublishResult{});
  }
  PublishResult publish_first(DataplaneClient& client) {
    return publish(
        client, {.generation = 1, .image = image.bytes(), .changes = endpoints, .replace_endpoints = true});
  }
};

TEST_F(ControlTest, WelcomeOfAFreshDataplaneSaysThatNothingIsForwarded) {
  auto client = attached();
  const Welcome& w = client->welcome();
  EXPECT_EQ(w.generation, 0u);
  EXPECT_EQ(w.image_generation, 0u);
  EXPECT_EQ(w.rule_hits_count, 0u);
  EXPECT_EQ(w.worker_count, kWorkers);
  EXPECT_EQ(w.port_count, Enforcer::kPorts);
  EXPECT_EQ(w.pid, static_cast<uint64_t>(getpid()));
  EXPECT_EQ(w.max_flows, 4096u);
  EXPECT_STREQ(w.gateway, "edge-1");
}

TEST_F(ControlTest, PublishIsAcceptedAndInForce) {
  auto client = attached();
  PublishResult result = publish_first(*client);
  EXPECT_FALSE(result.refused) << result.refused->message;
  EXPECT_EQ(result.generation, 1u);
  EXPECT_TRUE(result.new_image);
  EXPECT_GT(result.checked_ns, 0u);
  EXPECT_GE(result.enforced_ns, result.checked_ns);
  EXPECT_GE(result.answered_ns, result.enforced_ns);
  EXPECT_EQ(dataplane.snapshot()->generation, 1u);
  EXPECT_EQ(dataplane.snapshot()->endpoints->size(), 2u);
}

TEST_F(ControlTest, BatchOnTheImageInForceIsAccepted) {
  auto client = attached();
  publish_first(*client);
  std::vector<EndpointChange> batch{put("10.0.0.3", identity_of(kSite), 3)};
  PublishResult result = publish(*client, {.generation = 2, .base_image_generation = 1, .changes = batch});
  EXPECT_FALSE(result.refused) << result.refused->message;
  EXPECT_FALSE(result.new_image);
  EXPECT_EQ(client->rule_count(), 1u);
  EXPECT_EQ(dataplane.snapshot()->endpoints->size(), 3u);
}

TEST_F(ControlTest, RefusalSaysWhyAndChangesNothing) {
  auto client = attached();
  publish_first(*client);
  const Snapshot* before = dataplane.snapshot();
  std::vector<EndpointChange> stranger{put("10.0.0.3", IdentityId{7})};
  PublishResult result = publish(*client, {.generation = 2, .base_image_generation = 1, .changes = stranger});
  ASSERT_TRUE(result.refused);
  EXPECT_EQ(result.refused->code, ErrorCode::kInvalid);
  EXPECT_EQ(result.refused->message,
            "endpoint change 0 (10.0.0.3/32): an identity that the policy image doesn't know");
  EXPECT_EQ(dataplane.snapshot(), before);
}

TEST_F(ControlTest, AnswersComeInTheOrderOfRequests) {
  auto client = attached();
  ASSERT_TRUE(client->publish({.generation = 1, .image = image.bytes()}));
  ASSERT_TRUE(client->publish({.generation = 1, .image = image.bytes()}));
  ASSERT_TRUE(client->publish({.generation = 2, .base_image_generation = 1, .changes = endpoints}));
  EXPECT_EQ(client->unanswered(), 3u);
  auto first = client->wait_result(5000), second = client->wait_result(5000),
       third = client->wait_result(5000);
  ASSERT_TRUE(first && second && third);
  EXPECT_FALSE(first->refused);
  EXPECT_TRUE(second->refused);
  EXPECT_FALSE(third->refused);
  EXPECT_EQ(client->unanswered(), 0u);
}

TEST_F(ControlTest, ResultsComeThroughThePollLoopToo) {
  auto client = attached();
  ASSERT_TRUE(client->publish({.generation = 1, .image = image.bytes()}));
  EXPECT_FALSE(client->next_result());
  std::optional<PublishResult> result;
  while (!result) {
    pollfd readable{client->fd(), POLLIN, 0};
    ASSERT_EQ(poll(&readable, 1, 5000), 1);
    ASSERT_TRUE(client->handle_readable());
    result = client->next_result();
  }
  EXPECT_FALSE(result->refused);
}

/// A worker in the middle of a burst: the publish is acknowledged only once it is through, and the control
/// thread answers others meanwhile.
TEST_F(ControlTest, AcknowledgementWaitsForTheLastWorker) {
  auto client = attached();
  dataplane.quiescence().online(1);
  ASSERT_TRUE(client->publish({.generation = 1, .image = image.bytes()}));
  auto early = client->wait_result(50);
  ASSERT_FALSE(early);
  EXPECT_EQ(early.error().code, ErrorCode::kUnavailable);
  dataplane.quiescence().quiescent(1);
  auto result = client->wait_result(5000);
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->refused);
  EXPECT_GE(result->enforced_ns, 50'000'000u);
  dataplane.quiescence().offline(1);
}

TEST_F(ControlTest, SecondControlPlaneIsRefusedWhileTheFirstIsAttached) {
  auto first = attached();
  auto second = dataplane.attach();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
  EXPECT_EQ(second.error().message,
            dataplane.socket() + ": a control plane, pid " + std::to_string(getpid()) + ", is attached");
  EXPECT_FALSE(publish_first(*first).refused) << "the first isn't disturbed";
}

TEST_F(ControlTest, NextControlPlaneTakesOverFromADeadOneAndLearnsWhatIsInForce) {
  auto first = attached();
  publish_first(*first);
  const Snapshot* enforced = dataplane.snapshot();
  add(enforced->hits[0][0].decided, 5);
  first.reset();
  EXPECT_EQ(dataplane.snapshot(), enforced) << "keeps enforcing without a control plane";
  auto next = dataplane.attach_soon();
  ASSERT_TRUE(next);
  EXPECT_EQ(next->welcome().generation, 1u);
  EXPECT_EQ(next->welcome().image_generation, 1u);
  EXPECT_EQ(next->welcome().image_checksum, image.checksum());
  EXPECT_EQ(next->welcome().endpoint_count, 2u);
  EXPECT_EQ(next->rule_hits(RuleIndex{0}).decided, 5u) << "counted before it came";
  std::vector<EndpointChange> batch{removal("10.0.0.1")};
  EXPECT_FALSE(publish(*next, {.generation = 2, .base_image_generation = 1, .changes = batch}).refused);
}

TEST_F(ControlTest, ControlPlaneThatIsKilledIsSucceeded) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    auto client = DataplaneClient::attach(dataplane.socket());
    char ok = client ? 1 : 0;
    if (write(ready[1], &ok, 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char ok = 0;
  ASSERT_EQ(::read(ready[0], &ok, 1), 1);
  ASSERT_EQ(ok, 1);
  auto refused = dataplane.attach();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            dataplane.socket() + ": a control plane, pid " + std::to_string(child) + ", is attached");
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(dataplane.attach_soon());
  close(ready[0]);
  close(ready[1]);
}

TEST_F(ControlTest, HitsAreThoseOfTheImageInForce) {
  auto client = attached();
  publish_first(*client);
  add(dataplane.snapshot()->hits[0][0].decided, 2);
  add(dataplane.snapshot()->hits[1][0].decided, 3);
  add(dataplane.snapshot()->hits[1][0].audited, 7);
  EXPECT_EQ(client->rule_hits(RuleIndex{0}).decided, 5u);
  EXPECT_EQ(client->rule_hits(RuleIndex{0}).audited, 7u);
  EXPECT_EQ(client->rule_hits(RuleIndex{1}).decided, 0u);
  EXPECT_EQ(client->rule_hits(kRuleNone).decided, 0u);
  MarkerImage second(kSite, "second");
  publish(*client, {.generation = 2, .image = second.bytes()});
  EXPECT_EQ(client->rule_hits(RuleIndex{0}).decided, 0u);
}

TEST_F(ControlTest, EventsReachTheControlPlane) {
  EventWriter writer = dataplane.telemetry.events(1);
  FlowRecord record{};
  for (record.flow_id = 1; record.flow_id <= 3; ++record.flow_id) ASSERT_TRUE(writer.write(record));
  auto client = attached();
  std::vector<uint64_t> ids;
  EXPECT_EQ(client->drain_events([&](const FlowRecord& r) { ids.push_back(r.flow_id); }, 2), 2u);
  EXPECT_EQ(client->drain_events([&](const FlowRecord& r) { ids.push_back(r.flow_id); }), 1u);
  EXPECT_EQ(ids, (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_EQ(client->events_lost(), 0u);
}

TEST_F(ControlTest, EventsThatFoundTheirRingFullAreInTheReadings) {
  auto client = attached();
  FlowRecord record{};
  for (unsigned worker = 0; worker < kWorkers; ++worker) {
    EventWriter writer = dataplane.telemetry.events(worker);
    for (uint32_t i = 0; i < kEventRingSlots; ++i) ASSERT_TRUE(writer.write(record));
    for (unsigned i = 0; i <= worker; ++i) EXPECT_FALSE(writer.write(record));
  }
  EXPECT_EQ(read_counters(*client).events_lost, 3u);
}

TEST_F(ControlTest, CountersAreLive) {
  auto client = attached();
  EXPECT_EQ(client->counters().tsc_hz, 1'000'000'000u);
  add(dataplane.telemetry.worker(1).received, 9);
  EXPECT_EQ(read(client->worker_counters()[1].received), 9u);
  publish_first(*client);
  for (int i = 0; i < 400 && read(client->counters().generation) != 1; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(read(client->counters().generation), 1u);
  EXPECT_EQ(read(client->counters().image_generation), 1u);
  EXPECT_EQ(read(client->counters().endpoints), 2u);
}

TEST_F(ControlTest, FlowsAreListedUpToTheLimit) {
  auto client = attached();
  auto some = client->list_flows(4);
  ASSERT_TRUE(some) << some.error().message;
  ASSERT_EQ(some->flows.size(), 4u);
  EXPECT_EQ(some->flows[3].flow_id, 4u);
  EXPECT_EQ(some->total, 10u);
  EXPECT_EQ(client->list_flows(1000)->flows.size(), 10u);
  auto count_only = client->list_flows(0);
  ASSERT_TRUE(count_only);
  EXPECT_TRUE(count_only->flows.empty());
  EXPECT_EQ(count_only->total, 10u);
}

TEST_F(ControlTest, ListThatCannotBeMadeIsAnsweredInTimeAndTheNextIsWhole) {
  auto client = attached();
  dataplane.worker_does_not_list(true);
  auto none = client->list_flows(1000, 20'000);
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_TRUE(none->flows.empty());
  dataplane.worker_does_not_list(false);
  auto all = client->list_flows(1000, 20'000);
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(all->flows.size(), 10u);
}

TEST_F(ControlTest, PortEventsArrive) {
  auto client = attached();
  dataplane.port_goes_down(1);
  ASSERT_FALSE(client->wait_result(100));
  auto event = client->next_port_event();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->port, 1u);
  EXPECT_EQ(event->up, 0u);
}

TEST_F(ControlTest, ShutdownIsAskedFor) {
  auto client = attached();
  EXPECT_FALSE(dataplane.shutdown_requested);
  ASSERT_TRUE(client->shut_down());
  for (int i = 0; i < 400 && !dataplane.shutdown_requested; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_TRUE(dataplane.shutdown_requested);
}

/// The process may open nothing more while this lives.
class NoDescriptors {
 public:
  NoDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    Fd next(dup(STDIN_FILENO));
    rlimit none{static_cast<rlim_t>(next.get()), before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~NoDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST(ControlServerTest, WithoutDescriptorsForAGuestItSleepsAndLetsTheGuestInLater) {
  char directory[] = "/tmp/bulkhead-control-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  std::string path = std::string(directory) + "/socket";
  Enforcer enforcer(kWorkers);
  Telemetry telemetry = *Telemetry::create(kWorkers, Enforcer::kPorts, 1'000'000'000);
  FixedFlows flows(0);
  auto server =
      ControlServer::listen({path, geteuid(), "edge-1", 4096}, enforcer.publisher, telemetry, flows);
  ASSERT_TRUE(server) << server.error().message;
  Channel guest = *connect_to(path);
  ASSERT_TRUE(guest.send_message(make_message<Hello>(MessageType::kHello)));
  {
    NoDescriptors none;
    (*server)->step(0);
    auto begin = std::chrono::steady_clock::now();
    (*server)->step(50);
    EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(50));
  }
  EXPECT_FALSE((*server)->attached());
  for (int i = 0; i < 100 && !(*server)->attached(); ++i) (*server)->step(10);
  EXPECT_TRUE((*server)->attached());
  unlink(path.c_str());
  rmdir(directory);
}

/// Speaks the contract by hand, and wrongly.
struct RudeTest : ControlTest {
  Channel channel = *connect_to(dataplane.socket());
  std::string answer() {
    auto packet = channel.receive(5000);
    if (!packet) return packet.error().message;
    auto refused = decode_message<Refused>(packet->bytes, MessageType::kRefused);
    return refused ? refused->reason : "not a refusal";
  }
  void greet() {
    ASSERT_TRUE(channel.send_message(make_message<Hello>(MessageType::kHello)));
    ASSERT_TRUE(decode_message<Welcome>(channel.receive(5000)->bytes, MessageType::kWelcome));
  }
  /// The connection is over, and the next control plane is welcome.
  void expect_hung_up() {
    EXPECT_EQ(answer(), "the other plane closed the connection");
    EXPECT_TRUE(dataplane.attach_soon());
  }
};

TEST_F(RudeTest, PublishBeforeHello) {
  ASSERT_TRUE(channel.send_message(make_message<Publish>(MessageType::kPublish)));
  EXPECT_EQ(answer(), "a message of type 3 where type 1 is due");
  expect_hung_up();
}
TEST_F(RudeTest, AnotherVersion) {
  auto hello = make_message<Hello>(MessageType::kHello);
  hello.header.version = 9;
  ASSERT_TRUE(channel.send_message(hello));
  EXPECT_EQ(answer(),
            "a message of contract version 9, this is version 2: start both planes from the same build");
  expect_hung_up();
}
TEST_F(RudeTest, Nonsense) {
  greet();
  ASSERT_TRUE(channel.send(std::as_bytes(std::span("nonsense, and more of it"))));
  EXPECT_TRUE(answer().starts_with("a message of contract version"));
  expect_hung_up();
}
TEST_F(RudeTest, MessageThatIsTheDataplanesToSend) {
  greet();
  ASSERT_TRUE(channel.send_message(make_message<Accepted>(MessageType::kAccepted)));
  EXPECT_EQ(answer(), "a message of type 4, which isn't a control plane's to send once it is attached");
  expect_hung_up();
}
TEST_F(RudeTest, PublishWithoutItsDescriptor) {
  greet();
  auto publish = make_message<Publish>(MessageType::kPublish);
  publish.generation = 1;
  publish.image_bytes = 4096;
  ASSERT_TRUE(channel.send_message(publish));
  EXPECT_EQ(answer(), "a Publish with 0 descriptors instead of 1");
  expect_hung_up();
}
TEST_F(RudeTest, PublishWithDescriptorsTooMany) {
  greet();
  auto publish = make_message<Publish>(MessageType::kPublish);
  publish.generation = 1;
  int fds[] = {STDIN_FILENO, STDIN_FILENO};
  ASSERT_TRUE(channel.send_message(publish, fds));
  EXPECT_EQ(answer(), "a Publish with 2 descriptors instead of 0");
  expect_hung_up();
}
TEST_F(RudeTest, EachOfManyListsIsAnsweredWithItsOwnLimit) {
  greet();
  auto list = make_message<ListFlows>(MessageType::kListFlows);
  for (list.request = 1; list.request <= 5; ++list.request) {
    list.limit = list.request;
    ASSERT_TRUE(channel.send_message(list));
  }
  for (uint64_t request = 1; request <= 5; ++request) {
    auto packet = channel.receive(5000);
    ASSERT_TRUE(packet) << packet.error().message;
    auto page = decode_message<FlowPage>(packet->bytes, MessageType::kFlowPage);
    ASSERT_TRUE(page) << page.error().message;
    EXPECT_EQ(page->request, request);
    EXPECT_EQ(page->count, request);
  }
}
TEST_F(RudeTest, ListsWithoutEndAreRefused) {
  greet();
  dataplane.worker_does_not_list(true);
  auto list = make_message<ListFlows>(MessageType::kListFlows);
  for (list.request = 1; list.request <= 17; ++list.request) ASSERT_TRUE(channel.send_message(list));
  EXPECT_EQ(answer(), "more than 16 lists of flows at a time");
  expect_hung_up();
}
TEST_F(RudeTest, SilenceBeforeHelloKeepsNobodyOut) {
  EXPECT_TRUE(attached());
}
TEST_F(RudeTest, PipeInsteadOfAnImageIsRefused) {
  greet();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Fd in(ends[0]), out(ends[1]);
  auto publish = make_message<Publish>(MessageType::kPublish);
  publish.generation = 1;
  publish.image_bytes = 4096;
  int fds[] = {in.get()};
  ASSERT_TRUE(channel.send_message(publish, fds));
  EXPECT_EQ(answer(), "policy image: shared memory that isn't a memfd");
  EXPECT_EQ(dataplane.snapshot(), nullptr);
}

TEST(Control, SocketOfALiveDataplaneIsLeftAlone) {
  Dataplane dataplane;
  Enforcer enforcer(1);
  auto telemetry = Telemetry::create(1, 1, 1);
  FixedFlows flows(0);
  auto second = ControlServer::listen({dataplane.socket(), std::nullopt, "edge-2", 1}, enforcer.publisher,
                                      *telemetry, flows);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
  EXPECT_TRUE(dataplane.attach());
}

TEST(Control, UserWhoMayNotIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  constexpr uid_t kNobody = 65534;
  for (std::optional<uid_t> allowed : {std::optional<uid_t>(1), std::optional<uid_t>(kNobody)}) {
    Dataplane dataplane(allowed);
    ASSERT_EQ(chmod(dataplane.socket().c_str(), 0666), 0) << "so that credentials alone decide";
    std::string directory = dataplane.socket().substr(0, dataplane.socket().rfind('/'));
    ASSERT_EQ(chmod(directory.c_str(), 0755), 0);
    pid_t child = fork();
    if (child == 0) {
      if (setuid(kNobody) != 0) _exit(9);
      auto client = DataplaneClient::attach(dataplane.socket());
      _exit(client ? 0 : client.error().code == ErrorCode::kPermission ? 1 : 2);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(WEXITSTATUS(status), allowed == kNobody ? 0 : 1);
  }
}

}  // namespace
}  // namespace bulkhead::test
