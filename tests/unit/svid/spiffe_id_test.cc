#include "svid/spiffe_id.h"

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

std::string complaint(std::string_view text) {
  auto id = parse_spiffe_id(text);
  return id ? "none" : id.error().message;
}

#define EXPECT_SAYS(text, words) EXPECT_NE(complaint(text).find(words), std::string::npos) << complaint(text)

TEST(SpiffeId, OfAWorkload_HasTrustDomainAndPath) {
  auto id = parse_spiffe_id("spiffe://corp.example/web/Front-1_a.b");
  ASSERT_TRUE(id);
  EXPECT_EQ(id->trust_domain().name(), "corp.example");
  EXPECT_EQ(id->path(), "/web/Front-1_a.b");
  EXPECT_TRUE(id->is_workload());
  EXPECT_EQ(id->text(), "spiffe://corp.example/web/Front-1_a.b");
}
TEST(SpiffeId, OfATrustDomain_IsNoWorkloads) {
  auto id = parse_spiffe_id("spiffe://corp_1.example-2");
  ASSERT_TRUE(id);
  EXPECT_FALSE(id->is_workload());
  EXPECT_EQ(id->trust_domain().name(), "corp_1.example-2");
  EXPECT_TRUE(id->path().empty());
  EXPECT_FALSE(parse_workload_id("spiffe://corp_1.example-2"));
  EXPECT_TRUE(parse_workload_id("spiffe://corp_1.example-2/x"));
}
TEST(SpiffeId, DotsWithinASegment_AreFine) {
  EXPECT_EQ(complaint("spiffe://a/..."), "none");
  EXPECT_EQ(complaint("spiffe://a/.b/c..d"), "none");
}
TEST(SpiffeId, OtherScheme_IsRefused) {
  for (const char* text : {"https://a/b", "SPIFFE://a/b", "spiffe:/a/b", "spiffe:a/b", " spiffe://a/b", ""})
    EXPECT_SAYS(text, "doesn't begin with spiffe://");
}
TEST(SpiffeId, MissingTrustDomain_IsRefused) {
  EXPECT_SAYS("spiffe://", "trust domain is missing");
  EXPECT_SAYS("spiffe:///b", "trust domain is missing");
}
TEST(SpiffeId, TrustDomainWithUpperCaseUserPortOrEscape_IsRefused) {
  for (const char* text :
       {"spiffe://Corp/b", "spiffe://u@a/b", "spiffe://a:443/b", "spiffe://%61/b", "spiffe://[::1]/b",
        "spiffe://a?b", "spiffe://a#b", "spiffe://\u00e4/b", "spiffe://a b/c"})
    EXPECT_SAYS(text, "lower-case letters");
}
TEST(SpiffeId, PathWithQueryFragmentOrEscape_IsRefused) {
  for (const char* text : {"spiffe://a/b?c", "spiffe://a/b#c", "spiffe://a/%62", "spiffe://a/b c",
                           "spiffe://a/b*", "spiffe://a/\u00e4", "spiffe://a/b:c", "spiffe://a/b\\c"})
    EXPECT_SAYS(text, "a path has letters");
}
TEST(SpiffeId, NulAnywhere_IsRefused) {
  using std::string_view_literals::operator""sv;
  EXPECT_SAYS("spiffe://a/b\0c"sv, "a path has letters");
  EXPECT_SAYS("spiffe://a/b\0"sv, "a path has letters");
  EXPECT_SAYS("spiffe://a\0/b"sv, "lower-case letters");
}
TEST(SpiffeId, EmptySegment_IsRefused) {
  for (const char* text :
       {"spiffe://a/", "spiffe://a//", "spiffe://a//b", "spiffe://a/b/", "spiffe://a/b//c"})
    EXPECT_SAYS(text, "empty, or it ends in a slash");
}
TEST(SpiffeId, DotSegment_IsRefused) {
  for (const char* text : {"spiffe://a/.", "spiffe://a/..", "spiffe://a/b/../c", "spiffe://a/./c"})
    EXPECT_SAYS(text, "'.' or '..'");
}
TEST(SpiffeId, LongestIdAndTrustDomain_AreTheLast) {
  std::string longest = "spiffe://a/" + std::string(2048 - 11, 'b');
  EXPECT_EQ(complaint(longest), "none");
  EXPECT_SAYS(longest + "b", "longer than 2048 bytes");
  EXPECT_EQ(complaint("spiffe://" + std::string(255, 'a') + "/b"), "none");
  EXPECT_SAYS("spiffe://" + std::string(256, 'a') + "/b", "longer than 255 bytes");
}
TEST(SpiffeId, CaseOfThePath_CountsForEquality) {
  EXPECT_NE(*parse_spiffe_id("spiffe://a/b"), *parse_spiffe_id("spiffe://a/B"));
  EXPECT_EQ(*parse_spiffe_id("spiffe://a/b"), *parse_spiffe_id("spiffe://a/b"));
}

TEST(TrustDomain, IsANameAlone) {
  EXPECT_TRUE(parse_trust_domain("corp.example"));
  for (const char* text : {"", "spiffe://corp.example", "Corp", "corp.example/x", "corp:1"})
    EXPECT_FALSE(parse_trust_domain(text)) << text;
}

bool matches(const char* pattern, const char* id) {
  return parse_spiffe_pattern(pattern)->matches(*parse_spiffe_id(id));
}

TEST(SpiffePattern, Exact_MatchesThatIdOnly) {
  EXPECT_TRUE(matches("spiffe://a/web", "spiffe://a/web"));
  EXPECT_FALSE(matches("spiffe://a/web", "spiffe://a/web/7"));
  EXPECT_FALSE(matches("spiffe://a/web", "spiffe://a/web2"));
  EXPECT_FALSE(matches("spiffe://a/web", "spiffe://b/web"));
}
TEST(SpiffePattern, Below_MatchesAnyDepthButNotThePathItself) {
  EXPECT_TRUE(matches("spiffe://a/web/*", "spiffe://a/web/7"));
  EXPECT_TRUE(matches("spiffe://a/web/*", "spiffe://a/web/7/x"));
  EXPECT_FALSE(matches("spiffe://a/web/*", "spiffe://a/web"));
  EXPECT_FALSE(matches("spiffe://a/web/*", "spiffe://a/webx/7"));
  EXPECT_FALSE(matches("spiffe://a/web/*", "spiffe://ab/web/7"));
}
TEST(SpiffePattern, BelowATrustDomain_MatchesItsWorkloadsOnly) {
  EXPECT_TRUE(matches("spiffe://a/*", "spiffe://a/web/7"));
  EXPECT_FALSE(matches("spiffe://a/*", "spiffe://a"));
  EXPECT_FALSE(matches("spiffe://a/*", "spiffe://a.b/web"));
}
TEST(SpiffePattern, StarElsewhere_IsRefused) {
  for (const char* text :
       {"*", "spiffe://*", "spiffe://*/web", "spiffe://a/*/b", "spiffe://a/web*", "spiffe://a/**",
        "spiffe://a//*", "spiffe://a/web/", "spiffe://a", "spiffe:///*", ""})
    EXPECT_FALSE(parse_spiffe_pattern(text)) << text;
}

}  // namespace
}  // namespace bulkhead
