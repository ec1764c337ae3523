#include "dataplane/fastpath/boot_clock.h"

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

constexpr uint64_t kHz = 2'600'000'000;
constexpr uint64_t kTicksPerMs = kHz / 1000;

BootTime kernel_time{};  // what the source says next
int readings = 0;
BootTime read_kernel_time() {
  ++readings;
  return kernel_time;
}

class BootClockTest : public testing::Test {
 protected:
  void SetUp() override {
    kernel_time = BootTime{1'000'000'000};
    readings = 0;
  }
};

TEST_F(BootClockTest, BetweenAnchors_TicksBecomeNanoseconds) {
  BootClock clock(kHz, 0, read_kernel_time);
  EXPECT_EQ(clock.now(0).ns, 1'000'000'000);
  EXPECT_NEAR(static_cast<double>(clock.now(kTicksPerMs / 2).ns), 1'000'500'000, 1);
  EXPECT_EQ(readings, 1);
}

TEST_F(BootClockTest, AfterAMillisecond_IsAnchoredAnew) {
  BootClock clock(kHz, 0, read_kernel_time);
  kernel_time = BootTime{1'000'999'000};  // the kernel's clock runs slower than the TSC says
  EXPECT_EQ(clock.now(kTicksPerMs).ns, 1'000'999'000);
  EXPECT_EQ(readings, 2);
}

TEST_F(BootClockTest, AfterASuspend_TheSleepIsSeenAtTheNextAnchor) {
  BootClock clock(kHz, 0, read_kernel_time);
  kernel_time = BootTime{3'601'000'000'000};  // an hour passed, the TSC stood still
  EXPECT_EQ(clock.now(kTicksPerMs).ns, 3'601'000'000'000);
}

TEST_F(BootClockTest, AnAnchorInThePast_NeverTurnsTimeBack) {
  BootClock clock(kHz, 0, read_kernel_time);
  BootTime before = clock.now(kTicksPerMs - 1);
  kernel_time = BootTime{1'000'500'000};
  EXPECT_EQ(clock.now(kTicksPerMs), before);
  EXPECT_GT(clock.now(2 * kTicksPerMs - 1), before);
}

TEST_F(BootClockTest, AtAnyFrequency_ScaleIsRight) {
  for (uint64_t hz : {uint64_t{1'000'000'000}, uint64_t{1'999'999'999}, uint64_t{5'800'000'000}}) {
    BootClock clock(hz, 77, read_kernel_time);
    EXPECT_NEAR(static_cast<double>(clock.now(77 + hz / 2000).ns), 1'000'500'000, 2) << hz;
  }
}

}  // namespace
}  // namespace bulkhead
