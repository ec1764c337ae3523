// The flow log: lines that parse whatever is in them, repeated denies in one, rotation, and a disk that is
// full.
#include "controlplane/observe/flow_log.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/unit/engine/temporary_directory.h"
#include "tests/unit/observe/record.h"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;
constexpr int64_t kSecond = 1'000'000'000;
constexpr WallTime kWall{1'700'000'000 * kSecond};

PolicyNames names_of_policy(const std::string& rule = "web-calls-db") {
  PolicyNames names;
  names.generation = 7, names.image_generation = 7;
  names.rules = {rule};
  names.segments = {{100, "web"}, {200, "db"}};
  return names;
}

Json line_of(const FlowRecord& record, const PolicyNames* names, const PolicyNames* newest = nullptr,
             const Repetition& repetition = {}) {
  static const std::vector<std::string> ports{"left", "right"};
  std::string line =
      flow_line(record, {names, newest, &ports, WallOfBoot(BootTime{2 * kSecond}, kWall)}, repetition);
  EXPECT_EQ(line.back(), '\n');
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  return Json::parse(line);
}

TEST(FlowLine, Open_NamesEverything) {
  PolicyNames names = names_of_policy();
  Json line = line_of(record(EventKind::kOpen), &names);
  EXPECT_EQ(line["event"], "open");
  EXPECT_EQ(line["time"], "2023-11-14T22:13:20Z");
  EXPECT_EQ(line["proto"], "tcp");
  EXPECT_EQ(line["src"], "10.1.0.5");
  EXPECT_EQ(line["src_port"], 40000);
  EXPECT_EQ(line["dst"], "10.2.0.9");
  EXPECT_EQ(line["dst_port"], 5432);
  EXPECT_EQ(line["service"], "tcp/5432");
  EXPECT_EQ(line["in_port"], "left");
  EXPECT_EQ(line["out_port"], "right");
  EXPECT_EQ(line["src_segment"], "web");
  EXPECT_EQ(line["dst_segment"], "db");
  EXPECT_EQ(line["verdict"], "allow");
  EXPECT_EQ(line["rule"], "web-calls-db");
  EXPECT_EQ(line["reason"], "allowed");
  EXPECT_EQ(line["generation"], 7);
  EXPECT_EQ(line["decision"], "7:0");
  EXPECT_EQ(line["mtls"], "none");
  EXPECT_EQ(line["src_identity"], record(EventKind::kOpen).source_identity);
  EXPECT_EQ(line["src_source"], "binding");
  EXPECT_FALSE(line.contains("count"));
}

TEST(FlowLine, Mtls_IsTheDecisions) {
  PolicyNames names = names_of_policy();
  FlowRecord open = record(EventKind::kOpen);
  open.mtls = static_cast<uint8_t>(MtlsMode::kRelay);
  open.protection = FlowProtection::kLocal;
  EXPECT_EQ(line_of(open, &names)["mtls"], "relay");
  EXPECT_EQ(line_of(open, &names)["protection"], "local");
  EXPECT_FALSE(line_of(record(EventKind::kDeny), &names).contains("protection"));
}

TEST(FlowLine, VerifiedTls_SaysByWhomAndWhat) {
  PolicyNames names = names_of_policy();
  FlowRecord verified = record(EventKind::kVerified);
  verified.mtls = static_cast<uint8_t>(MtlsMode::kEndToEnd);
  verified.tls_verified = 1;
  verified.tls_suite = 0x1302;
  std::string_view name = "db.corp.example";
  verified.sni_bytes = static_cast<uint8_t>(name.size());
  name.copy(verified.sni, sizeof verified.sni);
  Json line = line_of(verified, &names);
  EXPECT_EQ(line["event"], "verified");
  EXPECT_EQ(line["mtls"], "end_to_end");
  EXPECT_EQ(line["verified_by"], "workloads");
  EXPECT_EQ(line["tls_version"], "1.3");
  EXPECT_EQ(line["cipher"], "TLS_AES_256_GCM_SHA384");
  EXPECT_EQ(line["sni"], "db.corp.example");
  EXPECT_FALSE(line.contains("tls_fault"));
  verified.tls_suite = 0x1306;
  verified.sni_bytes = 200;
  std::fill(std::begin(verified.sni), std::end(verified.sni), 'a');
  line = line_of(verified, &names);
  EXPECT_EQ(line["cipher"], "0x1306");
  EXPECT_EQ(line["sni"], std::string(kSniRoom, 'a') + "...");
}

TEST(FlowLine, RefusedTls_SaysWhy) {
  PolicyNames names = names_of_policy();
  FlowRecord revoked = record(EventKind::kRevoke);
  revoked.reason = DropReason::k_mtls_required;
  revoked.tls_fault = TlsFault::kNotChosen;
  Json line = line_of(revoked, &names);
  EXPECT_EQ(line["reason"], "mtls_required");
  EXPECT_EQ(line["tls_fault"], "the server does not choose TLS 1.3");
  for (const char* key : {"verified_by", "tls_version", "cipher", "sni"})
    EXPECT_FALSE(line.contains(key)) << key;
}

TEST(FlowLine, Close_HasTrafficBothWaysAndHowItEnded) {
  PolicyNames names = names_of_policy();
  Json line = line_of(record(EventKind::kClose), &names);
  EXPECT_EQ(line["packets_out"], 3);
  EXPECT_EQ(line["packets_back"], 2);
  EXPECT_EQ(line["bytes_out"], 300);
  EXPECT_EQ(line["bytes_back"], 200);
  EXPECT_EQ(line["end"], "fin");
}

TEST(FlowLine, ImplicitDeny_HasNoRuleAndTierDefault) {
  PolicyNames names = names_of_policy();
  Json line = line_of(record(EventKind::kDeny), &names);
  EXPECT_EQ(line["reason"], "policy_denied");
  EXPECT_TRUE(line["rule"].is_null());
  EXPECT_EQ(line["tier"], "default");
  EXPECT_TRUE(line["out_port"].is_null());
}

TEST(FlowLine, DenyOfManyPackets_HasTheirCount) {
  PolicyNames names = names_of_policy();
  FlowRecord deny = record(EventKind::kDeny);
  EXPECT_FALSE(line_of(deny, &names).contains("count"));
  deny.packets[0] = 12;
  EXPECT_EQ(line_of(deny, &names)["count"], 12);
}

TEST(FlowLine, Audit_HasTheReasonThatItsRuleWouldHaveGiven) {
  PolicyNames names = names_of_policy();
  FlowRecord audit = record(EventKind::kAudit);
  audit.reason = DropReason{};  // the dataplane leaves it at that
  EXPECT_EQ(line_of(audit, &names)["verdict"], "allow");
  EXPECT_EQ(line_of(audit, &names)["reason"], "allowed");
  audit.verdict = static_cast<uint8_t>(Verdict::kDeny);
  EXPECT_EQ(line_of(audit, &names)["reason"], "policy_explicit_deny");
  EXPECT_EQ(line_of(audit, &names)["rule"], "web-calls-db");
}

TEST(FlowLine, WorkloadAndSpiffeId_AreNamedWhereKnown) {
  PolicyNames names = names_of_policy();
  auto workloads = std::make_shared<WorkloadNames>();
  FlowRecord open = record(EventKind::kOpen);
  open.source_workload = workloads->add("web-7 spiffe://corp.example/web/7");
  open.destination_workload = workloads->add("spiffe://corp.example/db");
  names.workloads = workloads;
  Json line = line_of(open, &names);
  EXPECT_EQ(line["src_workload"], "web-7");
  EXPECT_EQ(line["src_spiffe"], "spiffe://corp.example/web/7");
  EXPECT_EQ(line["dst_spiffe"], "spiffe://corp.example/db");
  EXPECT_FALSE(line.contains("dst_workload"));
}

TEST(FlowLine, Icmp_HasAnIdentifierAndNoPorts) {
  PolicyNames names = names_of_policy();
  FlowRecord open = record(EventKind::kOpen);
  open.proto = static_cast<uint8_t>(IpProto::kIcmp);
  open.service = service_key(IpProto::kIcmp, 8 << 8).value;
  Json line = line_of(open, &names);
  EXPECT_EQ(line["icmp_id"], 40000);
  EXPECT_EQ(line["service"], "icmp/echo");
  EXPECT_FALSE(line.contains("src_port"));
}

TEST(FlowLine, HostileName_StaysOneValidLine) {
  PolicyNames names = names_of_policy("a\"b\\c\nd\x01\xff\xfe");
  Json line = line_of(record(EventKind::kOpen), &names);
  EXPECT_TRUE(line["rule"].get<std::string>().starts_with("a\"b\\c\nd\x01"));
}

TEST(FlowLine, UnknownPolicy_HasNoRuleButTheNewestSegments) {
  PolicyNames newest = names_of_policy();
  Json line = line_of(record(EventKind::kOpen), nullptr, &newest);
  EXPECT_TRUE(line["rule"].is_null());
  EXPECT_EQ(line["src_segment"], "web");
}

TEST(RepeatedEvents, FirstIsWrittenAndTheRestStandInOneLine) {
  RepeatedEvents repeated;
  EXPECT_TRUE(repeated.note(record(EventKind::kDeny), BootTime{0}));
  for (int i = 0; i < 41; ++i) EXPECT_FALSE(repeated.note(record(EventKind::kDeny), BootTime{i}));
  EXPECT_TRUE(repeated.take_due(BootTime{9 * kSecond}).empty());
  auto due = repeated.take_due(BootTime{10 * kSecond});
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(due[0].repetition.count, 41u);
  EXPECT_TRUE(repeated.take_due(BootTime{20 * kSecond}).empty()) << "quiet for a window: forgotten";
  EXPECT_EQ(repeated.kinds(), 0u);
}

TEST(RepeatedEvents, AnotherServiceOrReason_IsAnotherKind) {
  RepeatedEvents repeated;
  FlowRecord deny = record(EventKind::kDeny);
  EXPECT_TRUE(repeated.note(deny, BootTime{0}));
  deny.source_port = 1;
  EXPECT_FALSE(repeated.note(deny, BootTime{0})) << "the client's port is not part of it";
  deny.reason = DropReason::k_contained;
  EXPECT_TRUE(repeated.note(deny, BootTime{0}));
  EXPECT_TRUE(repeated.note(record(EventKind::kDeny, "10.1.0.5", "10.2.0.9", 5433), BootTime{0}));
}

TEST(RepeatedEvents, AnEventThatStandsForManyPackets_CountsThemAll) {
  RepeatedEvents repeated;
  FlowRecord deny = record(EventKind::kDeny);
  EXPECT_TRUE(repeated.note(deny, BootTime{0}));
  deny.packets[0] = 500;
  EXPECT_FALSE(repeated.note(deny, BootTime{kSecond}));
  deny.packets[0] = 20;
  EXPECT_FALSE(repeated.note(deny, BootTime{2 * kSecond}));
  auto due = repeated.take_due(BootTime{10 * kSecond});
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(due[0].repetition.count, 520u);
}

TEST(RepeatedEvents, AuditOfADeniedPacket_IsAKindBesideTheDeny) {
  RepeatedEvents repeated;
  EXPECT_TRUE(repeated.note(record(EventKind::kDeny), BootTime{0}));
  EXPECT_TRUE(repeated.note(record(EventKind::kAudit), BootTime{0}));
  EXPECT_FALSE(repeated.note(record(EventKind::kAudit), BootTime{1}));
}

TEST(RepeatedEvents, FloodOfKinds_IsBoundedAndCounted) {
  RepeatedEvents repeated;
  uint64_t written = 0, kinds = 100'000;
  FlowRecord deny = record(EventKind::kDeny);
  for (uint64_t i = 0; i < kinds; ++i) {
    deny.source = IpAddress::v4(0x0a000000 + static_cast<uint32_t>(i));
    written += repeated.note(deny, BootTime{5 * kSecond});
  }
  EXPECT_EQ(written, RepeatedEvents::kMaxLinesPerSecond);
  EXPECT_LE(repeated.kinds(), RepeatedEvents::kMaxKinds);
  auto unlisted = repeated.take_unlisted(BootTime{5 * kSecond});
  ASSERT_EQ(unlisted.size(), 1u);
  EXPECT_EQ(unlisted[0].reason, DropReason::k_policy_denied);
  EXPECT_EQ(written + unlisted[0].count, kinds) << "nothing is lost silently";
}

TEST(RepeatedEvents, WhatTheDataplaneSummedUp_IsUnlistedWithItsCount) {
  RepeatedEvents repeated;
  FlowRecord sum = record(EventKind::kDeny);
  sum.many_kinds = 1;
  sum.packets[0] = 64'000;
  EXPECT_FALSE(repeated.note(sum, BootTime{5 * kSecond}));
  auto unlisted = repeated.take_unlisted(BootTime{5 * kSecond});
  ASSERT_EQ(unlisted.size(), 1u);
  EXPECT_EQ(unlisted[0].count, 64'000u);
  EXPECT_EQ(repeated.kinds(), 0u);
}

struct FlowLogTest : testing::Test {
  TemporaryDirectory directory;
  std::shared_ptr<NameHistory> names = std::make_shared<NameHistory>();

  FlowLog open(const std::string& path, uint32_t rotate_mib = 1, uint32_t keep = 2) {
    auto log = FlowLog::open({path, rotate_mib, keep}, {"left", "right"}, names);
    EXPECT_TRUE(log) << log.error().message;
    return std::move(*log);
  }
  std::vector<Json> lines(const std::string& name) const {
    std::vector<Json> all;
    std::istringstream in(directory.read(name));
    for (std::string line; std::getline(in, line);) all.push_back(Json::parse(line));
    return all;
  }
};
using FlowLog_ = FlowLogTest;

TEST_F(FlowLog_, Events_AreLinesInOrderInADirectoryThatWasMissing) {
  FlowLog log = open(directory.path("made/here/flows.jsonl"));
  std::vector<FlowRecord> events{record(EventKind::kOpen), record(EventKind::kDeny),
                                 record(EventKind::kClose)};
  log.write(events, BootTime{0}, kWall);
  auto written = lines("made/here/flows.jsonl");
  ASSERT_EQ(written.size(), 3u);
  EXPECT_EQ(written[0]["event"], "open");
  EXPECT_EQ(written[1]["event"], "deny");
  EXPECT_EQ(written[2]["event"], "close");
  namespace fs = std::filesystem;
  auto mode = fs::status(directory.path("made/here/flows.jsonl")).permissions();
  EXPECT_EQ(mode & (fs::perms::others_all | fs::perms::group_write), fs::perms::none);
}

TEST_F(FlowLog_, LogFalse_LeavesOutOpensAndClosesAndNothingElse) {
  FlowLog log = open(directory.path("flows.jsonl"));
  std::vector<FlowRecord> events;
  for (EventKind kind :
       {EventKind::kOpen, EventKind::kDeny, EventKind::kRevoke, EventKind::kClose, EventKind::kAudit})
    events.push_back(record(kind)), events.back().log = 0;
  log.write(events, BootTime{0}, kWall);
  std::vector<std::string> written;
  for (const Json& line : lines("flows.jsonl")) written.push_back(line["event"]);
  EXPECT_EQ(written, (std::vector<std::string>{"deny", "revoke", "audit"}));
}

TEST_F(FlowLog_, RepeatedDenies_BecomeACount) {
  FlowLog log = open(directory.path("flows.jsonl"));
  std::vector<FlowRecord> events(1000, record(EventKind::kDeny));
  log.write(events, BootTime{0}, kWall);
  EXPECT_EQ(lines("flows.jsonl").size(), 1u);
  log.write({}, BootTime{11 * kSecond}, kWall);
  auto written = lines("flows.jsonl");
  ASSERT_EQ(written.size(), 2u);
  EXPECT_EQ(written[1]["count"], 999);
}

TEST_F(FlowLog_, End_WritesWhatWasKeptBack) {
  FlowLog log = open(directory.path("flows.jsonl"));
  std::vector<FlowRecord> events(3, record(EventKind::kDeny));
  log.write(events, BootTime{0}, kWall);
  log.finish(BootTime{1}, kWall);
  EXPECT_EQ(lines("flows.jsonl").at(1)["count"], 2);
}

TEST_F(FlowLog_, FullFile_Rotates) {
  FlowLog log = open(directory.path("flows.jsonl"));
  std::vector<FlowRecord> events(2000, record(EventKind::kOpen));
  size_t kept = 0;
  for (int i = 0; i < 5; ++i) log.write(events, BootTime{0}, kWall);
  namespace fs = std::filesystem;
  for (const char* name : {"flows.jsonl", "flows.jsonl.1", "flows.jsonl.2"}) {
    ASSERT_TRUE(fs::exists(directory.path(name))) << name;
    EXPECT_LE(fs::file_size(directory.path(name)), (1u << 20) + 1024) << name;
    kept += lines(name).size();
  }
  EXPECT_FALSE(fs::exists(directory.path("flows.jsonl.3")));
  EXPECT_LT(kept, 10'000u);
  EXPECT_EQ(log.lost(), 0u);
}

TEST_F(FlowLog_, FileThatSomebodyMoved_IsBegunAnew) {
  FlowLog log = open(directory.path("flows.jsonl"));
  std::vector<FlowRecord> events{record(EventKind::kOpen)};
  log.write(events, BootTime{0}, kWall);
  std::filesystem::rename(directory.path("flows.jsonl"), directory.path("flows.jsonl-20270101"));
  log.write(events, BootTime{1}, kWall);
  EXPECT_EQ(lines("flows.jsonl-20270101").size(), 1u);
  EXPECT_EQ(lines("flows.jsonl").size(), 1u);
}

TEST_F(FlowLog_, FileThatSomebodyCut_IsWrittenOn) {
  FlowLog log = open(directory.path("flows.jsonl"));
  std::vector<FlowRecord> events(2000, record(EventKind::kOpen));
  log.write(events, BootTime{0}, kWall);
  std::filesystem::resize_file(directory.path("flows.jsonl"), 0);
  log.write(events, BootTime{1}, kWall);
  EXPECT_EQ(lines("flows.jsonl").size(), 2000u);
  EXPECT_FALSE(std::filesystem::exists(directory.path("flows.jsonl.1"))) << "it isn't full";
}

TEST_F(FlowLog_, NewFileThatCannotBeMade_CostsNoOldOne) {
  FlowLog log = open(directory.path("flows.jsonl"));
  std::vector<FlowRecord> events(2000, record(EventKind::kOpen));
  for (int i = 0; i < 3; ++i) log.write(events, BootTime{0}, kWall);
  size_t old = lines("flows.jsonl.1").size();
  ASSERT_GT(old, 0u);
  std::filesystem::remove(directory.path("flows.jsonl"));
  std::filesystem::create_directory(directory.path("flows.jsonl"));
  for (int i = 0; i < 5; ++i) log.write(events, BootTime{i}, kWall);
  EXPECT_EQ(log.lost(), 5 * events.size());
  EXPECT_EQ(lines("flows.jsonl.1").size(), old);
  std::filesystem::remove(directory.path("flows.jsonl"));
  log.write(events, BootTime{9}, kWall);
  EXPECT_EQ(lines("flows.jsonl").size(), events.size());
}

TEST_F(FlowLog_, WhatIsNoRegularFile_IsNeverRotated) {
  std::filesystem::create_symlink("/dev/null", directory.path("flows.jsonl"));
  FlowLog log = open(directory.path("flows.jsonl"));
  std::vector<FlowRecord> events(4000, record(EventKind::kOpen));
  for (int i = 0; i < 3; ++i) log.write(events, BootTime{0}, kWall);
  EXPECT_EQ(log.lost(), 0u);
  EXPECT_TRUE(std::filesystem::is_symlink(directory.path("flows.jsonl")));
  EXPECT_FALSE(std::filesystem::exists(directory.path("flows.jsonl.1")));
}

TEST_F(FlowLog_, FullDisk_IsCountedAndNothingElse) {
  FlowLog log = open("/dev/full");
  std::vector<FlowRecord> events(10, record(EventKind::kOpen));
  log.write(events, BootTime{0}, kWall);
  log.write(events, BootTime{1}, kWall);
  EXPECT_EQ(log.lost(), 20u);
}

TEST_F(FlowLog_, DiskWithRoomAgain_IsWrittenAgainWithoutATornLine) {
  FlowLog log = open(directory.path("flows.jsonl"));
  std::vector<FlowRecord> events(3, record(EventKind::kOpen));
  log.write(events, BootTime{0}, kWall);
  auto size = std::filesystem::file_size(directory.path("flows.jsonl"));

  ::signal(SIGXFSZ, SIG_IGN);
  rlimit unlimited{}, tight{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &unlimited), 0);
  tight = {size + 100, unlimited.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  log.write(events, BootTime{1}, kWall);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &unlimited), 0);
  EXPECT_EQ(log.lost(), 3u);
  EXPECT_EQ(std::filesystem::file_size(directory.path("flows.jsonl")), size)
      << "the torn part was taken back";

  log.write(events, BootTime{2}, kWall);
  EXPECT_EQ(lines("flows.jsonl").size(), 6u);
  EXPECT_EQ(log.lost(), 3u);
}

/// Whatever the log leaves out: a proof that nobody asks for any more isn't kept.
TEST_F(FlowLog_, LastEventOfAFlow_TakesItsProofAlong) {
  RelayBoard board;
  auto log = FlowLog::open({directory.path("flows.jsonl"), 1, 1}, {}, names, &board);
  ASSERT_TRUE(log);
  for (EventKind last : {EventKind::kClose, EventKind::kRevoke})
    for (uint8_t is_logged : {1, 0}) {
      FlowRecord event = record(EventKind::kOpen);
      ConnectionProof proof;
      proof.record.flow_id = event.flow_id, proof.record.moment = ProofMoment::kEstablished;
      proof.record.role = RelayRole::kOriginate, proof.own_id = "spiffe://corp.example/web/1";
      board.take(proof);
      log->write(std::span(&event, 1), BootTime{0}, kWall);
      EXPECT_TRUE(board.proof_of(event.flow_id));
      event.kind = last, event.log = is_logged;
      log->write(std::span(&event, 1), BootTime{1}, kWall);
      EXPECT_FALSE(board.proof_of(event.flow_id));
    }
  auto all = lines("flows.jsonl");
  EXPECT_EQ(std::ranges::count_if(all,
                                  [](const Json& line) {
                                    return line["event"] == "close" &&
                                           line["src_svid"] == "spiffe://corp.example/web/1";
                                  }),
            1);
}

TEST_F(FlowLog_, PathThatCannotBe_IsAClearError) {
  directory.write("file", "");
  auto log = FlowLog::open({directory.path("file/flows.jsonl"), 1, 1}, {}, names);
  ASSERT_FALSE(log);
  EXPECT_NE(log.error().message.find("flow log"), std::string::npos);
}

}  // namespace
}  // namespace bulkhead::test
