#include "tests/unit/config/load_text.h"

namespace bulkhead {
namespace {

using testing::HasSubstr;

/// Why a text was refused, or that it wasn't.
template <class T>
std::string refusal(const Expected<T>& result) {
  return result ? "accepted" : result.error().message;
}

ServiceRange range(uint32_t proto, uint32_t first, uint32_t last) {
  return {ServiceKey{proto << 24 | first}, ServiceKey{proto << 24 | last}};
}

TEST(ServiceText, EachForm_IsItsRange) {
  EXPECT_EQ(parse_service("tcp/443")->front(), range(6, 443, 443));
  EXPECT_EQ(parse_service("tcp/8000-8099")->front(), range(6, 8000, 8099));
  EXPECT_EQ(parse_service("tcp/1-65535")->front(), range(6, 1, 65535));
  EXPECT_EQ(parse_service("udp")->front(), range(17, 0, 65535));
  EXPECT_EQ(parse_service("sctp/38412")->front(), range(132, 38412, 38412));
  EXPECT_EQ(parse_service("icmp")->front(), range(1, 0, 0xffff));
  EXPECT_EQ(parse_service("icmp/echo")->front(), range(1, 0x0800, 0x0800));
  EXPECT_EQ(parse_service("icmp/3")->front(), range(1, 0x0300, 0x03ff));
  EXPECT_EQ(parse_service("icmp/3/1")->front(), range(1, 0x0301, 0x0301));
  EXPECT_EQ(parse_service("icmp6/echo")->front(), range(58, 0x8000, 0x8000));
  EXPECT_EQ(parse_service("proto/47")->front(), range(47, 0, 0));
}

TEST(ServiceText, Any_IsItsFiveProtocols) {
  auto any = parse_service("any");
  ASSERT_TRUE(any);
  std::vector<uint8_t> protocols;
  for (const ServiceRange& one : *any) protocols.push_back(static_cast<uint8_t>(proto_of(one.first)));
  EXPECT_THAT(protocols, testing::UnorderedElementsAre(1, 6, 17, 58, 132));
}

TEST(ServiceText, WrongForms_SayWhatToWrite) {
  auto message = [](const char* text) { return refusal(parse_service(text)); };
  EXPECT_THAT(message("tcp/0"), HasSubstr("port 0 doesn't exist"));
  EXPECT_THAT(message("tcp/0-80"), HasSubstr("port 0 doesn't exist"));
  EXPECT_THAT(message("tcp/90-80"), HasSubstr("write 80-90"));
  EXPECT_THAT(message("tcp/65536"), HasSubstr("1 to 65535"));
  EXPECT_THAT(message("tcp/"), HasSubstr("1 to 65535"));
  EXPECT_THAT(message("tcp/080"), HasSubstr("1 to 65535"));
  EXPECT_THAT(message("tcp/80-"), HasSubstr("1 to 65535"));
  EXPECT_THAT(message("tcp/-80"), HasSubstr("1 to 65535"));
  EXPECT_THAT(message("TCP/80"), HasSubstr("tcp/443"));
  EXPECT_THAT(message("http"), HasSubstr("tcp/443"));
  EXPECT_THAT(message("any/80"), HasSubstr("tcp/443"));
  EXPECT_THAT(message("icmp/256"), HasSubstr("TYPE/CODE"));
  EXPECT_THAT(message("icmp/8/"), HasSubstr("TYPE/CODE"));
  EXPECT_THAT(message("proto/6"), HasSubstr("write tcp"));
  EXPECT_THAT(message("proto/58"), HasSubstr("write icmp6"));
  EXPECT_THAT(message("proto/256"), HasSubstr("0 to 255"));
  EXPECT_THAT(message("proto"), HasSubstr("proto/NUMBER"));
}

TEST(ServiceText, Exact_IsOneKeyOnly) {
  EXPECT_EQ(parse_exact_service("tcp/443"), (ServiceKey{6u << 24 | 443}));
  EXPECT_EQ(parse_exact_service("icmp/echo"), (ServiceKey{1u << 24 | 0x0800}));
  EXPECT_EQ(parse_exact_service("proto/47"), (ServiceKey{47u << 24}));
  for (const char* text : {"any", "tcp", "tcp/80-81", "icmp", "icmp/8"})
    EXPECT_THAT(refusal(parse_exact_service(text)), HasSubstr("more than one service")) << text;
}

TEST(Covers, TunnelPort_OnlyWhereItIsNamed) {
  Rule rule;
  rule.action = Action::kAllow;
  ServiceKey vxlan = service_key(IpProto::kUdp, 4789);
  rule.services = *parse_service("any");
  EXPECT_TRUE(covers(rule, service_key(IpProto::kUdp, 4788)));
  EXPECT_FALSE(covers(rule, vxlan));
  rule.services = *parse_service("udp/4789-4790");
  EXPECT_FALSE(covers(rule, vxlan));
  EXPECT_TRUE(covers(rule, service_key(IpProto::kUdp, 4790)));
  rule.services = *parse_service("udp/4789");
  EXPECT_TRUE(covers(rule, vxlan));
  rule.services = *parse_service("any");
  rule.action = Action::kDeny;
  EXPECT_TRUE(covers(rule, vxlan));
  rule.action = Action::kAsk;
  EXPECT_FALSE(covers(rule, vxlan));
}

TEST(Covers, TcpOnATunnelsPort_IsNoTunnel) {
  Rule rule;
  rule.action = Action::kAllow;
  rule.services = *parse_service("tcp");
  EXPECT_TRUE(covers(rule, service_key(IpProto::kTcp, 4789)));
  EXPECT_FALSE(covers(rule, service_key(IpProto::kUdp, 53)));
}

TEST(Selects, AnyLeavesOutTheReservedSegments) {
  Selector any;
  EXPECT_TRUE(selects(any, "web", {}));
  EXPECT_FALSE(selects(any, "unknown", {}));
  EXPECT_FALSE(selects(any, "gateway", {}));
}

TEST(Selects, NamesAndLabels) {
  Selector names{Selector::Kind::kNames, {"db", "unknown"}, {}};
  EXPECT_TRUE(selects(names, "unknown", {}));
  EXPECT_FALSE(selects(names, "web", {}));
  Selector labels{Selector::Kind::kLabels, {}, {{"data", "internal"}, {"tier", "frontend"}}};
  EXPECT_TRUE(selects(labels, "web", {{"data", "internal"}, {"os", "linux"}, {"tier", "frontend"}}));
  EXPECT_FALSE(selects(labels, "web", {{"data", "internal"}}));
  EXPECT_FALSE(selects(labels, "unknown", {}));
}

TEST(TimeText, Rfc3339_IsReadToTheNanosecond) {
  EXPECT_EQ(parse_time("1970-01-01T00:00:00Z")->ns, 0);
  EXPECT_EQ(parse_time("2027-01-15T08:00:00Z"), kNow);
  EXPECT_EQ(parse_time("2027-01-15t09:30:00+01:30"), kNow);
  EXPECT_EQ(parse_time("2027-01-15T07:00:00-01:00"), kNow);
  EXPECT_EQ(parse_time("2027-01-15T08:00:00.25Z")->ns, kNow.ns + 250'000'000);
  EXPECT_EQ(parse_time("2027-01-15T08:00:00.000000001Z")->ns, kNow.ns + 1);
  EXPECT_EQ(parse_time("2028-02-29T00:00:00z")->ns, 1'835'395'200'000'000'000);
}

TEST(TimeText, WrongTimes_SayWhy) {
  auto message = [](const char* text) { return refusal(parse_time(text)); };
  EXPECT_THAT(message("2027-01-15T08:00:00"), HasSubstr("zone is missing"));
  EXPECT_THAT(message("2027-02-29T00:00:00Z"), HasSubstr("no such day"));
  EXPECT_THAT(message("2027-13-01T00:00:00Z"), HasSubstr("no such day"));
  EXPECT_THAT(message("2027-01-15T24:00:00Z"), HasSubstr("no such day"));
  EXPECT_THAT(message("2027-01-15T08:00:60Z"), HasSubstr("no such day"));
  EXPECT_THAT(message("2027-01-15T08:00:00+24:00"), HasSubstr("no such day"));
  EXPECT_THAT(message("2027-01-15"), HasSubstr("RFC 3339"));
  EXPECT_THAT(message("2027-01-15 08:00:00Z"), HasSubstr("RFC 3339"));
  EXPECT_THAT(message("2027-01-15T08:00:00.Z"), HasSubstr("RFC 3339"));
  EXPECT_THAT(message("2027-01-15T08:00:00.1234567890Z"), HasSubstr("RFC 3339"));
  EXPECT_THAT(message("2027-01-15T08:00:00Zx"), HasSubstr("RFC 3339"));
  EXPECT_THAT(message(""), HasSubstr("RFC 3339"));
  EXPECT_THAT(message("2262-01-01T00:00:00Z"), HasSubstr("1970 to 2261"));
  EXPECT_THAT(message("1969-01-01T00:00:00Z"), HasSubstr("1970 to 2261"));
}

TEST(TimeText, Written_HasNoMoreDigitsThanNeeded) {
  for (const char* text : {"2027-01-15T08:00:00Z", "2027-01-15T08:00:00.5Z", "2027-01-15T08:00:00.000000001Z",
                           "1970-01-01T00:00:00Z", "2261-12-31T23:59:59.999999999Z"})
    EXPECT_EQ(to_string(*parse_time(text)), text);
}

TEST(DurationText, EachUnit) {
  EXPECT_EQ(parse_duration("250ms")->count(), 250'000'000);
  EXPECT_EQ(parse_duration("30s")->count(), 30'000'000'000);
  EXPECT_EQ(parse_duration("15m")->count(), 900'000'000'000);
  EXPECT_EQ(parse_duration("2h")->count(), 7'200'000'000'000);
}

TEST(DurationText, WrongForms_AreRefused) {
  for (const char* text :
       {"", "30", "s", "-1s", "+1s", "1.5s", "030s", "30 s", "30S", "1d", "9999999999999h"})
    EXPECT_THAT(refusal(parse_duration(text)), HasSubstr("30s, 15m or 2h")) << text;
}

TEST(Name, FirstIsAlphanumeric_AtMost63) {
  EXPECT_TRUE(is_name("a"));
  EXPECT_TRUE(is_name("0.a_b-c"));
  EXPECT_TRUE(is_name(std::string(63, 'a')));
  EXPECT_FALSE(is_name(std::string(64, 'a')));
  for (const char* text : {"", "-a", ".a", "_a", "A", "a b", "a/b", "\xc3\xa4"})
    EXPECT_FALSE(is_name(text)) << text;
}

TEST(DiagnosticText, ControlCharactersAreEscaped) {
  Diagnostic error{Severity::kError, {"a\033[31m.yaml", 3, 7}, "bad \x7f\xc2\x9b\xc3\xa4"};
  EXPECT_EQ(to_string(error), "a\\x1b[31m.yaml:3:7: error: bad \\x7f\\u{9b}\xc3\xa4");
  EXPECT_EQ(to_string(Diagnostic{Severity::kWarning, {"a.yaml", 0, 0}, "old"}), "a.yaml: warning: old");
}

}  // namespace
}  // namespace bulkhead
