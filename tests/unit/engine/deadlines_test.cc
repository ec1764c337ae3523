// No step of the wall clock makes a grant live longer, or opens one earlier.
#include "controlplane/engine/deadlines.h"

#include <gtest/gtest.h>

#include "tests/unit/engine/temporary_directory.h"

namespace bulkhead::test {
namespace {

constexpr int64_t kSecond = 1'000'000'000, kHour = 3600 * kSecond, kYear = 365 * 24 * kHour;
constexpr int64_t kStart = 1'750'000'000 * kSecond;  // the true time at which tests begin, UTC
constexpr WallTime kDeadline{kStart + 24 * kHour};

/// A machine: true time goes on, the wall clock may be wrong, a boot starts boot time anew.
struct Machine {
  int64_t true_ns = kStart, booted_ns = kStart - 5 * kHour, wall_error_ns = 0;
  std::string boot_id = "first";

  Clocks clocks() {
    return {[this] { return BootTime{true_ns - booted_ns}; },
            [this] { return WallTime{true_ns + wall_error_ns}; }, boot_id};
  }
  void pass(int64_t ns) { true_ns += ns; }
  void boot(const std::string& id) { boot_id = id, booted_ns = true_ns; }
  /// The true instant of a boot time.
  int64_t truly(BootTime boot) const { return boot.ns + booted_ns; }
};

struct DeadlinesTest : testing::TestWithParam<int64_t> {
  TemporaryDirectory directory;
  Machine machine;
  std::optional<Deadlines> deadlines;

  void SetUp() override { start(); }
  void start() {
    deadlines.reset();
    auto opened = Deadlines::open(directory.path(), machine.clocks());
    ASSERT_TRUE(opened) << opened.error().message;
    deadlines.emplace(std::move(*opened));
  }
  /// A policy with one rule's deadline is loaded and accepted; the true instant at which it is enforced.
  int64_t load(DeadlineKind kind = DeadlineKind::kUntil, WallTime time = kDeadline,
               const std::string& rule = "grant") {
    deadlines->begin();
    BootTime at = deadlines->convert(rule, kind, time);
    auto kept = deadlines->keep();
    EXPECT_TRUE(kept) << kept.error().message;
    return machine.truly(at);
  }
};
using Deadlines_ = DeadlinesTest;

TEST_F(Deadlines_, RightClock_IsTheWrittenInstant) {
  EXPECT_EQ(load(DeadlineKind::kUntil), kDeadline.ns);
  EXPECT_EQ(load(DeadlineKind::kAfter), kDeadline.ns);
}

TEST_P(DeadlinesTest, ClockStepped_ReloadKeepsFirstConversion) {
  load();
  load(DeadlineKind::kUntil);
  machine.pass(kHour);
  machine.wall_error_ns = GetParam();
  EXPECT_EQ(load(DeadlineKind::kUntil), kDeadline.ns);
}

TEST_P(DeadlinesTest, ClockStepped_ReloadKeepsWhenAGrantOpens) {
  load(DeadlineKind::kAfter);
  machine.pass(kHour);
  machine.wall_error_ns = GetParam();
  EXPECT_EQ(load(DeadlineKind::kAfter), kDeadline.ns);
}

TEST_P(DeadlinesTest, ClockStepped_RestartKeepsFirstConversion) {
  load();
  machine.pass(kHour);
  machine.wall_error_ns = GetParam();
  start();
  EXPECT_EQ(load(), kDeadline.ns);
  machine.pass(kHour);
  machine.wall_error_ns = 0;
  start();
  EXPECT_EQ(load(), kDeadline.ns);
}

TEST_P(DeadlinesTest, ClockStepped_RestartKeepsWhenAGrantOpens) {
  load(DeadlineKind::kAfter);
  machine.pass(kHour);
  machine.wall_error_ns = GetParam();
  start();
  EXPECT_EQ(load(DeadlineKind::kAfter), kDeadline.ns);
}

TEST_P(DeadlinesTest, ClockStepped_BootNeverMakesAGrantLiveLonger) {
  load();
  machine.pass(kHour);
  ASSERT_TRUE(deadlines->store_mark());
  machine.wall_error_ns = GetParam();
  machine.boot("second");
  start();
  EXPECT_LE(load(), kDeadline.ns);
}

TEST_P(DeadlinesTest, ClockStepped_NewGrantNeverLivesLonger) {
  load();
  machine.pass(kHour);
  machine.wall_error_ns = GetParam();
  EXPECT_LE(load(DeadlineKind::kUntil, kDeadline, "another"), kDeadline.ns);
}

INSTANTIATE_TEST_SUITE_P(Steps, DeadlinesTest, testing::Values(-kHour, kHour, -10 * kYear, 10 * kYear),
                         [](const auto& step) {
                           int64_t hours = step.param / kHour;
                           return (hours < 0 ? "Back" : "Ahead") + std::to_string(std::abs(hours)) + "Hours";
                         });

TEST_F(Deadlines_, ClockStayedBack_BootDoesNotOpenAGrantEarlier) {
  load(DeadlineKind::kAfter);
  ASSERT_TRUE(deadlines->store_mark());
  machine.wall_error_ns = -10 * kYear;
  machine.boot("second");
  start();
  EXPECT_EQ(load(DeadlineKind::kAfter), kDeadline.ns) << "the high-water mark counts, not the clock";
}

TEST_F(Deadlines_, ExpiredGrant_StaysExpiredWhenTheClockGoesBackAcrossABoot) {
  load();
  machine.pass(25 * kHour);
  ASSERT_TRUE(deadlines->store_mark());
  machine.wall_error_ns = -10 * kYear;
  machine.boot("second");
  start();
  EXPECT_LT(load(), machine.true_ns);
}

TEST_F(Deadlines_, ClockBehindTheMark_IsTold) {
  EXPECT_EQ(deadlines->behind().count(), 0);
  machine.wall_error_ns = -kHour;
  EXPECT_EQ(deadlines->behind().count(), kHour);
}

TEST_F(Deadlines_, ChangedTime_IsConvertedAnew) {
  load();
  EXPECT_EQ(load(DeadlineKind::kUntil, WallTime{kDeadline.ns + kSecond}), kDeadline.ns + kSecond);
}

TEST_F(Deadlines_, FarthestTimes_DoNotOverflow) {
  EXPECT_GT(load(DeadlineKind::kUntil, WallTime{INT64_MAX}), machine.true_ns);
  EXPECT_LT(load(DeadlineKind::kUntil, WallTime{INT64_MIN + 1}), machine.true_ns);
}

TEST_F(Deadlines_, PolicyThatWasNotAccepted_LeavesNoTrace) {
  load();
  std::string before = directory.read("deadlines.json");
  deadlines->begin();
  deadlines->convert("refused", DeadlineKind::kUntil, kDeadline);
  ASSERT_TRUE(deadlines->store_mark());
  EXPECT_EQ(directory.read("deadlines.json"), before);
}

TEST_F(Deadlines_, DamagedFile_IsRefusedNotForgotten) {
  load();
  deadlines.reset();
  std::string text = directory.read("deadlines.json");
  directory.write("deadlines.json", text.substr(0, text.size() / 2));
  auto opened = Deadlines::open(directory.path(), machine.clocks());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kInvalid);
}

TEST_F(Deadlines_, SecondControlPlane_IsRefusedTheDirectory) {
  auto second = Deadlines::open(directory.path(), machine.clocks());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
}

TEST_F(Deadlines_, MissingDirectory_IsAnError) {
  auto opened = Deadlines::open(directory.path("not-there"), machine.clocks());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound);
}

TEST_F(Deadlines_, FileThatCannotBeWritten_KeepsNothingNew) {
  load();
  std::filesystem::create_directories(directory.path("deadlines.json.tmp/in-the-way"));
  deadlines->begin();
  deadlines->convert("another", DeadlineKind::kUntil, kDeadline);
  EXPECT_FALSE(deadlines->keep());
}

}  // namespace
}  // namespace bulkhead::test
