#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "config/members_file.h"
#include "tests/unit/config/load_text.h"

namespace bulkhead {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class MembersFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "members.XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  LoadedPolicy load(const std::string& csv) {
    std::ofstream(directory_ + "/m.csv", std::ios::binary) << csv;
    return load_policy_text({{directory_ + "/p.yaml", "segments:\n  web: {tag: 2, members_file: m.csv}\n"}},
                            kNow);
  }
  /// What was told, without the directory.
  std::vector<std::string> errors(const std::string& csv) {
    std::vector<std::string> lines = told(load(csv).diagnostics);
    for (std::string& line : lines)
      for (size_t at; (at = line.find(directory_ + "/")) != std::string::npos;)
        line.erase(at, directory_.size() + 1);
    return lines;
  }
  std::string directory_;
};

TEST_F(MembersFile, MoreThanThereIsRoomFor_IsToldAtTheFirstThatHasNone) {
  std::ofstream(directory_ + "/m.csv", std::ios::binary)
      << "prefix\n10.1.0.1\n10.1.0.2\n10.1.0.3\n10.1.0.4\n";
  Report report;
  Source source(report, directory_ + "/m.csv");
  std::vector<Member> members;
  read_members_file(source, 0, 2, members);
  EXPECT_EQ(members.size(), 2u);
  EXPECT_THAT(told(report.finish()),
              ElementsAre(IsAt(directory_ + "/m.csv:4:1", "more than 16777216 members together")));
}

TEST_F(MembersFile, PathThatLeadsNowhere_IsTheUsersToMend_AndNothingToWaitFor) {
  std::filesystem::create_symlink("loop.csv", directory_ + "/loop.csv");
  std::ofstream(directory_ + "/file") << "x";
  int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un at{.sun_family = AF_UNIX, .sun_path = {}};
  (directory_ + "/socket").copy(at.sun_path, sizeof at.sun_path - 1);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  ::close(listener);  // its name stays
  for (std::string name : {"loop.csv", "file/m.csv", "gone.csv", "socket"}) {
    Report report;
    Source source(report, directory_ + "/" + name);
    std::vector<Member> members;
    read_members_file(source, 0, 2, members);
    EXPECT_TRUE(report.has_errors()) << name;
    EXPECT_FALSE(report.machine_short()) << name;
  }
}

TEST_F(MembersFile, EveryColumn_IsRead) {
  LoadedPolicy loaded = load(
      "prefix,port,vlan,mac,spiffe,workload\n"
      "10.1.0.0/24,,,,,\n"
      "fd00::7,edge-1/left,20,02:00:00:00:00:07,spiffe://corp.example/web/7,web-7\n");
  ASSERT_TRUE(loaded.policy) << told(loaded.diagnostics).front();
  const Policy& policy = *loaded.policy;
  ASSERT_EQ(policy.segments[0].members.size(), 2u);
  const Member& plain = policy.segments[0].members[0];
  EXPECT_EQ(to_string(plain.prefix), "10.1.0.0/24");
  EXPECT_FALSE(plain.vlan || plain.mac || !plain.port.empty());
  EXPECT_EQ(policy.files[plain.file], directory_ + "/m.csv");
  EXPECT_EQ(plain.line, 2u);
  const Member& bound = policy.segments[0].members[1];
  EXPECT_EQ(to_string(bound.prefix), "fd00::7");
  EXPECT_EQ(bound.port, "edge-1/left");
  EXPECT_EQ(bound.vlan, 20);
  EXPECT_EQ(to_string(*bound.mac), "02:00:00:00:00:07");
  EXPECT_EQ(bound.spiffe, "spiffe://corp.example/web/7");
  EXPECT_EQ(bound.workload, "web-7");
}

TEST_F(MembersFile, HeaderDecidesTheColumns_BomCrlfAndNoLastLineEnd) {
  LoadedPolicy loaded = load("\xef\xbb\xbfworkload,prefix\r\nweb-7,10.0.0.7\r\n\r\n,10.0.0.8");
  ASSERT_TRUE(loaded.policy);
  ASSERT_EQ(loaded.policy->segments[0].members.size(), 2u);
  EXPECT_EQ(loaded.policy->segments[0].members[0].workload, "web-7");
  EXPECT_EQ(to_string(loaded.policy->segments[0].members[1].prefix), "10.0.0.8");
}

TEST_F(MembersFile, WrongLines_AreToldEachWithLineAndColumn) {
  EXPECT_THAT(
      errors("prefix,vlan\n10.0.0.1,20\n10.0.0.256,20\n10.0.0.1/24,1\n10.0.0.2,4095\n10.0.0.3\n,1\n"),
      ElementsAre(IsAt("m.csv:3:1", "'10.0.0.256' is not an IPv4 or IPv6 address"),
                  IsAt("m.csv:4:1", "write 10.0.0.0/24"), IsAt("m.csv:5:10", "0 (untagged) to 4094"),
                  IsAt("m.csv:6:1", "1 fields and the first line 2"), IsAt("m.csv:7:1", "'' is not")));
}

TEST_F(MembersFile, WrongHeaders_AreRefused) {
  EXPECT_THAT(errors(""), ElementsAre(IsAt("m.csv", "the file is empty")));
  EXPECT_THAT(errors("vlan\n1\n"), ElementsAre(IsAt("m.csv:1:1", "column 'prefix' is missing")));
  EXPECT_THAT(errors("prefix,valn\n"), ElementsAre(IsAt("m.csv:1:8", "did you mean 'vlan'?")));
  EXPECT_THAT(errors("prefix,prefix\n"), ElementsAre(IsAt("m.csv:1:8", "twice")));
  EXPECT_THAT(errors("10.0.0.1\n"), ElementsAre(IsAt("m.csv:1:1", "no column '10.0.0.1'")));
}

TEST_F(MembersFile, SamePrefixTwice_NamesTheFirst) {
  EXPECT_THAT(errors("prefix\n10.0.0.1\n10.0.0.2\n10.0.0.1\n"),
              ElementsAre(IsAt("m.csv:4:1", "10.0.0.1 is a member of segment 'web' already, in m.csv:2:1")));
  EXPECT_THAT(errors("prefix\n10.0.0.0/31\n10.0.0.0\n"), IsEmpty());
}

TEST_F(MembersFile, ManyErrors_AreCounted) {
  std::string csv = "prefix\n";
  for (int i = 0; i < 250; ++i) csv += "x\n";
  std::vector<std::string> lines = errors(csv);
  ASSERT_EQ(lines.size(), 101u);
  EXPECT_THAT(lines[99], IsAt("m.csv:101:1", "'x'"));
  EXPECT_EQ(lines[100], "m.csv: error: and 150 more");
}

TEST_F(MembersFile, LinesAcrossChunks_AreWhole) {
  std::string csv = "prefix,workload\n";
  for (int i = 0; i < 200'000; ++i)
    csv += "10." + std::to_string(i >> 16) + "." + std::to_string(i >> 8 & 255) + "." +
           std::to_string(i & 255) + ",w" + std::to_string(i) + "\n";
  LoadedPolicy loaded = load(csv);
  ASSERT_TRUE(loaded.policy) << told(loaded.diagnostics).front();
  const auto& members = loaded.policy->segments[0].members;
  ASSERT_EQ(members.size(), 200'000u);
  for (uint32_t i = 0; i < members.size(); ++i) {
    ASSERT_EQ(members[i].prefix.address, IpAddress::v4(10u << 24 | i));
    ASSERT_EQ(members[i].workload, "w" + std::to_string(i));
  }
}

TEST_F(MembersFile, ALineWithoutEnd_IsRefused) {
  EXPECT_THAT(errors("prefix\n" + std::string(3 << 20, '1')),
              ElementsAre(IsAt("m.csv:2:1", "longer than 8192 bytes")));
}

TEST_F(MembersFile, AMissingFileOrADirectory_IsAnError) {
  auto message = [&](const std::string& name) {
    return told(
        load_policy_text(
            {{directory_ + "/p.yaml", "segments:\n  web: {tag: 2, members_file: " + name + "}\n"}}, kNow)
            .diagnostics);
  };
  EXPECT_THAT(message("none.csv"), ElementsAre(HasSubstr("none.csv: error: this file can't be read")));
  std::filesystem::create_directory(directory_ + "/d");
  EXPECT_THAT(message("d"), ElementsAre(HasSubstr("no regular file")));
}

TEST_F(MembersFile, DottedQuads_AreReadAsParsePrefixReadsThem) {
  for (const char* text : {"1.2.3.4", "10.0.0.0/8", "10.0.0.0/32", "10.0.0.1/31", "1.2.3", "1.2.3.4.5",
                           "01.2.3.4", "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/032", "1..3.4", " 1.2.3.4",
                           "1.2.3.4 ", "1.2.3.300", "128.0.0.0/1", "1.2.3.4/00"}) {
    auto expected = parse_prefix(text);
    LoadedPolicy loaded = load("prefix\n" + std::string(text) + "\n");
    ASSERT_EQ(loaded.policy.has_value(), expected.has_value()) << text;
    if (expected) {
      EXPECT_EQ(loaded.policy->segments[0].members[0].prefix, *expected) << text;
    }
  }
}

}  // namespace
}  // namespace bulkhead
