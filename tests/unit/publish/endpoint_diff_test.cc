#include "controlplane/publish/endpoint_diff.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <tuple>

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

Endpoint endpoint(uint32_t host, uint32_t workload = 0, uint8_t bits = 128) {
  Endpoint e{};
  e.address = masked(IpAddress::v4(host), bits);
  e.bits = bits;
  e.workload = workload;
  return e;
}

bool comes_before(const Endpoint& a, const Endpoint& b) {
  return std::tie(a.address, a.bits) < std::tie(b.address, b.bits);
}

/// What a table holds after the changes, sorted.
std::vector<Endpoint> applied(const std::vector<Endpoint>& before,
                              const std::vector<EndpointChange>& changes) {
  EndpointTable table;
  for (const Endpoint& e : before) EXPECT_TRUE(table.put(e));
  for (const EndpointChange& c : changes) {
    if (c.kind == ChangeKind::kPut) {
      EXPECT_TRUE(table.put(c.endpoint));
    } else {
      EXPECT_TRUE(table.remove(c.endpoint.address, c.endpoint.bits)) << "removed what wasn't there";
    }
  }
  std::vector<Endpoint> all;
  table.for_each([&](const Endpoint& e) { all.push_back(e); });
  std::ranges::sort(all, comes_before);
  return all;
}

bool equal(const std::vector<Endpoint>& a, const std::vector<Endpoint>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(Endpoint)) == 0);
}

TEST(EndpointDiff, EqualSetsDifferInNothing) {
  std::vector<Endpoint> set{endpoint(1), endpoint(2)};
  EXPECT_TRUE(endpoint_diff(set, set).empty());
  EXPECT_TRUE(endpoint_diff({}, {}).empty());
}

TEST(EndpointDiff, NewGoneAndChangedAreOneChangeEach) {
  std::vector<Endpoint> before{endpoint(1), endpoint(2), endpoint(3)},
      after{endpoint(2, 9), endpoint(3), endpoint(4)};
  auto changes = endpoint_diff(before, after);
  ASSERT_EQ(changes.size(), 3u);
  EXPECT_EQ(changes[0].kind, ChangeKind::kRemove);
  EXPECT_EQ(changes[0].endpoint.address, IpAddress::v4(1));
  EXPECT_EQ(changes[1].kind, ChangeKind::kPut);
  EXPECT_EQ(changes[1].endpoint.workload, 9u);
  EXPECT_EQ(changes[2].kind, ChangeKind::kPut);
  EXPECT_EQ(changes[2].endpoint.address, IpAddress::v4(4));
}

TEST(EndpointDiff, PrefixesOfOneAddressAreDifferentEndpoints) {
  std::vector<Endpoint> before{endpoint(0x0a000000, 0, 120)}, after{endpoint(0x0a000000, 0, 121)};
  EXPECT_EQ(endpoint_diff(before, after).size(), 2u);
  EXPECT_TRUE(equal(applied(before, endpoint_diff(before, after)), after));
}

TEST(EndpointDiff, ChangesTurnAnySetIntoAnyOther) {
  std::mt19937 random(7);
  auto some = [&] {
    std::vector<Endpoint> set;
    for (uint32_t host = 0; host < 64; ++host)
      if (random() % 2) set.push_back(endpoint(host << 8, random() % 3, random() % 2 ? 128 : 120));
    return set;
  };
  for (int i = 0; i < 500; ++i) {
    auto before = some(), after = some();
    ASSERT_TRUE(equal(applied(before, endpoint_diff(before, after)), after)) << i;
  }
}

TEST(EndpointPuts, AreTheWholeTable) {
  std::vector<Endpoint> set{endpoint(1, 5), endpoint(2, 6)};
  EXPECT_TRUE(equal(applied({}, endpoint_puts(set)), set));
}

}  // namespace
}  // namespace bulkhead
