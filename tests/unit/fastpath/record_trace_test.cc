#include "dataplane/fastpath/record_trace.h"

#include <vector>

#include <gtest/gtest.h>

#include "wire/tls.h"

namespace bulkhead {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes record(uint8_t type, size_t length, uint8_t minor = 3) {
  Bytes bytes{type, 3, minor, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
  bytes.resize(bytes.size() + length, 0xee);
  return bytes;
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TraceResult follow_all(const Bytes& bytes, size_t cut) {
  RecordTrace trace{0xfffffff0, 0, 0, 0};  // sequence numbers wrap
  for (size_t at = 0; at < bytes.size(); at += cut) {
    auto part = std::span(bytes).subspan(at, std::min(cut, bytes.size() - at));
    auto result = follow(trace, 0xfffffff0 + static_cast<uint32_t>(at), part);
    if (result != TraceResult::kRecords) return result;
  }
  EXPECT_EQ(trace.next, 0xfffffff0 + static_cast<uint32_t>(bytes.size()));
  return TraceResult::kRecords;
}

TEST(RecordTrace, RecordsOfAllTypes_HoweverTheyAreCut) {
  const Bytes stream = record(kTlsHandshake, 300, 1) + record(kTlsChangeCipherSpec, 1) +
                       record(kTlsApplicationData, kTlsMostCiphertext) + record(21, 2);
  for (size_t cut : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 1000u, 100000u})
    EXPECT_EQ(follow_all(stream, cut), TraceResult::kRecords) << cut;
}

TEST(RecordTrace, WhatIsNoRecord) {
  const Bytes good = record(kTlsHandshake, 30);
  const Bytes wrong[] = {record(19, 5),
                         record(24, 5),
                         {'G', 'E', 'T'},
                         {23, 2},
                         {23, 3, 0},
                         {23, 3, 2},
                         {23, 3, 4},
                         record(kTlsApplicationData, 0),
                         record(kTlsApplicationData, kTlsMostCiphertext + 1),
                         record(kTlsApplicationData, 0xffff)};
  for (const Bytes& bytes : wrong)
    for (size_t cut : {1u, 4u, 1000u}) {
      EXPECT_EQ(follow_all(bytes, cut), TraceResult::kOther) << int{bytes[0]};
      EXPECT_EQ(follow_all(good + bytes, cut), TraceResult::kOther) << int{bytes[0]};
    }
}

TEST(RecordTrace, WhatComesAgainWasRead_AndWhatIsBehindAGapWaits) {
  RecordTrace trace{1000, 0, 0, 0};
  const Bytes first = record(kTlsHandshake, 45), second = record(kTlsApplicationData, 20);
  EXPECT_EQ(follow(trace, 1050, second), TraceResult::kAhead);
  EXPECT_EQ(trace.next, 1000u);
  EXPECT_EQ(follow(trace, 1000, first), TraceResult::kRecords);
  EXPECT_EQ(follow(trace, 1000, first), TraceResult::kRecords);
  EXPECT_EQ(follow(trace, 1000, first + second), TraceResult::kRecords);
  EXPECT_EQ(trace.next, 1075u);
  EXPECT_EQ(follow(trace, 1080, {}), TraceResult::kRecords);  // an acknowledgement
  EXPECT_EQ(follow(trace, 1060, second + Bytes{'x'}), TraceResult::kOther);
}

}  // namespace
}  // namespace bulkhead
