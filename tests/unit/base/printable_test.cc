#include "base/printable.h"

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

TEST(Printable, PlainTextAndUtf8_AreUnchanged) {
  EXPECT_EQ(printable("web-1 → Zürich 東京"), "web-1 → Zürich 東京");
}
TEST(Printable, EscapeSequence_IsWrittenOut) {
  EXPECT_EQ(printable("a\033[31mb\n"), "a\\x1b[31mb\\x0a");
}
TEST(Printable, C1Control_IsWrittenOut) {
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\u{9b}31m");
}
TEST(Printable, BidirectionalOverride_IsWrittenOut) {
  EXPECT_EQ(printable("a\u202eb"), "a\\u{202e}b");
}
TEST(Printable, LoneContinuationByte_IsWrittenOut) {
  EXPECT_EQ(printable("a\x80z"), "a\\x80z");
}
TEST(Printable, OverlongSlash_IsWrittenOut) {
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");
}
TEST(Printable, Surrogate_IsWrittenOut) {
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");
}
TEST(Printable, CharacterCutShort_IsWrittenOut) {
  EXPECT_EQ(printable("x\xe2\x86"), "x\\xe2\\x86");
}

}  // namespace
}  // namespace bulkhead
