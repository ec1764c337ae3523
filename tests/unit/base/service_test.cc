#include "base/service.h"

#include <gtest/gtest.h>

#include <set>

#include "base/drop_reason.h"

namespace bulkhead {
namespace {

TEST(ServiceKey, TextAsInAPolicy) {
  EXPECT_EQ(to_string(service_key(IpProto::kTcp, 443)), "tcp/443");
  EXPECT_EQ(to_string(service_key(IpProto::kUdp, 53)), "udp/53");
  EXPECT_EQ(to_string(service_key(IpProto::kSctp, 38412)), "sctp/38412");
  EXPECT_EQ(to_string(service_key(IpProto::kIcmp, 8 << 8)), "icmp/echo");
  EXPECT_EQ(to_string(service_key(IpProto::kIcmp, 3 << 8 | 4)), "icmp/3/4");
  EXPECT_EQ(to_string(service_key(IpProto::kIcmpv6, 128 << 8)), "icmp6/echo");
  EXPECT_EQ(to_string(service_key(IpProto::kIcmpv6, 135 << 8)), "icmp6/135/0");
  EXPECT_EQ(to_string(service_key(IpProto::kGre)), "proto/47");
}
TEST(ServiceKey, TakesApartAgain) {
  ServiceKey key = service_key(IpProto::kUdp, 65535);
  EXPECT_EQ(proto_of(key), IpProto::kUdp);
  EXPECT_EQ(rest_of(key), 65535);
  EXPECT_LT(service_key(IpProto::kTcp, 65535), service_key(IpProto::kUdp, 0))
      << "protocols don't overlap on the axis";
}
TEST(DropReason, NamesAreDistinctAndFoundAgain) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kDropReasonCount; ++i) {
    auto reason = static_cast<DropReason>(i);
    EXPECT_TRUE(names.insert(name_of(reason)).second) << name_of(reason);
    EXPECT_EQ(drop_reason_named(name_of(reason)), reason);
    EXPECT_FALSE(help_of(reason).empty());
  }
  EXPECT_FALSE(drop_reason_named("no_such_reason"));
}

}  // namespace
}  // namespace bulkhead
