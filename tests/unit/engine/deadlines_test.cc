// No step of the wall clock makes a grant live longer, or opens one earlier.
#include "controlplane/engine/deadlines.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

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
  std::function<void()> when_read = [] {};

  Clocks clocks() {
    return {[this] { return BootTime{true_ns - booted_ns}; },
            [this] {
              when_read();
              return WallTime{true_ns + wall_error_ns};
            },
            boot_id};
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

  void start() {
    deadlines.reset();
    auto opened = Deadlines::open(directory.path(), machine.clocks());
    ASSERT_TRUE(opened) << opened.error().message;
    deadlines.emplace(std::move(*opened));
  }
  /// A policy is loaded and accepted: the true instant at which a deadline of it is enforced.
  int64_t load(Turn turn, WallTime time = kDeadline) {
    deadlines->look();
    BootTime at = deadlines->convert(turn, time);
    auto kept = deadlines->keep();
    EXPECT_TRUE(kept) << kept.error().message;
    return machine.truly(at);
  }
  /// Nothing opens before its time, and nothing outlives it.
  void expect_safe(const char* when) {
    EXPECT_GE(load(Turn::kOpens), kDeadline.ns) << when;
    EXPECT_LE(load(Turn::kCloses), kDeadline.ns) << when;
  }
  void expect_exact(const char* when) {
    EXPECT_EQ(load(Turn::kOpens), kDeadline.ns) << when;
    EXPECT_EQ(load(Turn::kCloses), kDeadline.ns) << when;
  }
  void step() { machine.wall_error_ns += GetParam(); }
  void step_back() { machine.wall_error_ns -= GetParam(); }
};
using Deadlines_ = DeadlinesTest;

TEST_F(Deadlines_, RightClock_IsTheWrittenInstant) {
  start();
  expect_exact("at once");
  machine.pass(kHour);
  expect_exact("an hour later");
  start();
  expect_exact("after a restart");
  ASSERT_TRUE(deadlines->store());
  machine.boot("second");
  start();
  expect_exact("after a boot");
  EXPECT_EQ(deadlines->doubt(), "");
}

TEST_P(DeadlinesTest, SteppedAfterItWasRead_IsSafeForRulesOldAndNew) {
  start();
  expect_exact("before");
  machine.pass(kHour);
  step();
  expect_safe("while the clock is wrong");
  step_back();
  machine.pass(kHour);
  expect_safe("once it is right again");
}

TEST_P(DeadlinesTest, SteppedAndBackBetweenTwoPolicies_IsSafeForTheSecond) {
  start();
  machine.pass(kHour);
  step();
  deadlines->look();  // as every second
  step_back();
  expect_safe("new rules");
}

TEST_P(DeadlinesTest, WrongAtTheFirstLook_IsSafeOnceItIsRight) {
  step();
  start();
  load(Turn::kOpens), load(Turn::kCloses);
  machine.pass(kHour);
  step_back();
  EXPECT_EQ(deadlines->look(), true) << "what is enforced has to be converted anew";
  expect_safe("once it is right");
}

TEST_P(DeadlinesTest, SteppedAcrossARestart_IsSafe) {
  start();
  expect_exact("before");
  machine.pass(kHour);
  step();
  start();
  expect_safe("while the clock is wrong");
  machine.pass(kHour);
  step_back();
  start();
  expect_safe("once it is right again");
}

TEST_P(DeadlinesTest, WrongAndRestartedAndRight_IsSafe) {
  step();
  start();
  load(Turn::kOpens);
  machine.pass(kHour);
  start();
  step_back();
  expect_safe("what an earlier process saw counts");
}

TEST_P(DeadlinesTest, SteppedBeforeABoot_IsSafeAfterIt) {
  start();
  machine.pass(kHour);
  step();
  load(Turn::kOpens);
  ASSERT_TRUE(deadlines->store());
  step_back();
  machine.boot("second");
  start();
  expect_safe("the clock is right in this boot");
}

TEST_P(DeadlinesTest, SteppedByABoot_NeverLivesLongerAndIsSafeOnceItIsRight) {
  start();
  load(Turn::kOpens);
  machine.pass(kHour);
  ASSERT_TRUE(deadlines->store());
  step();
  machine.boot("second");
  start();
  EXPECT_LE(load(Turn::kCloses), kDeadline.ns);
  machine.pass(kHour);
  step_back();
  expect_safe("once it is right");
}

TEST_P(DeadlinesTest, SteppedWhileItIsRead_IsSafe) {
  for (int at : {1, 2, 3}) {
    directory.write("clock.json", "");
    std::filesystem::remove(directory.path("clock.json"));
    machine.wall_error_ns = 0;
    machine.when_read = [] {};
    start();
    expect_exact("before");
    int reads = 0;
    machine.when_read = [&] {
      machine.pass(20'000);  // a reading that is interrupted, and so done again
      if (++reads == at) machine.wall_error_ns = GetParam();
    };
    deadlines->look();
    machine.when_read = [] {};
    expect_safe("while the clock is wrong");
    machine.wall_error_ns = 0;
    expect_safe("once it is right again");
  }
}

/// Each conversion may move, but only to the safe side.
TEST_P(DeadlinesTest, AnyStep_MovesOpeningsLaterAndClosingsEarlier) {
  start();
  int64_t opens = load(Turn::kOpens), closes = load(Turn::kCloses);
  for (int64_t error : {GetParam(), int64_t{0}, -GetParam(), GetParam() / 2, int64_t{0}}) {
    machine.wall_error_ns = error;
    machine.pass(kHour);
    int64_t opens_now = load(Turn::kOpens), closes_now = load(Turn::kCloses);
    EXPECT_GE(opens_now, opens);
    EXPECT_LE(closes_now, closes);
    opens = opens_now, closes = closes_now;
  }
}

INSTANTIATE_TEST_SUITE_P(Steps, DeadlinesTest, testing::Values(-kHour, kHour, -10 * kYear, 10 * kYear),
                         [](const auto& step) {
                           int64_t hours = step.param / kHour;
                           return (hours < 0 ? "Back" : "Ahead") + std::to_string(std::abs(hours)) + "Hours";
                         });

TEST_F(Deadlines_, ClockOfAnotherAge_OpensNothingAndClosesAllUntilItIsSet) {
  machine.wall_error_ns = -kStart;  // 1970: a machine without a battery
  start();
  EXPECT_GT(deadlines->convert(Turn::kOpens, kDeadline).ns, 100 * kYear);
  EXPECT_LT(load(Turn::kCloses), machine.true_ns);
  EXPECT_NE(deadlines->doubt().find("before 2025"), std::string::npos);
  machine.pass(kSecond);
  machine.wall_error_ns = 0;  // NTP
  EXPECT_TRUE(deadlines->look());
  expect_exact("such a clock is no evidence");
  EXPECT_EQ(deadlines->doubt(), "");
}

TEST_F(Deadlines_, ExpiredGrant_StaysExpiredWhenTheClockGoesBackAcrossABoot) {
  start();
  load(Turn::kCloses);
  machine.pass(25 * kHour);
  ASSERT_TRUE(deadlines->store());
  machine.wall_error_ns = -20 * kHour;
  machine.boot("second");
  start();
  EXPECT_LT(load(Turn::kCloses), machine.true_ns);
}

TEST_F(Deadlines_, SteppedClock_IsTold) {
  start();
  machine.wall_error_ns = -kHour;
  deadlines->look();
  EXPECT_NE(deadlines->doubt().find("3600 s"), std::string::npos) << deadlines->doubt();
}

TEST_F(Deadlines_, NoiseOfReading_ChangesNothing) {
  start();
  int64_t opens = load(Turn::kOpens), closes = load(Turn::kCloses);
  for (int64_t noise : {900'000, -900'000, 500'000}) {
    machine.wall_error_ns = noise;
    EXPECT_FALSE(deadlines->look());
    EXPECT_EQ(load(Turn::kOpens), opens);
    EXPECT_EQ(load(Turn::kCloses), closes);
  }
}

TEST_F(Deadlines_, FarthestTimes_DoNotOverflow) {
  start();
  EXPECT_GT(load(Turn::kCloses, WallTime{INT64_MAX}), machine.true_ns);
  EXPECT_LT(load(Turn::kCloses, WallTime{INT64_MIN + 1}), machine.true_ns);
}

TEST_F(Deadlines_, DamagedFile_IsRefusedNotForgotten) {
  start();
  load(Turn::kCloses);
  deadlines.reset();
  std::string text = directory.read("clock.json");
  directory.write("clock.json", text.substr(0, text.size() / 2));
  auto opened = Deadlines::open(directory.path(), machine.clocks());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kInvalid);
}

TEST_F(Deadlines_, SecondControlPlane_IsRefusedTheDirectory) {
  start();
  auto second = Deadlines::open(directory.path(), machine.clocks());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
}

TEST_F(Deadlines_, MissingDirectory_IsAnError) {
  auto opened = Deadlines::open(directory.path("not-there"), machine.clocks());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound);
}

TEST_F(Deadlines_, FirstStartOfABoot_IsAnErrorWhereItCannotBeWritten) {
  std::filesystem::create_directories(directory.path("clock.json.tmp/in-the-way"));
  EXPECT_FALSE(Deadlines::open(directory.path(), machine.clocks()));
}

TEST_F(Deadlines_, FirstStartOfABoot_IsNoneOnAFullDisk) {
  if (::mknod(directory.path("clock.json.tmp").c_str(), S_IFCHR | 0600, makedev(1, 7)) != 0)
    GTEST_SKIP() << "needs root, to make another /dev/full";
  start();
  auto kept = deadlines->keep();
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().code, ErrorCode::kExhausted);
  EXPECT_EQ(machine.truly(deadlines->convert(Turn::kCloses, kDeadline)), kDeadline.ns);
}

TEST_F(Deadlines_, FileThatCannotBeWritten_StopsOnlyWhatIsNotOnDisk) {
  start();
  load(Turn::kCloses);
  std::filesystem::create_directories(directory.path("clock.json.tmp/in-the-way"));
  EXPECT_TRUE(deadlines->keep()) << "it is on disk, and the clock says nothing new";
  EXPECT_FALSE(deadlines->store());
  start();
  EXPECT_TRUE(deadlines->keep()) << "the restart found it";
  machine.wall_error_ns = kHour;
  deadlines->look();
  EXPECT_FALSE(deadlines->keep());
  std::filesystem::remove_all(directory.path("clock.json.tmp"));
  EXPECT_TRUE(deadlines->keep());
}

}  // namespace
}  // namespace bulkhead::test
