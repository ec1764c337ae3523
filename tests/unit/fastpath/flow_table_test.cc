#include "dataplane/fastpath/flow_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace bulkhead {
namespace {

constexpr HashSeed kSeed{{0x1111, 0x2222}};

FlowKey4 key4(uint32_t n) {
  FlowKey4 key{};
  key.low_address = 0x0100000a;
  key.high_address = 0x0200000a;
  key.low_port = static_cast<uint16_t>(n);
  key.high_port = static_cast<uint16_t>(n >> 16);
  key.proto = IpProto::kUdp;
  return key;
}
FlowKey6 key6(uint32_t n) {
  FlowKey6 key{};
  key.low_address[0] = 0xfd;
  std::memcpy(key.high_address, &n, sizeof n);
  key.proto = IpProto::kUdp;
  return key;
}

template <class Key>
struct Keyed;
template <>
struct Keyed<FlowKey4> {
  static FlowKey4 make(uint32_t n) { return key4(n); }
};
template <>
struct Keyed<FlowKey6> {
  static FlowKey6 make(uint32_t n) { return key6(n); }
};

template <class Key>
struct FlowTableTest : testing::Test {
  FlowTable<Key> table;
  /// Inserts as the pipeline does: a live entry has a state.
  uint32_t insert(uint32_t n, uint64_t hash) {
    uint32_t slot = table.insert(Keyed<Key>::make(n), hash);
    if (slot != kNoSlot) table.entry(slot).hot.state = FlowState::kUdp;
    return slot;
  }
  uint32_t insert(uint32_t n) { return insert(n, table.hash(Keyed<Key>::make(n))); }
  uint32_t find(uint32_t n) { return table.find(Keyed<Key>::make(n), table.hash(Keyed<Key>::make(n))); }
};
using Keys = testing::Types<FlowKey4, FlowKey6>;
TYPED_TEST_SUITE(FlowTableTest, Keys);

TYPED_TEST(FlowTableTest, RandomInsertsAndErases_AgreeWithAMap) {
  ASSERT_TRUE(this->table.create(4096, kSeed));
  std::map<uint32_t, uint32_t> model;
  std::mt19937 random(1);
  for (int step = 0; step < 100'000; ++step) {
    uint32_t n = random() % 6000;
    auto known = model.find(n);
    uint32_t slot = this->find(n);
    ASSERT_EQ(slot, known == model.end() ? kNoSlot : known->second) << "step " << step;
    if (known != model.end()) {
      this->table.erase(slot);
      model.erase(known);
    } else if (model.size() < 3500) {
      slot = this->insert(n);
      ASSERT_NE(slot, kNoSlot);
      model[n] = slot;
    }
    ASSERT_EQ(this->table.size(), model.size());
  }
  for (auto [n, slot] : model) EXPECT_TRUE(this->table.live(slot));
}

TYPED_TEST(FlowTableTest, HoldsItsWholeCapacity_ThenRefuses) {
  for (uint32_t capacity : {1024u, 4096u}) {
    FlowTable<TypeParam> table;
    ASSERT_TRUE(table.create(capacity, kSeed));
    for (uint32_t n = 0; n < capacity; ++n)
      ASSERT_NE(table.insert(Keyed<TypeParam>::make(n), table.hash(Keyed<TypeParam>::make(n))), kNoSlot)
          << n << " of " << capacity;
    EXPECT_EQ(table.insert(Keyed<TypeParam>::make(capacity), table.hash(Keyed<TypeParam>::make(capacity))),
              kNoSlot);
    EXPECT_EQ(table.used_end(), capacity);
  }
}

TYPED_TEST(FlowTableTest, ErasedSlot_IsFreeAndUsedAgain) {
  ASSERT_TRUE(this->table.create(64, kSeed));
  uint32_t first = this->insert(1);
  this->table.cold(first).rule = 9;
  this->table.erase(first);
  EXPECT_FALSE(this->table.live(first));
  EXPECT_EQ(this->find(1), kNoSlot);
  uint32_t second = this->insert(2);
  EXPECT_EQ(second, first);
  EXPECT_EQ(this->table.cold(second).rule, 0u) << "nothing of the flow before is left";
  EXPECT_EQ(this->table.used_end(), 1u);
}

/// Keys of one and the same first bucket: they spill to their second ones, are found there, and are found
/// after erases in between.
TYPED_TEST(FlowTableTest, KeysOfOneBucket_SpillAndAreFound) {
  ASSERT_TRUE(this->table.create(1280, kSeed));  // 256 buckets
  std::vector<uint32_t> same;
  for (uint32_t n = 0; same.size() < 12; ++n)
    if ((this->table.hash(Keyed<TypeParam>::make(n)) & 255) == 7) same.push_back(n);
  std::map<uint32_t, uint32_t> slots;
  for (uint32_t n : same) ASSERT_NE(slots[n] = this->insert(n), kNoSlot);
  for (uint32_t n : same) EXPECT_EQ(this->find(n), slots[n]);
  for (size_t i = 0; i < 8; ++i) {
    this->table.erase(slots[same[i]]);
    EXPECT_EQ(this->find(same[i]), kNoSlot);
  }
  for (size_t i = 8; i < 12; ++i)
    EXPECT_EQ(this->find(same[i]), slots[same[i]]) << "still in its second bucket";
  for (size_t i = 8; i < 12; ++i) this->table.erase(slots[same[i]]);
  EXPECT_EQ(this->table.size(), 0u);
}

}  // namespace
}  // namespace bulkhead
