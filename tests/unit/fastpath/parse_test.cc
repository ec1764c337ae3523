// Every beginning of a good frame is refused without a byte read beyond it. Exact reasons for single faults:
// the scenarios.
#include "dataplane/fastpath/parse.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "packet_text.h"

namespace bulkhead {
namespace {

using test::build_frame;
using test::Bytes;

PortView any_port() {
  PortView port;
  port.id = PortId{0};
  port.vlans.set();
  return port;
}

/// Parses a copy in a heap block of exactly that size, so that a sanitizer sees a byte too far.
DropReason parse_exactly(std::span<const uint8_t> frame, PacketMeta& meta, PacketKey& key,
                         uint8_t flags = 0) {
  std::unique_ptr<uint8_t[]> block(new uint8_t[frame.size()]);
  std::copy(frame.begin(), frame.end(), block.get());
  static const PortView port = any_port();
  return parse_frame({block.get(), frame.size()}, port, false, flags, meta, key);
}
DropReason parse_exactly(std::span<const uint8_t> frame) {
  PacketMeta meta;
  PacketKey key;
  return parse_exactly(frame, meta, key);
}

const char* const kGoodFrames[] = {
    "ip 10.1.0.5 > 10.2.0.9 / tcp 1000 > 80 S mss 1460 wscale 7 / text \"data\"",
    "ip 10.1.0.5 > 10.2.0.9 options 01010100 / udp 1000 > 53 / text \"query\"",
    "ip 10.1.0.5 > 10.2.0.9 / sctp 1000 > 80 / zeros 16",
    "ip 10.1.0.5 > 10.2.0.9 / icmp 8 0 id 1 / zeros 8",
    "ip 10.9.0.1 > 10.1.0.5 / icmp 3 1 / ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53",
    "ip 10.1.0.5 > 10.2.0.9 / gre / zeros 16",
    "eth / vlan 20 / ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53",
    "ip fd00:1::5 > fd00:2::9 / tcp 1000 > 80 S mss 1440",
    "ip fd00:1::5 > fd00:2::9 / hop / dst size 24 / frag / udp 1000 > 53",
    "ip fd00:9::1 > fd00:1::5 / icmp6 1 0 / ip fd00:1::5 > fd00:2::9 / udp 1000 > 53",
    "ip fd00:1::5 > ff02::1:ff00:9 / ns fd00:1::9 sll 02:06:00:00:00:05",
    "eth / vlan 20 / ip fd00:1::5 > fd00:2::9 / icmp6 128 0 id 7 / zeros 8",
};

TEST(ParseFrame, GoodFrames_AreGood) {
  for (const char* text : kGoodFrames)
    EXPECT_EQ(parse_exactly(build_frame(text).bytes), DropReason::kNone) << text;
}
TEST(ParseFrame, TheShortcut_SaysWhatTheFullChecksSay) {
  std::vector<Bytes> frames;
  for (const char* text : kGoodFrames) frames.push_back(build_frame(text).bytes);
  for (const char* text : {"ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53 | pad 18",
                           "ip 10.2.0.9 > 10.1.0.5 / udp 53 > 1000 checksum 0",
                           "ip 10.1.0.5 > 10.2.0.9 / tcp 1000 > 80 PA seq 1 ack 2 / zeros 300",
                           "ip 10.1.0.5 > 10.2.0.9 / udp 1 > 2 / zeros 301"})
    frames.push_back(build_frame(text).bytes);
  size_t passed = 0;
  for (const Bytes& frame : frames) {
    for (size_t at = 0; at < std::min<size_t>(frame.size(), 70); ++at) {
      for (int value = 0; value < 256; ++value) {
        for (int flags : {0, int{kSkipL4Checksum | kSkipIpChecksum}}) {
          Bytes changed = frame;
          changed[at] = static_cast<uint8_t>(value);
          PacketMeta meta, full_meta;
          PacketKey key{}, full_key{};
          DropReason reason = parse_exactly(changed, meta, key, static_cast<uint8_t>(flags));
          DropReason full =
              parse_exactly(changed, full_meta, full_key, static_cast<uint8_t>(flags | kNoShortcut));
          ASSERT_EQ(reason, full) << name_of(reason) << " and " << name_of(full) << ", byte " << at;
          if (reason != DropReason::kNone) continue;
          ++passed;
          ASSERT_EQ(std::memcmp(&meta, &full_meta, sizeof meta), 0) << "byte " << at;
          ASSERT_EQ(std::memcmp(&key, &full_key, sizeof key), 0) << "byte " << at;
        }
      }
    }
  }
  EXPECT_GT(passed, 10'000u);
}
TEST(ParseFrame, EveryBeginningOfAGoodFrame_IsRefused) {
  for (const char* text : kGoodFrames) {
    Bytes frame = build_frame(text).bytes;
    for (size_t bytes = 0; bytes < frame.size(); ++bytes)
      EXPECT_NE(parse_exactly(std::span(frame).first(bytes)), DropReason::kNone)
          << text << ", " << bytes << " bytes";
  }
}
TEST(ParseFrame, FramesWithAnyByteChanged_ReadNothingBeyondThem) {
  std::mt19937 random(3);
  for (const char* text : kGoodFrames) {
    Bytes good = build_frame(text).bytes;
    for (size_t at = 0; at < good.size(); ++at) {
      for (int change = 0; change < 24; ++change) {
        Bytes frame = good;
        frame[at] =
            change < 8 ? static_cast<uint8_t>(frame[at] ^ 1u << change) : static_cast<uint8_t>(random());
        frame.resize(random() % 4 == 0 ? at + 1 + random() % (frame.size() - at) : frame.size());
        PacketMeta meta;
        PacketKey key;
        auto reason = parse_exactly(frame, meta, key, kSkipIpChecksum | kSkipL4Checksum);
        if (reason != DropReason::kNone || meta.family == 0) continue;
        ASSERT_LE(size_t{meta.l3} + meta.ip_bytes, frame.size());
        ASSERT_LE(meta.l4, meta.l3 + meta.ip_bytes);
      }
    }
  }
}

struct Parsed {
  PacketMeta meta;
  PacketKey key{};
};
Parsed parsed(const std::string& text) {
  Parsed p;
  EXPECT_EQ(parse_exactly(build_frame(text).bytes, p.meta, p.key), DropReason::kNone) << text;
  return p;
}

TEST(FlowKey, BothDirections_HaveTheSameKey) {
  const std::pair<const char*, const char*> kPairs[] = {
      {"ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53", "ip 10.2.0.9 > 10.1.0.5 / udp 53 > 1000"},
      {"ip 10.1.0.5 > 10.2.0.9 / sctp 5 > 6", "ip 10.2.0.9 > 10.1.0.5 / sctp 6 > 5"},
      {"ip 10.1.0.5 > 10.2.0.9 / icmp 8 0 id 7", "ip 10.2.0.9 > 10.1.0.5 / icmp 0 0 id 7"},
      {"ip 10.1.0.5 > 10.2.0.9 / gre", "ip 10.2.0.9 > 10.1.0.5 / gre"},
  };
  for (auto [there, back] : kPairs) {
    Parsed a = parsed(there), b = parsed(back);
    EXPECT_EQ(a.key.v4, b.key.v4) << there;
    EXPECT_NE(a.meta.source_is_high, b.meta.source_is_high) << there;
  }
  Parsed a = parsed("ip fd00:1::5 > fd00:2::9 / tcp 1000 > 80 S"),
         b = parsed("ip fd00:2::9 > fd00:1::5 / tcp 80 > 1000 SA");
  EXPECT_EQ(a.key.v6, b.key.v6);
  EXPECT_NE(a.meta.source_is_high, b.meta.source_is_high);
}
TEST(FlowKey, WhatDiffers_IsAnotherFlow) {
  FlowKey4 key = parsed("ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53").key.v4;
  for (const char* other :
       {"ip 10.1.0.5 > 10.2.0.9 / udp 1001 > 53", "ip 10.1.0.5 > 10.2.0.9 / udp 53 > 1000",
        "ip 10.1.0.6 > 10.2.0.9 / udp 1000 > 53", "ip 10.1.0.5 > 10.2.0.9 / tcp 1000 > 53 S",
        "eth / vlan 20 / ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53"})
    EXPECT_NE(parsed(other).key.v4, key) << other;
  EXPECT_NE(parsed("ip 10.1.0.5 > 10.2.0.9 / icmp 8 0 id 7").key.v4,
            parsed("ip 10.2.0.9 > 10.1.0.5 / icmp 8 0 id 7").key.v4)
      << "each end's queries are a flow of their own";
}
TEST(FlowKey, IcmpError_HasTheKeyOfWhatItQuotes) {
  EXPECT_EQ(parsed("ip 10.9.0.1 > 10.1.0.5 / icmp 3 1 / ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53").key.v4,
            parsed("ip 10.1.0.5 > 10.2.0.9 / udp 1000 > 53").key.v4);
  EXPECT_EQ(parsed("ip 10.9.0.1 > 10.1.0.5 / icmp 3 1 / ip 10.1.0.5 > 10.2.0.9 / icmp 8 0 id 7").key.v4,
            parsed("ip 10.1.0.5 > 10.2.0.9 / icmp 8 0 id 7").key.v4);
  EXPECT_EQ(parsed("ip 10.9.0.1 > 10.2.0.9 / icmp 3 1 / ip 10.2.0.9 > 10.1.0.5 / icmp 0 0 id 7").key.v4,
            parsed("ip 10.1.0.5 > 10.2.0.9 / icmp 8 0 id 7").key.v4);
}

}  // namespace
}  // namespace bulkhead
