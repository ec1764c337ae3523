#include "dataplane/fastpath/fragment_table.h"

#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <deque>
#include <numeric>
#include <random>
#include <vector>

namespace bulkhead {
namespace {

using Fit = FragmentTable::Fit;
constexpr SegmentTag kWeb{100}, kDb{200};
constexpr BootTime kStart{1'000'000'000};
constexpr Nanoseconds kTimeout = std::chrono::seconds(30);
constexpr uint32_t kNone = FragmentTable::kNone;

FragmentKey key_of(uint32_t id, uint32_t source = 1) {
  FragmentKey key;
  key.source = IpAddress::v4(0x0a010000 + source);
  key.destination = IpAddress::v4(0x0a020001);
  key.id = id;
  key.mac = MacAddress{{2, 0, 0, 0, 0, 1}};
  key.proto = IpProto::kUdp;
  return key;
}

/// Packets are names only. Their payloads are made of one byte each.
struct FragmentTableTest : testing::Test {
  FragmentTable table{{.datagrams = 8, .per_source = 4, .fragments = 300, .timeout = kTimeout},
                      HashSeed{{0x667261676d656e74, 0x7461626c65}}};
  std::deque<rte_mbuf> packets;
  std::vector<uint8_t> bytes = std::vector<uint8_t>(65'536, 'a'), others = std::vector<uint8_t>(65'536, 'b');

  Fragment piece(uint16_t offset, uint16_t length, bool more = true) {
    return {&packets.emplace_back(), bytes.data() + offset, offset, length, more};
  }
  Fragment other_piece(uint16_t offset, uint16_t length, bool more = true) {
    return {&packets.emplace_back(), others.data() + offset, offset, length, more};
  }
  uint32_t begin(uint32_t id, uint32_t source = 1, SegmentTag tag = kWeb, BootTime now = kStart) {
    return table.begin(key_of(id, source), tag, now);
  }
  Fit put(uint32_t datagram, const Fragment& fragment) {
    Fit fit = table.fit(datagram, fragment);
    if (fit == Fit::kFits) table.add(datagram, fragment);
    return fit;
  }
  void forget(uint32_t datagram) {
    while (table.take(datagram) != nullptr) {
    }
    table.end(datagram);
  }
};

TEST_F(FragmentTableTest, AnyOrder_CompletesWithTheLast_AndLeavesInOrderOfOffset) {
  constexpr uint16_t kPieces = FragmentTable::kMostOfDatagram, kBytes = 512;
  std::mt19937 random(7);
  for (uint16_t pieces = 2; pieces <= kPieces; ++pieces) {
    std::vector<uint16_t> order(pieces);
    std::iota(order.begin(), order.end(), uint16_t{0});
    std::ranges::shuffle(order, random);
    uint32_t d = begin(pieces);
    std::vector<const rte_mbuf*> by_offset(pieces);
    for (uint16_t at : order) {
      ASSERT_FALSE(table.is_complete(d));
      bool last = at + 1 == pieces;
      uint16_t length = last && pieces == kPieces ? kBytes - 1 : kBytes;  // 65,535 at most
      Fragment f = piece(static_cast<uint16_t>(at * kBytes), length, !last);
      by_offset[at] = f.mbuf;
      ASSERT_EQ(put(d, f), Fit::kFits);
    }
    EXPECT_TRUE(table.is_complete(d));
    for (const rte_mbuf* wanted : by_offset) ASSERT_EQ(table.take(d), wanted);
    EXPECT_EQ(table.take(d), nullptr);
    table.end(d);
  }
  EXPECT_EQ(table.datagrams(), 0u);
  EXPECT_EQ(table.fragments(), 0u);
}

TEST_F(FragmentTableTest, ExactDuplicate_IsOne_AndOneBitMakesItAnOverlap) {
  uint32_t d = begin(1);
  ASSERT_EQ(put(d, piece(0, 16)), Fit::kFits);
  ASSERT_EQ(put(d, piece(32, 8, false)), Fit::kFits);
  EXPECT_EQ(put(d, piece(0, 16)), Fit::kDuplicate);
  EXPECT_EQ(put(d, piece(32, 8, false)), Fit::kDuplicate);
  EXPECT_EQ(put(d, other_piece(0, 16)), Fit::kOverlaps) << "a rewrite";
  EXPECT_EQ(put(d, piece(0, 16, false)), Fit::kOverlaps) << "no more to come";
  EXPECT_EQ(put(d, piece(0, 8)), Fit::kOverlaps) << "shorter";
  EXPECT_EQ(put(d, piece(16, 16)), Fit::kFits);
  EXPECT_TRUE(table.is_complete(d));
}

TEST_F(FragmentTableTest, Overlaps) {
  uint32_t d = begin(1);
  ASSERT_EQ(put(d, piece(64, 64)), Fit::kFits);
  EXPECT_EQ(put(d, piece(56, 16)), Fit::kOverlaps) << "its head";
  EXPECT_EQ(put(d, piece(120, 16)), Fit::kOverlaps) << "its tail";
  EXPECT_EQ(put(d, piece(72, 16)), Fit::kOverlaps) << "its inside";
  EXPECT_EQ(put(d, piece(0, 256)), Fit::kOverlaps) << "all of it";
  EXPECT_EQ(put(d, piece(64, 8)), Fit::kOverlaps) << "its beginning";
  EXPECT_EQ(put(d, piece(120, 8)), Fit::kOverlaps) << "its end";
  EXPECT_EQ(put(d, piece(0, 64)), Fit::kFits) << "up to it";
  EXPECT_EQ(put(d, piece(128, 8, false)), Fit::kFits) << "from it on";
  EXPECT_TRUE(table.is_complete(d));
}

TEST_F(FragmentTableTest, TwoEnds_AndDataBeyondTheEnd_Contradict) {
  uint32_t d = begin(1);
  ASSERT_EQ(put(d, piece(64, 8, false)), Fit::kFits);
  EXPECT_EQ(put(d, piece(80, 8, false)), Fit::kOverlaps) << "a farther end";
  EXPECT_EQ(put(d, piece(40, 8, false)), Fit::kOverlaps) << "a nearer end";
  EXPECT_EQ(put(d, piece(72, 8)), Fit::kOverlaps) << "beyond the end";
  EXPECT_EQ(put(d, piece(56, 8)), Fit::kFits);
  uint32_t other = begin(2);
  ASSERT_EQ(put(other, piece(64, 8)), Fit::kFits);
  EXPECT_EQ(put(other, piece(32, 8, false)), Fit::kOverlaps) << "an end before what is there";
  EXPECT_EQ(put(other, piece(72, 8, false)), Fit::kFits);
}

TEST_F(FragmentTableTest, MoreFragmentsThanAny_AreTooMany) {
  uint32_t d = begin(1);
  for (uint16_t at = 0; at < FragmentTable::kMostOfDatagram; ++at)
    ASSERT_EQ(put(d, piece(static_cast<uint16_t>(at * 8), 8)), Fit::kFits);
  EXPECT_EQ(put(d, piece(FragmentTable::kMostOfDatagram * 8, 8, false)), Fit::kTooMany);
}

TEST_F(FragmentTableTest, EveryPartOfTheKey_TellsDatagramsApart) {
  FragmentKey key = key_of(1);
  uint32_t d = table.begin(key, kWeb, kStart);
  EXPECT_EQ(table.find(key), d);
  auto differs = [&](auto change) {
    FragmentKey other = key;
    change(other);
    return table.find(other) == kNone;
  };
  EXPECT_TRUE(differs([](FragmentKey& k) { k.source.bytes[15] ^= 1; }));
  EXPECT_TRUE(differs([](FragmentKey& k) { k.destination.bytes[15] ^= 1; }));
  EXPECT_TRUE(differs([](FragmentKey& k) { k.id ^= 1; }));
  EXPECT_TRUE(differs([](FragmentKey& k) { k.proto = IpProto::kTcp; }));
  EXPECT_TRUE(differs([](FragmentKey& k) { k.port = 1; }));
  EXPECT_TRUE(differs([](FragmentKey& k) { k.vlan = 10; }));
  EXPECT_TRUE(differs([](FragmentKey& k) { k.mac.bytes[5] ^= 1; }));
  table.end(d);
  EXPECT_EQ(table.find(key), kNone);
}

TEST_F(FragmentTableTest, Timeout_IsFromTheFirstFragmentOn_ToTheNanosecond) {
  EXPECT_EQ(table.oldest(), kNone);
  uint32_t first = begin(1), second = begin(2, 1, kWeb, BootTime{kStart.ns + 5});
  put(first, piece(0, 8));
  BootTime end{kStart.ns + kTimeout.count()};
  EXPECT_EQ(table.oldest(), first);
  EXPECT_EQ(table.timeout_of(first), end);
  EXPECT_FALSE(table.is_over(first, BootTime{end.ns - 1}));
  EXPECT_TRUE(table.is_over(first, end));
  forget(first);
  EXPECT_EQ(table.oldest(), second);
}

TEST_F(FragmentTableTest, Refused_IsRememberedWithoutItsFragments) {
  uint32_t d = begin(1);
  put(d, piece(0, 8));
  while (table.take(d) != nullptr) {
  }
  table.refuse(d, DropReason::k_fragment_overlap);
  EXPECT_EQ(table.find(key_of(1)), d);
  EXPECT_EQ(table.refused(d), DropReason::k_fragment_overlap);
  EXPECT_EQ(table.fragments(), 0u);
  EXPECT_EQ(table.oldest(), d);
}

TEST_F(FragmentTableTest, SourceOverItsShare_LeavesRoomForOthers) {
  for (uint32_t id = 0; id < 4; ++id) {
    ASSERT_FALSE(table.is_share_used(key_of(0).source, kWeb));
    begin(id);
  }
  EXPECT_TRUE(table.is_share_used(key_of(0).source, kWeb));
  EXPECT_FALSE(table.is_share_used(key_of(0, 2).source, kWeb));
  forget(table.find(key_of(2)));
  EXPECT_FALSE(table.is_share_used(key_of(0).source, kWeb));
}

TEST_F(FragmentTableTest, SourcesOfAnIpv6Subnet_ShareTheirShare) {
  auto in_subnet = [](uint8_t subnet, uint8_t host) {
    FragmentKey key = key_of(host);
    key.source = IpAddress{};
    key.source.bytes[0] = 0xfd;
    key.source.bytes[7] = subnet;
    key.source.bytes[15] = host;
    return key;
  };
  for (uint8_t host = 1; host <= 4; ++host) table.begin(in_subnet(1, host), kWeb, kStart);
  EXPECT_TRUE(table.is_share_used(in_subnet(1, 9).source, kWeb));
  EXPECT_FALSE(table.is_share_used(in_subnet(2, 9).source, kWeb));
  EXPECT_FALSE(table.is_share_used(in_subnet(1, 9).source, kDb)) << "another segment's on the same link";
}

TEST_F(FragmentTableTest, Full_TheSegmentWithTheMostGivesUpItsOldest) {
  uint32_t lone = begin(100, 50, kDb);
  uint32_t first = begin(0, 1, kWeb, BootTime{kStart.ns + 1});
  for (uint32_t id = 1; id < 7; ++id) begin(id, 1 + id / 4, kWeb, BootTime{kStart.ns + 1 + id});
  ASSERT_TRUE(table.is_full());
  EXPECT_EQ(table.datagram_to_evict(), first) << "the other segment's is older, and alone";
  forget(first);
  EXPECT_EQ(table.datagram_to_evict(), table.find(key_of(1, 1)));
  table.refuse(table.find(key_of(3, 1)), DropReason::k_fragment_overlap);
  EXPECT_EQ(table.datagram_to_evict(), table.find(key_of(3, 1))) << "holds nothing";
  EXPECT_EQ(table.find(key_of(100, 50)), lone);
}

TEST_F(FragmentTableTest, FragmentsRunOut_TheSegmentWithTheMostGivesUpItsOldestThatHasAny) {
  uint32_t big = begin(1, 1, kWeb), small[] = {begin(2, 2, kDb), begin(3, 2, kDb), begin(4, 2, kDb)};
  EXPECT_EQ(table.holder_to_evict(), kNone);
  for (uint16_t at = 0; at < 10; ++at) put(big, piece(static_cast<uint16_t>(at * 8), 8));
  for (uint32_t d : small) put(d, piece(0, 8));
  EXPECT_EQ(table.holder_to_evict(), big);
  EXPECT_EQ(table.datagram_to_evict(), small[0]) << "by datagrams it is the other segment";
  while (table.take(big) != nullptr) {
  }
  table.refuse(big, DropReason::k_fragment_overlap);
  EXPECT_EQ(table.holder_to_evict(), small[0]);
}

TEST_F(FragmentTableTest, EndsAndBegins_LoseNoRecord) {
  std::mt19937 random(11);
  std::vector<uint32_t> live;
  for (uint32_t id = 0; id < 20'000; ++id) {
    bool makes_room = live.size() == 8 || (!live.empty() && random() % 2 == 0);
    if (makes_room) {
      size_t at = random() % live.size();
      forget(live[at]);
      live.erase(live.begin() + static_cast<ptrdiff_t>(at));
    }
    ASSERT_EQ(table.is_full(), live.size() == 8);
    live.push_back(begin(id, random() % 3, random() % 2 == 0 ? kWeb : kDb));
    put(live.back(), piece(0, 8));
    ASSERT_EQ(table.datagrams(), live.size());
    ASSERT_EQ(table.fragments(), live.size());
  }
}

TEST(Ranking, FirstIsOneOfThoseWithTheMost_AsANaiveCountSays) {
  Ranking ranking(64);
  std::vector<uint32_t> counts(5);
  std::mt19937 random(3);
  EXPECT_EQ(ranking.first(), Ranking::kNobody);
  for (int i = 0; i < 10'000; ++i) {
    auto who = static_cast<uint16_t>(random() % counts.size());
    if (counts[who] < 64 && random() % 2 == 0) {
      ranking.add(who);
      ++counts[who];
    } else if (counts[who] > 0) {
      ranking.remove(who);
      --counts[who];
    }
    uint32_t most = std::ranges::max(counts);
    ASSERT_EQ(ranking.count(who), counts[who]);
    if (most == 0)
      ASSERT_EQ(ranking.first(), Ranking::kNobody);
    else
      ASSERT_EQ(counts[ranking.first()], most);
  }
}

TEST(FragmentOwner, IsTheSameForAllOfASubnet_AndAllWorkersOwnSome) {
  HashSeed seed{{1, 2}};
  std::vector<int> owned(4);
  for (uint32_t n = 0; n < 400; ++n) ++owned[fragment_owner(IpAddress::v4(n), seed, 4)];
  for (int count : owned) EXPECT_GT(count, 50);
  IpAddress a, b;
  a.bytes = {0xfd, 0, 0, 0, 0, 0, 0, 1};
  b = a;
  b.bytes[15] = 77;
  EXPECT_EQ(fragment_owner(a, seed, 64), fragment_owner(b, seed, 64));
}

}  // namespace
}  // namespace bulkhead
