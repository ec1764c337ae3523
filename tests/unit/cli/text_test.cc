#include "cli/text.h"

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

TEST(DisplayWidth, WideCharactersCountTwo_CombiningOnesNone) {
  EXPECT_EQ(display_width("abc"), 3u);
  EXPECT_EQ(display_width("東京"), 4u);
  EXPECT_EQ(display_width("e\u0301"), 1u);
}

TEST(Cut, WhatFits_IsUnchanged) {
  EXPECT_EQ(cut("abcd", 4), "abcd");
}
TEST(Cut, WhatDoesNotFit_EndsInAnEllipsisWithinTheWidth) {
  EXPECT_EQ(cut("abcde", 4), "abc…");
  EXPECT_EQ(cut("東京都", 4), "東…");
  EXPECT_EQ(display_width(cut("東京都", 5)), 5u);
}

TEST(CutMiddle, BeginningAndEndStay) {
  EXPECT_EQ(cut_middle("[2001:db8::1]:443", 17), "[2001:db8::1]:443");
  EXPECT_EQ(cut_middle("[2001:db8::1]:443", 12), "[2001…1]:443");
  EXPECT_EQ(cut_middle("[2001:db8::1]:443", 5), "[2…43");
  EXPECT_EQ(cut_middle("abcdef", 2), "a…");
}

TEST(Wrapped, LinesBreakAtBlanks_AndGoOnIndented) {
  EXPECT_EQ(wrapped("hint: one two three", 80, 6), "hint: one two three");
  EXPECT_EQ(wrapped("hint: one two three", 14, 6), "hint: one two\n      three");
  EXPECT_EQ(wrapped("hint: one two three", 13, 6), "hint: one two\n      three");
  EXPECT_EQ(wrapped("hint: one two three", 12, 6), "hint: one\n      two\n      three");
  EXPECT_EQ(wrapped("    a-long-word b", 8, 4), "   \n    a-long-word\n    b")
      << "a word too long stays whole";
  EXPECT_EQ(wrapped("  key  value", 80, 0), "  key  value") << "blanks are kept";
  EXPECT_EQ(wrapped("", 80, 0), "");
}

TEST(CountText, SmallOnesAreExact_LargeOnesHaveThreeDigits) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(9999), "9999");
  EXPECT_EQ(count_text(10'000), "10.0 k");
  EXPECT_EQ(count_text(123'456), "123 k");
  EXPECT_EQ(count_text(999'600), "1.00 M");
  EXPECT_EQ(count_text(UINT64_MAX), "18.4 E");
}
TEST(BytesText, UnitsAreBinary) {
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(1536), "1.50 KiB");
  EXPECT_EQ(bytes_text(uint64_t{3} << 30), "3.00 GiB");
}
TEST(DurationText, UnitFitsTheLength) {
  EXPECT_EQ(duration_text(870), "870 ns");
  EXPECT_EQ(duration_text(870'000), "870 us");
  EXPECT_EQ(duration_text(1'250'000'000), "1.25 s");
  EXPECT_EQ(duration_text(192'000'000'000), "3m 12s");
  EXPECT_EQ(duration_text(7'500'000'000'000), "2h 5m");
  EXPECT_EQ(duration_text(int64_t{99} * 3600 * 1'000'000'000), "4d 3h");
  EXPECT_EQ(duration_text(-1'000), "-1.00 us");
}

}  // namespace
}  // namespace bulkhead
