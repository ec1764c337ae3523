// The metrics' text: valid in both formats, escaped, and with everything that is promised.
#include "controlplane/observe/metrics.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>

#include "contract/memfd.h"
#include "controlplane/observe/bounded_server.h"
#include "controlplane/observe/metrics_server.h"
#include "tests/unit/engine/temporary_directory.h"

namespace bulkhead::test {
namespace {

/// A gateway with some of everything.
MetricsInput full_input() {
  MetricsInput in;
  in.version = "1.2.3";
  in.now = BootTime{10'000'000'000};
  in.port_names = {"left", "right"};
  in.state.enforced = {5, 4};
  in.state.welcome.max_flows = 1024;
  in.state.feed.standing = FeedState::Standing::kInForce;
  in.state.feed.changed = WallTime{1};
  in.state.feed.changed_boot = BootTime{7'500'000'000};
  in.state.enforcement.add(0.003);
  in.state.enforcement.add(100);
  Readings readings;
  readings.received = 100, readings.transmitted = 90, readings.dropped = 10;
  readings.drops[static_cast<size_t>(DropReason::k_policy_denied)] = 10;
  readings.tcp_established = 3;
  readings.ports.resize(2);
  readings.ports[1].tx_bytes = 12345;
  in.readings = readings;
  in.busy_ratios = {0.25};

  auto loaded = load_policy_text({{"p.yaml",
                                   "segments:\n  a: {tag: 10, members: [10.0.0.0/8]}\n"
                                   "policies:\n  - {name: r1, from: a, to: a, allow: [tcp/80]}\n"
                                   "  - {name: r2, from: a, to: a, deny: [tcp/81], audit: true}\n"}},
                                 WallTime{0});
  EXPECT_TRUE(loaded.policy);
  auto policy = make_explainable(std::move(*loaded.policy), {}, wall_as_boot);
  EXPECT_TRUE(policy);
  in.state.policy = std::move(*policy);
  in.rule_hits = {{7, 0}, {0, 9}};
  return in;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(Metrics, OpenMetrics_HasEveryPromisedSample) {
  std::string text = metrics_text(full_input(), MetricsFormat::kOpenMetrics);
  for (const char* line : {"bulkhead_build_info{version=\"1.2.3\"} 1",
                           "bulkhead_port_packets_total{port=\"left\",direction=\"rx\"} 0",
                           "bulkhead_port_bytes_total{port=\"right\",direction=\"tx\"} 12345",
                           "bulkhead_drops_total{reason=\"policy_denied\"} 10",
                           "bulkhead_drops_total{reason=\"tx_full\"} 0",
                           "bulkhead_flows{state=\"tcp_established\"} 3",
                           "bulkhead_flow_table_capacity 1024",
                           "bulkhead_new_flows_total 0",
                           "bulkhead_policy_generation 5",
                           "bulkhead_rule_hits_total{rule=\"r1\",verdict=\"allow\"} 7",
                           "bulkhead_audit_hits_total{rule=\"r2\",verdict=\"deny\"} 9",
                           "bulkhead_decision_to_enforcement_seconds_bucket{le=\"0.0025\"} 0",
                           "bulkhead_decision_to_enforcement_seconds_bucket{le=\"0.005\"} 1",
                           "bulkhead_decision_to_enforcement_seconds_bucket{le=\"10.0\"} 1",
                           "bulkhead_decision_to_enforcement_seconds_bucket{le=\"+Inf\"} 2",
                           "bulkhead_decision_to_enforcement_seconds_count 2",
                           "bulkhead_feed_age_seconds{feed=\"file\"} 2.5",
                           "bulkhead_events_lost_total 0",
                           "bulkhead_worker_busy_ratio{worker=\"0\"} 0.25",
                           "bulkhead_packets_received_total 100",
                           "bulkhead_packets_transmitted_total 90",
                           "bulkhead_flow_log_lost_total 0",
                           "bulkhead_mtls_handshakes_total{role=\"server\",result=\"success\"} 0",
                           "bulkhead_dataplane_up 1",
                           "# TYPE bulkhead_drops counter",
                           "# UNIT bulkhead_port_bytes bytes"})
    EXPECT_TRUE(has_line(text, line)) << line;
  EXPECT_TRUE(text.ends_with("\n# EOF\n"));
}

TEST(Metrics, NoDataplane_SaysSoAndGivesNoCounters) {
  MetricsInput in = full_input();
  in.readings.reset();
  std::string text = metrics_text(in, MetricsFormat::kOpenMetrics);
  EXPECT_TRUE(has_line(text, "bulkhead_dataplane_up 0"));
  EXPECT_EQ(text.find("bulkhead_drops"), std::string::npos);
}

/// OpenMetrics 1.0: families are contiguous, each is described once, samples belong to the family above them.
TEST(Metrics, OpenMetrics_FamiliesAreWellFormed) {
  std::istringstream in(metrics_text(full_input(), MetricsFormat::kOpenMetrics));
  std::set<std::string> families, samples;
  std::string family;
  for (std::string line; std::getline(in, line);) {
    if (line == "# EOF") continue;
    if (line.starts_with("# HELP ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(families.insert(family).second) << "twice: " << family;
    } else if (line.starts_with("# ")) {
      EXPECT_EQ(line.substr(7, line.find(' ', 7) - 7), family);
    } else {
      EXPECT_TRUE(line.starts_with(family)) << line << " under " << family;
      EXPECT_TRUE(samples.insert(line.substr(0, line.rfind(' '))).second) << "twice: " << line;
    }
  }
}

TEST(Metrics, Promtool_HasNoComplaint) {
  if (std::system("command -v promtool >/dev/null") != 0)
    GTEST_SKIP() << "promtool isn't installed (Debian: prometheus)";
  TemporaryDirectory directory;
  directory.write("metrics", metrics_text(full_input(), MetricsFormat::kPrometheus));
  int status = std::system(
      ("promtool check metrics < " + directory.path("metrics") + " > " + directory.path("said") + " 2>&1")
          .c_str());
  EXPECT_EQ(status, 0) << directory.read("said");
  EXPECT_EQ(directory.read("said"), "");
}

TEST(MetricsText, LabelValues_AreEscaped) {
  MetricsText out(MetricsFormat::kOpenMetrics);
  out.family("m", MetricType::kGauge, "Help with \\ and\nnewline.");
  out.sample(uint64_t{1}, {{"rule", "a\"b\\c\nd"}});
  std::string text = out.finish();
  EXPECT_TRUE(has_line(text, "m{rule=\"a\\\"b\\\\c\\nd\"} 1"));
  EXPECT_TRUE(has_line(text, "# HELP m Help with \\\\ and\\nnewline."));
}

TEST(RetiredHits, CountsOutliveTheirImage) {
  MetricsInput in = full_input();
  const ImageView& image = in.state.policy->view;
  RetiredHits retired;
  retired.add(image, in.rule_hits, image);
  retired.add(image, in.rule_hits, image);
  EXPECT_EQ(retired.of(image, RuleIndex{0}).decided, 14u);
  EXPECT_EQ(retired.of(image, RuleIndex{1}).audited, 18u);
}

struct MetricsServerTest : testing::Test {
  std::unique_ptr<MetricsServer> server;
  int port = 0;
  void SetUp() override {
    for (port = 19464; port < 19564 && !server; ++port)
      if (auto started = MetricsServer::start("127.0.0.1:" + std::to_string(port), [](MetricsFormat format) {
            return std::string(format == MetricsFormat::kOpenMetrics ? "open" : "plain");
          }))
        server = std::move(*started);
    --port;
    ASSERT_TRUE(server);
  }
};

TEST_F(MetricsServerTest, Accept_ChoosesTheFormat) {
  httplib::Client client("127.0.0.1", port);
  auto plain = client.Get("/metrics");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->body, "plain");
  EXPECT_EQ(plain->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  auto open =
      client.Get("/metrics", {{"Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}});
  ASSERT_TRUE(open);
  EXPECT_EQ(open->body, "open");
  EXPECT_EQ(open->get_header_value("Content-Type"),
            "application/openmetrics-text; version=1.0.0; charset=utf-8");
}

TEST_F(MetricsServerTest, TakenPort_IsAnError) {
  auto second =
      MetricsServer::start("127.0.0.1:" + std::to_string(port), [](MetricsFormat) { return std::string(); });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
}

size_t open_descriptors() {
  std::filesystem::directory_iterator descriptors("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(descriptors), end(descriptors)));
}

/// A connection that hasn't asked yet.
Fd connect_to(int port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return socket;
}

/// Whether the other side ends the connection, having answered or not, within `milliseconds`.
bool ends_within(const Fd& socket, int milliseconds) {
  pollfd watched{socket.get(), POLLRDHUP, 0};
  return ::poll(&watched, 1, milliseconds) == 1;
}

TEST_F(MetricsServerTest, ConnectionsThatStayOpen_AreFewAndNobodyWaitsForThem) {
  constexpr size_t kConnections = 400;
  constexpr size_t kMost = BoundedServer::kThreads + BoundedServer::kMostWaiting + 1;
  size_t before = open_descriptors();
  std::vector<Fd> idle;
  for (size_t i = 0; i < kConnections; ++i) idle.push_back(connect_to(port));
  httplib::Client client("127.0.0.1", port);
  ASSERT_TRUE(client.Get("/metrics"));
  EXPECT_LE(open_descriptors(), before + kConnections + kMost + 1);  // the client's own
  EXPECT_TRUE(ends_within(idle[0], 0));
}

TEST_F(MetricsServerTest, RequestThatIsNotWholeInTime_IsGivenUp) {
  Fd socket = connect_to(port);
  for (int tenths = 0; tenths < 50; ++tenths) {
    if (::send(socket.get(), "G", 1, MSG_NOSIGNAL) != 1) break;
    if (ends_within(socket, 100)) return;
  }
  FAIL() << "a request that never ends was waited for";
}

TEST_F(MetricsServerTest, RequestThatIsTooLarge_IsGivenUp) {
  Fd socket = connect_to(port);
  const std::string header = "A: b\r\n";
  ASSERT_EQ(::send(socket.get(), "GET /metrics HTTP/1.1\r\n", 23, 0), 23);
  for (size_t sent = 0; sent <= BoundedServer::kMaxRequestBytes; sent += header.size())
    if (::send(socket.get(), header.data(), header.size(), MSG_NOSIGNAL) < 0) return;
  EXPECT_TRUE(ends_within(socket, 1000));
}

TEST_F(MetricsServerTest, RangesThatAreAskedFor_CostNoMoreThanTheWhole) {
  httplib::Client client("127.0.0.1", port);
  std::string ranges = "bytes=0-";
  while (ranges.size() < 3'000) ranges += ",0-";
  auto answer = client.Get("/metrics", {{"Range", ranges}});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "plain");
}

/// The most memory that this process has had.
size_t peak_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
}

TEST_F(MetricsServerTest, BodyThatUnfolds_IsNotRead) {
  constexpr size_t kUnfolded = size_t{64} << 20;  // brotli of as many zeros
  constexpr char kFolded[] =
      "\xcf\xff\xff\x7f\x00\x24\x00\xe2\xb1\x40\x72\xef\xff\xf9\xff\xff\x0f"
      "\x80\x04\x40\x1c\x16\x80\xee\xfd\x3f\xff\xff\xff\x01\x90\x00\x88\xc3"
      "\x02\xd0\xbd\xff\xcf\xff\xff\x7f\x00\x12\x00\x71\x58\x00\xba\xf7\xff";
  size_t before = peak_bytes();
  httplib::Client client("127.0.0.1", port);
  auto answer = client.Post("/metrics", {{"Content-Encoding", "br"}},
                            std::string(kFolded, sizeof kFolded - 1), "text/plain");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 405);
  EXPECT_EQ(answer->get_header_value("Allow"), "GET, HEAD");
  EXPECT_LT(peak_bytes() - before, kUnfolded / 2);
}

TEST(MetricsServer, AddressThatIsNone_IsAnError) {
  for (const char* listen : {"", "localhost", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", ":9464"}) {
    auto started = MetricsServer::start(listen, [](MetricsFormat) { return std::string(); });
    ASSERT_FALSE(started) << listen;
    EXPECT_EQ(started.error().code, ErrorCode::kInvalid) << listen;
  }
}

TEST(Metrics, ProofsThatWereDropped_AreToldByReason) {
  MetricsInput in = full_input();
  in.relay.emplace();
  in.relay_dropped = {.proofs = 3, .news = 4};
  std::string text = metrics_text(in, MetricsFormat::kPrometheus);
  EXPECT_TRUE(has_line(text, "bulkhead_relay_proofs_dropped_total{reason=\"too_many_flows\"} 3")) << text;
  EXPECT_TRUE(has_line(text, "bulkhead_relay_proofs_dropped_total{reason=\"flow_log_slow\"} 4"));
}

}  // namespace
}  // namespace bulkhead::test
