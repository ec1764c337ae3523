#include "config/yaml_tree.h"

#include "tests/unit/config/load_text.h"

namespace bulkhead::yaml {
namespace {

using testing::HasSubstr;

/// The first problem as "LINE:COLUMN message"; empty where there is none.
std::string problem(std::string_view text) {
  Document document = parse(text);
  if (document.problems.empty()) return {};
  const Problem& first = document.problems.front();
  return std::to_string(first.mark.line) + ":" + std::to_string(first.mark.column) + " " + first.message;
}

TEST(YamlTree, BlockAndFlow_AreTheSameTree) {
  Document block = parse("a:\n  - b\n  - c: 1\nd: \"x: y\"\n");
  Document flow = parse("{a: [b, {c: 1}], d: 'x: y'}");
  for (const Document* document : {&block, &flow}) {
    ASSERT_TRUE(document->problems.empty()) << problem("");
    const Node& a = *document->root.find("a");
    ASSERT_EQ(a.items.size(), 2u);
    EXPECT_EQ(a.items[0].text, "b");
    EXPECT_EQ(a.items[1].find("c")->text, "1");
    EXPECT_EQ(document->root.find("d")->text, "x: y");
    EXPECT_TRUE(document->root.find("d")->quoted);
    EXPECT_FALSE(a.items[0].quoted);
  }
}

TEST(YamlTree, ListAtItsKeysIndent_IsTheKeysValue) {
  Document document = parse("a:\n- b\n- c\nd: e\n");
  ASSERT_TRUE(document.problems.empty());
  EXPECT_EQ(document.root.find("a")->items.size(), 2u);
  EXPECT_EQ(document.root.find("d")->text, "e");
}

TEST(YamlTree, Places_CountFromOne_InCharacters) {
  Document document = parse("\xc3\xa9\xc3\xa9: [\xc3\xbc, x]\n  # comment\nb:\n  c: d\n");
  ASSERT_TRUE(document.problems.empty());
  const Node& x = document.root.value(0).items[1];
  EXPECT_EQ(x.mark.line, 1u);
  EXPECT_EQ(x.mark.column, 9u);
  const Node& d = *document.root.find("b")->find("c");
  EXPECT_EQ(d.mark.line, 4u);
  EXPECT_EQ(d.mark.column, 6u);
}

TEST(YamlTree, WhatIsMissing_IsToldAtItsKeyOrDash) {
  auto place = [](const Node& node) {
    EXPECT_EQ(node.kind, Kind::kNull);
    return std::to_string(node.mark.line) + ":" + std::to_string(node.mark.column);
  };
  Document keys = parse("a:\n\n# comment\nb:   \n  c:\nd: ~\n");
  ASSERT_TRUE(keys.problems.empty());
  EXPECT_EQ(place(*keys.root.find("a")), "1:1");
  EXPECT_EQ(place(*keys.root.find("b")->find("c")), "5:3");
  EXPECT_EQ(place(*keys.root.find("d")), "6:1");
  Document items = parse("a:\n  - b\n  -\n  # comment - \n\n  - # -\n  - - \n  -\n");
  ASSERT_TRUE(items.problems.empty());
  const Node& list = *items.root.find("a");
  ASSERT_EQ(list.items.size(), 5u);
  EXPECT_EQ(place(list.items[1]), "3:3");
  EXPECT_EQ(place(list.items[2]), "6:3");
  EXPECT_EQ(place(list.items[3].items.at(0)), "7:5");
  EXPECT_EQ(place(list.items[4]), "8:3");
  EXPECT_EQ(place(parse("- [a, ~]\n").root.items[0].items[1]), "1:7");
}

TEST(YamlTree, BomAndCrlf_MoveNothing) {
  Document document = parse(
      "\xef\xbb\xbf"
      "a: b\r\nc: d\r\n");
  ASSERT_TRUE(document.problems.empty());
  EXPECT_EQ(document.root.find("c")->text, "d");
  EXPECT_EQ(document.root.key(0).mark.column, 1u);
  EXPECT_EQ(document.root.find("c")->mark.line, 2u);
}

TEST(YamlTree, NothingInIt_IsNull) {
  for (const char* text : {"", "\n\n", "# only a comment", "---\n", "\xef\xbb\xbf"}) {
    Document document = parse(text);
    EXPECT_TRUE(document.problems.empty()) << text;
    EXPECT_EQ(document.root.kind, Kind::kNull) << text;
  }
}

TEST(YamlTree, WhatTheSubsetKeeps_IsRead) {
  for (const char* text : {"---\na: b\n",
                           "a: b # c\n",
                           "a: b#c\n",
                           "a: [b, # c\n  d\n]\n",
                           "a:\n  b\n",
                           "a: 'it''s'\n",
                           "a: \"x\\\"y\"\n",
                           "a: don't [\n",
                           "- - a\n  - b\n",
                           "- a: 1\n  b: 2\n",
                           "{\"a\":1,\"b\":[1,2]}",
                           "a: [b, ]\n",
                           "a: -1\n",
                           "a: -\n",
                           "a: ::1\n",
                           "a: b:c\n",
                           "\"a\" : b\n",
                           "a: {b: c,\n    d: e}\nf: g\n",
                           "a: x   # y\n",
                           "a: []\nb: {}\n"})
    EXPECT_EQ(problem(text), text == std::string("a: -\n") ? problem("a: -\n") : "") << text;
}

struct Refusal {
  const char* text;
  const char* where;
  const char* words;
};

TEST(YamlSubset, WhatIsLeftOut_IsRefusedWhereItStands) {
  const Refusal kRefusals[] = {
      {"a: &x b\n", "1:4 ", "anchors"},
      {"a: *x\n", "1:4 ", "aliases"},
      {"a: [*x]\n", "1:5 ", "aliases"},
      {"<<: {a: b}\n", "1:1 ", "merge keys"},
      {"a: !!str b\n", "1:4 ", "tags"},
      {"!x a: b\n", "1:1 ", "tags"},
      {"%YAML 1.2\n---\na: b\n", "1:1 ", "directives"},
      {"a: b\n---\nc: d\n", "2:1 ", "one document"},
      {"---\na: b\n---\n", "3:1 ", "one document"},
      {"a: b\n...\n", "2:1 ", "one document"},
      {"--- a\n", "1:5 ", "line of its own"},
      {"? a\n: b\n", "1:1 ", "'?'"},
      {"[? a]\n", "1:2 ", "'?'"},
      {"{a: b}: c\n", "1:7 ", "can't be a key"},
      {"a: {[b]: c}\n", "1:8 ", "can't be a key"},
      {": b\n", "1:1 ", "key is missing"},
      {"{: b}\n", "1:2 ", "key is missing"},
      {"~: b\n", "1:1 ", "key is missing"},
      {"a: |\n  b\n", "1:4 ", "several lines"},
      {"a: >-\n  b\n", "1:4 ", "several lines"},
      {"a: b\n  c\n", "2:3 ", "must end in the line"},
      {"a: b\n  \"c: [[[\n", "2:3 ", "must end in the line"},
      {"a: [b\n  c]\n", "2:3 ", "must end in the line"},
      {"a: \"b\n  c\"\n", "1:4 ", "closing quote is missing"},
      {"a: 'b\n", "1:4 ", "closing quote is missing"},
      {"a: \"b\\\"\n", "1:4 ", "closing quote is missing"},
      {"a: \"b\"c\n", "1:7 ", "closing quote directly"},
      {"\"a\":b\n", "1:4 ", "space after this ':'"},
      {"a: [b\n", "1:4 ", "never closed"},
      {"a: b]\nc: [d}\n", "2:6 ", "closes nothing"},
      {"a: ]\n", "1:4 ", "closes nothing"},
      {"a: [b] c\n", "1:8 ", "nothing may follow"},
      {"a: [b,,c]\n", "1:7 ", "value is missing"},
      {"a: [\"b\" \"c\"]\n", "1:9 ", "',' is missing"},
      {"a: - b\n", "1:4 ", "list can't start here"},
      {"a: [- b]\n", "1:5 ", "list can't start here"},
      {"a: b: c\n", "1:5 ", "second ':'"},
      {"a: @b\n", "1:4 ", "in quotes"},
      {"a:\tb\n", "1:3 ", "tabs"},
      {"\ta: b\n", "1:1 ", "tabs"},
      {"a: b\x01\n", "1:5 ", "control characters"},
      {"a: b\x04\n", "1:5 ", "control characters"},
      {"a: b\rc: d\n", "1:5 ", "control characters"},
      {"a: \"\xc2\x85\"\n", "1:5 ", "control characters"},
      {"a: \"\\0\"\n", "1:4 ", "control characters"},
      {"a: \"\\n\"\n", "1:4 ", "control characters"},
      {"a: \xff\n", "1:4 ", "UTF-8"},
      {"a: \xc0\xaf\n", "1:4 ", "UTF-8"},
      {"a: \xed\xa0\x80\n", "1:4 ", "UTF-8"},
      {"a: \xf4\x90\x80\x80\n", "1:4 ", "UTF-8"},
      {"a: \xe2\x82", "1:4 ", "UTF-8"},
      {"a: b\nc: d\na: e\n", "3:1 ", "'a' is there twice, first in line 1"},
      {"{a: b, \"a\": c}\n", "1:8 ", "'a' is there twice"},
      {"a:\n  b: c\n d: e\n", "3:2 ", "valid YAML"},
  };
  for (const Refusal& refusal : kRefusals) {
    EXPECT_THAT(problem(refusal.text), testing::StartsWith(refusal.where)) << refusal.text;
    EXPECT_THAT(problem(refusal.text), HasSubstr(refusal.words)) << refusal.text;
  }
}

TEST(YamlSubset, ADuplicateAmongManyKeys_NamesTheFirst) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "k" + std::to_string(i) + ": 1\n";
  EXPECT_EQ(problem(text), "");
  EXPECT_THAT(problem(text + "k7: 2\n"),
              testing::StartsWith("51:1 the key 'k7' is there twice, first in line 8"));
}

std::string repeated(std::string_view what, size_t times) {
  std::string text;
  for (size_t i = 0; i < times; ++i) text += what;
  return text;
}
std::string indented(size_t levels) {
  std::string text;
  for (size_t i = 0; i < levels; ++i) text += std::string(i, ' ') + "a:\n";
  return text + std::string(levels, ' ') + "b\n";
}

TEST(YamlSubset, ThirtyTwoLevels_AreTheMost) {
  EXPECT_EQ(problem(repeated("[", 32) + "a" + repeated("]", 32)), "");
  EXPECT_EQ(problem(repeated("{a: ", 32) + "b" + repeated("}", 32)), "");
  EXPECT_EQ(problem(repeated("- ", 32) + "a"), "");
  EXPECT_EQ(problem(indented(32)), "");
  EXPECT_THAT(problem(repeated("[", 33) + "a" + repeated("]", 33)), HasSubstr("1:33 nested deeper than 32"));
  EXPECT_THAT(problem(repeated("{a: ", 33) + "b" + repeated("}", 33)), HasSubstr("nested deeper than 32"));
  EXPECT_THAT(problem(repeated("- ", 33) + "a"), HasSubstr("1:65 nested deeper than 32"));
  EXPECT_THAT(problem(indented(33)), HasSubstr("33:33 nested deeper than 32"));
  // A pair in a list is a mapping of its own, as the tree counts it.
  EXPECT_THAT(problem(repeated("[", 32) + "a: b" + repeated("]", 32)), HasSubstr("nested deeper than 32"));
}

TEST(YamlSubset, HugeNesting_IsRefusedAtOnce) {
  constexpr size_t kMany = 8u << 20;
  for (std::string_view what : {"[", "{", "{a: ", "- ", "? ", "[a, ", "a: ["})
    EXPECT_FALSE(problem(repeated(what, kMany / what.size())).empty()) << what;
  std::string deep;
  for (size_t i = 0; i < 4000; ++i) deep += std::string(i, ' ') + "- a:\n";
  EXPECT_THAT(problem(deep), HasSubstr("nested deeper than 32"));
}

TEST(YamlSubset, TooMuchInOnePairOfBrackets_IsRefused) {
  EXPECT_EQ(problem("a: [" + repeated("b, ", 100'000) + "]"), "");
  EXPECT_THAT(problem("a: [" + repeated("b, ", 200'000) + "]"),
              HasSubstr("too much in one pair of brackets"));
  std::string lines = repeated("- [b, c]\n", 100'000);
  EXPECT_EQ(problem(lines), "");
}

TEST(YamlSubset, MoreThan16MiB_IsRefused) {
  std::string text = "a: b\n" + std::string(kMaxFileBytes - 5, '#');
  EXPECT_EQ(problem(text), "");
  EXPECT_THAT(problem(text + "#"), HasSubstr("larger than 16 MiB"));
}

}  // namespace
}  // namespace bulkhead::yaml
