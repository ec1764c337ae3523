#include "cli/table.h"

#include <gtest/gtest.h>

#include <sstream>

#include "cli/text.h"

namespace bulkhead {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(Table, ColumnsAreAsWideAsTheirWidestCell_NumbersAlignRight) {
  Table table({{"NAME"}, {"PACKETS", Align::kRight}});
  table.add({"web", "7"});
  table.add({"database", "12345678"});
  EXPECT_EQ(table.render(80),
            "NAME       PACKETS\n"
            "web              7\n"
            "database  12345678\n");
}

TEST(Table, TooWide_TheWidestColumnsAreCut) {
  Table table({{"NAME"}, {"COUNT", Align::kRight, 0, false}});
  table.add({"a-rather-long-segment-name", "123456789"});
  std::vector<std::string> lines = lines_of(table.render(20));
  EXPECT_EQ(lines[1], "a-rather…  123456789");
  for (const std::string& line : lines) EXPECT_LE(display_width(line), 20u);
}

TEST(Table, ColumnThatMayNotShrink_IsNeverCut) {
  Table table({{"NAME", Align::kLeft, 4}, {"COUNT", Align::kRight, 0, false}});
  table.add({"segment", "123456789"});
  EXPECT_NE(table.render(3).find("123456789"), std::string::npos);
}

TEST(Table, SpareColumns_AreLeftOutBeforeAnythingGetsTooNarrow_TheHighestFirst) {
  Table table({{"NAME", Align::kLeft, 4},
               {"AGE", Align::kRight, 0, false, 1},
               {"IDLE", Align::kRight, 0, false, 2},
               {"N"}});
  table.add({"segment", "1m 0s", "250 ms", "7"});
  EXPECT_EQ(lines_of(table.render(30))[0], "NAME       AGE    IDLE  N");
  EXPECT_EQ(lines_of(table.render(18))[0], "NAME       AGE  N");
  EXPECT_EQ(lines_of(table.render(8))[1], "segm…  7");
}

TEST(Table, SpareColumns_GoBeforeAnotherIsCutBelowItsComfort) {
  Table table({{"RULE", Align::kLeft, 4, true, 0, false, 10}, {"AGE", Align::kRight, 0, false, 1}});
  table.add({"web-calls-db", "1m 0s"});
  EXPECT_EQ(lines_of(table.render(17))[1], "web-calls…  1m 0s");
  EXPECT_EQ(lines_of(table.render(16))[1], "web-calls-db");
  EXPECT_EQ(lines_of(table.render(6))[1], "web-c…");
}

TEST(Table, ColumnThatKeepsItsEnd_IsCutInTheMiddle) {
  Table table({{"FROM", Align::kLeft, 8, true, 0, true}, {"N"}});
  table.add({"[2001:db8::1]:443", "7"});
  EXPECT_EQ(lines_of(table.render(15))[1], "[2001…1]:443  7");
}

TEST(Table, ControlCharactersInCells_AreEscaped) {
  Table table({{"NAME"}});
  table.add({"a\033[2Jb"});
  EXPECT_EQ(table.render(80), "NAME\na\\x1b[2Jb\n");
}

TEST(Table, WideCharacters_KeepTheColumnsAligned) {
  Table table({{"NAME"}, {"N", Align::kRight}});
  table.add({"東京", "1"});
  table.add({"abcd", "2"});
  EXPECT_EQ(table.render(80), "NAME  N\n東京  1\nabcd  2\n");
}

}  // namespace
}  // namespace bulkhead
