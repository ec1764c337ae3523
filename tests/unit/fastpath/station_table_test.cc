#include "dataplane/fastpath/station_table.h"

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

constexpr MacAddress kStation{{0x02, 0, 0, 0, 0, 1}}, kOther{{0x02, 0, 0, 0, 0, 2}};
constexpr PortId kPort{3};

TEST(StationTable, NobodyIsKnownAtFirst) {
  StationTable table(HashSeed{{1, 2}});
  EXPECT_EQ(table.find(kPort, kStation), StationTable::kUnknown);
  EXPECT_EQ(table.find(PortId{0}, MacAddress{}), StationTable::kUnknown);
}

TEST(StationTable, WhereAStationWasLastHeard) {
  StationTable table(HashSeed{{1, 2}});
  table.learn(kPort, kStation, 0);
  EXPECT_EQ(table.find(kPort, kStation), 0);
  table.learn(kPort, kStation, 63);
  EXPECT_EQ(table.find(kPort, kStation), 63);
  EXPECT_EQ(table.find(kPort, kOther), StationTable::kUnknown);
  EXPECT_EQ(table.find(PortId{4}, kStation), StationTable::kUnknown) << "another overlay's";
}

TEST(StationTable, MoreStationsThanPlaces_AreForgottenAndNeverMistaken) {
  StationTable table(HashSeed{{1, 2}});
  constexpr uint32_t kMany = 200'000;
  auto station = [](uint32_t i) {
    return MacAddress{{0x02, 0, static_cast<uint8_t>(i >> 24), static_cast<uint8_t>(i >> 16),
                       static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)}};
  };
  for (uint32_t i = 0; i < kMany; ++i) table.learn(kPort, station(i), static_cast<uint8_t>(i % 64));
  uint32_t known = 0;
  for (uint32_t i = 0; i < kMany; ++i) {
    uint8_t peer = table.find(kPort, station(i));
    if (peer == StationTable::kUnknown) continue;
    ASSERT_EQ(peer, i % 64);
    ++known;
  }
  EXPECT_GT(known, 40'000u);
  EXPECT_LE(known, 65'536u);
}

}  // namespace
}  // namespace bulkhead
