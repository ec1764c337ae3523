#include "dataplane/fastpath/flow_hash.h"

#include <gtest/gtest.h>
#include <rte_thash.h>

#include <array>
#include <random>
#include <set>
#include <vector>

namespace bulkhead {
namespace {

/// The NIC's key: 6d5a, repeated.
constexpr auto kNicKey = [] {
  std::array<uint8_t, 52> key{};
  for (size_t i = 0; i < key.size(); ++i) key[i] = i % 2 == 0 ? 0x6d : 0x5a;
  return key;
}();

/// What a NIC computes for the packet: DPDK's Toeplitz over the tuple's bytes in network order.
uint32_t nic_hash(const std::vector<uint8_t>& tuple) {
  std::vector<uint32_t> words;
  for (size_t i = 0; i < tuple.size(); i += 4)
    words.push_back(uint32_t{tuple[i]} << 24 | uint32_t{tuple[i + 1]} << 16 | uint32_t{tuple[i + 2]} << 8 |
                    tuple[i + 3]);
  return rte_softrss(words.data(), static_cast<uint32_t>(words.size()), kNicKey.data());
}

template <class Key>
std::vector<uint8_t> tuple_of(const Key& key, bool turned, bool ports) {
  std::vector<uint8_t> tuple;
  auto add = [&](const void* at, size_t bytes) {
    auto* first = static_cast<const uint8_t*>(at);
    tuple.insert(tuple.end(), first, first + bytes);
  };
  add(turned ? &key.high_address : &key.low_address, sizeof key.low_address);
  add(turned ? &key.low_address : &key.high_address, sizeof key.low_address);
  if (!ports) return tuple;
  add(turned ? &key.high_port : &key.low_port, 2);
  add(turned ? &key.low_port : &key.high_port, 2);
  return tuple;
}

template <class Key>
Key random_key(std::mt19937& random, IpProto proto) {
  Key key{};
  auto fill = [&](void* at, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) static_cast<uint8_t*>(at)[i] = static_cast<uint8_t>(random());
  };
  fill(&key.low_address, sizeof key.low_address);
  fill(&key.high_address, sizeof key.high_address);
  fill(&key.low_port, 2);
  fill(&key.high_port, 2);
  key.proto = proto;
  return key;
}

template <class Key>
void expect_nics_hash() {
  std::mt19937 random(7);
  for (int i = 0; i < 1000; ++i) {
    for (IpProto proto : {IpProto::kTcp, IpProto::kUdp, IpProto::kIcmp, IpProto::kGre}) {
      Key key = random_key<Key>(random, proto);
      bool ports = proto == IpProto::kTcp || proto == IpProto::kUdp;
      ASSERT_EQ(rss_hash(key), nic_hash(tuple_of(key, false, ports)));
      ASSERT_EQ(rss_hash(key), nic_hash(tuple_of(key, true, ports))) << "the other direction";
    }
  }
}
TEST(RssHash, Ipv4_IsTheNicsBothWays) {
  expect_nics_hash<FlowKey4>();
}
TEST(RssHash, Ipv6_IsTheNicsBothWays) {
  expect_nics_hash<FlowKey6>();
}

TEST(OwnerOf, EveryWorkerOwnsSome) {
  for (unsigned workers : {1u, 2u, 3u, 4u, 64u}) {
    std::set<unsigned> owners;
    for (uint32_t rss = 0; rss < 128; ++rss) owners.insert(owner_of(rss, workers));
    EXPECT_EQ(owners.size(), workers);
    EXPECT_LT(*owners.rbegin(), workers);
  }
}

/// Every bit of the key and of the seed moves about half of the hash.
template <class Key>
void expect_every_bit_counts() {
  std::mt19937 random(9);
  HashSeed seed{{random(), random()}};
  Key key = random_key<Key>(random, IpProto::kTcp);
  uint64_t before = flow_hash(key, seed);
  for (size_t bit = 0; bit < sizeof key * 8; ++bit) {
    Key other = key;
    reinterpret_cast<uint8_t*>(&other)[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    int moved = __builtin_popcountll(before ^ flow_hash(other, seed));
    EXPECT_GT(moved, 10) << "bit " << bit;
    EXPECT_LT(moved, 54) << "bit " << bit;
  }
  HashSeed other{{seed.words[0] ^ 1, seed.words[1]}};
  EXPECT_NE(flow_hash(key, other), before);
}
TEST(FlowHash, Ipv4_EveryBitCounts) {
  expect_every_bit_counts<FlowKey4>();
}
TEST(FlowHash, Ipv6_EveryBitCounts) {
  expect_every_bit_counts<FlowKey6>();
}

}  // namespace
}  // namespace bulkhead
