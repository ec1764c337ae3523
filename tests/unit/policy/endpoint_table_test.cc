#include "policy/endpoint_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace bulkhead {
namespace {

Endpoint endpoint(std::string_view prefix, uint32_t identity) {
  Prefix parsed = parse_prefix(prefix).value();
  Endpoint endpoint{};
  endpoint.address = parsed.address;
  endpoint.bits = parsed.bits;
  endpoint.identity = identity;
  return endpoint;
}
IpAddress address(std::string_view text) {
  return parse_address(text).value();
}

uint32_t identity_at(const EndpointTable& table, std::string_view text) {
  const Endpoint* found = table.find(address(text));
  return found != nullptr ? found->identity : 0;
}

TEST(EndpointTable, Empty_FindsNothing) {
  EndpointTable table;
  EXPECT_EQ(table.find(address("10.0.0.1")), nullptr);
  EXPECT_EQ(table.find_exact(address("10.0.0.1"), 128), nullptr);
  EXPECT_FALSE(table.remove(address("10.0.0.1"), 128));
  table.prefetch(address("10.0.0.1"));
}

TEST(EndpointTable, LongestPrefix_Wins) {
  EndpointTable table;
  for (const Endpoint& e : {endpoint("0.0.0.0/0", 1), endpoint("10.0.0.0/8", 2), endpoint("10.1.0.0/16", 3),
                            endpoint("10.1.2.3", 4), endpoint("fd00::/8", 5), endpoint("fd00:0:0:1::/64", 6),
                            endpoint("fd00::1:0:0:0:7", 7)})
    ASSERT_TRUE(table.put(e));
  EXPECT_EQ(identity_at(table, "192.0.2.1"), 1u);
  EXPECT_EQ(identity_at(table, "10.9.9.9"), 2u);
  EXPECT_EQ(identity_at(table, "10.1.9.9"), 3u);
  EXPECT_EQ(identity_at(table, "10.1.2.3"), 4u);
  EXPECT_EQ(identity_at(table, "2001:db8::1"), 0u);
  EXPECT_EQ(identity_at(table, "fd00:1::1"), 5u);
  EXPECT_EQ(identity_at(table, "fd00:0:0:1::8"), 6u);
  EXPECT_EQ(identity_at(table, "fd00::1:0:0:0:7"), 7u);
}

TEST(EndpointTable, ShortIpv6Prefix_HoldsNoIpv4Address) {
  EndpointTable table;
  ASSERT_TRUE(table.put(endpoint("::/1", 1)));
  EXPECT_EQ(identity_at(table, "10.0.0.1"), 0u);
  EXPECT_EQ(identity_at(table, "::1"), 1u);
}

TEST(EndpointTable, SamePrefixAgain_Replaces) {
  EndpointTable table;
  ASSERT_TRUE(table.put(endpoint("10.0.0.0/8", 1)));
  ASSERT_TRUE(table.put(endpoint("10.0.0.0/8", 2)));
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.find_exact(address("10.0.0.0"), 104)->identity, 2u);
  EXPECT_EQ(table.find_exact(address("10.0.0.0"), 105), nullptr);
}

TEST(EndpointTable, LengthOutOfRange_IsRefused) {
  EndpointTable table;
  Endpoint wrong = endpoint("10.0.0.0/8", 1);
  for (uint8_t bits : {0, 129, 255}) {
    wrong.bits = bits;
    EXPECT_FALSE(table.put(wrong));
  }
  EXPECT_EQ(table.size(), 0u);
}

TEST(EndpointTable, LastOfALengthRemoved_ShorterOneAnswers) {
  EndpointTable table;
  ASSERT_TRUE(table.put(endpoint("10.0.0.0/8", 1)));
  ASSERT_TRUE(table.put(endpoint("10.1.0.0/16", 2)));
  EXPECT_TRUE(table.remove(address("10.1.0.0"), 112));
  EXPECT_FALSE(table.remove(address("10.1.0.0"), 112));
  EXPECT_EQ(identity_at(table, "10.1.0.1"), 1u);
}

/// Longest prefix by trying every one.
const Endpoint* naive_find(const std::map<Prefix, Endpoint>& model, const IpAddress& address) {
  const Endpoint* best = nullptr;
  for (const auto& [prefix, e] : model) {
    bool holds = prefix.address.is_v4() == address.is_v4() && prefix.contains(address);
    if (holds && (best == nullptr || best->bits < e.bits)) best = &e;
  }
  return best;
}

TEST(EndpointTable, RandomChanges_AgreeWithAMap) {
  std::mt19937 random(1);
  EndpointTable table;
  std::map<Prefix, Endpoint> model;
  auto some_address = [&] {
    IpAddress a = random() % 2 ? IpAddress::v4(0x0a000000 + random() % 64) : IpAddress{};
    if (!a.is_v4()) a.bytes[0] = 0xfd, a.bytes[15] = static_cast<uint8_t>(random() % 64);
    return a;
  };
  for (uint32_t step = 0; step < 20'000; ++step) {
    IpAddress a = some_address();
    auto bits = static_cast<uint8_t>(random() % 3 ? 128 : 121 + random() % 7);
    Endpoint e{};
    e.address = masked(a, bits);
    e.bits = bits;
    e.identity = step + 1;
    if (random() % 2) {
      ASSERT_TRUE(table.put(e));
      model[{e.address, bits}] = e;
    } else {
      ASSERT_EQ(table.remove(e.address, bits), model.erase({e.address, bits}) == 1);
    }
    ASSERT_EQ(table.size(), model.size());
    IpAddress asked = some_address();
    const Endpoint *found = table.find(asked), *right = naive_find(model, asked);
    ASSERT_EQ(found != nullptr, right != nullptr);
    if (found != nullptr) {
      ASSERT_EQ(found->identity, right->identity);
    }
  }
  size_t visited = 0;
  table.for_each([&](const Endpoint& e) { visited += model.at({e.address, e.bits}).identity == e.identity; });
  EXPECT_EQ(visited, model.size());
}

TEST(EndpointTable, AMillion_TakesUnder100BytesEach) {
  EndpointTable expected(1'000'000), grown;
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    Endpoint e{};
    e.address = IpAddress::v4(0x0a000000 + i);
    e.bits = 128;
    e.identity = i;
    ASSERT_TRUE(expected.put(e));
    if (i < 100'000) {
      ASSERT_TRUE(grown.put(e));
    }
  }
  EXPECT_LE(expected.memory_bytes(), 100'000'000u);
  EXPECT_EQ(grown.find(IpAddress::v4(0x0a000000 + 99'999))->identity, 99'999u);
  EXPECT_EQ(grown.find(IpAddress::v4(0x0a000000 + 100'000)), nullptr);
}

TEST(EndpointTable, Copy_IsItsOwn) {
  EndpointTable table;
  ASSERT_TRUE(table.put(endpoint("10.0.0.1", 1)));
  EndpointTable copy = table;
  ASSERT_TRUE(copy.put(endpoint("10.0.0.2", 2)));
  EXPECT_EQ(identity_at(table, "10.0.0.2"), 0u);
  EXPECT_EQ(identity_at(copy, "10.0.0.1"), 1u);
}

}  // namespace
}  // namespace bulkhead
