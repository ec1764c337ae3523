#include "dataplane/fastpath/token_bucket.h"

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

int taken(TokenBucket& bucket, Ticks now, int attempts) {
  int count = 0;
  for (int i = 0; i < attempts; ++i) count += bucket.take(now);
  return count;
}

TEST(TokenBucket, FullAtFirst_ThenItsRate) {
  TokenBucket bucket;
  bucket.set(10);
  EXPECT_EQ(taken(bucket, 1000, 100), 10);
  EXPECT_EQ(taken(bucket, 1099, 100), 0);
  EXPECT_EQ(taken(bucket, 1100, 100), 1);
  EXPECT_EQ(taken(bucket, 1600, 100), 5);
}
TEST(TokenBucket, NeverSavesMoreThanASecond) {
  TokenBucket bucket;
  bucket.set(10);
  taken(bucket, 0, 100);
  EXPECT_EQ(taken(bucket, 1'000'000, 100), 10);
}
TEST(TokenBucket, RateOfZero_GivesNothing) {
  TokenBucket bucket;
  bucket.set(0);
  EXPECT_EQ(taken(bucket, 5000, 10), 0);
}
TEST(TokenBucket, ClockWraps) {
  TokenBucket bucket;
  bucket.set(10);
  taken(bucket, 0xffffff00, 100);
  EXPECT_EQ(taken(bucket, 0xffffff00 + 500, 100), 5);
}
TEST(RejectLimiter, OneIdentityCantTakeAnothersShare) {
  RejectLimiter limiter;
  limiter.set(3, 100);
  int first = 0, second = 0;
  for (int i = 0; i < 50; ++i) first += limiter.take(identity_of(SegmentTag{100}), 1000);
  for (int i = 0; i < 50; ++i) second += limiter.take(identity_of(SegmentTag{200}), 1000);
  EXPECT_EQ(first, 3);
  EXPECT_EQ(second, 3);
}
TEST(RejectLimiter, TotalHoldsForAll) {
  RejectLimiter limiter;
  limiter.set(3, 10);
  int all = 0;
  for (uint16_t tag = 2; tag < 50; ++tag)
    for (int i = 0; i < 5; ++i) all += limiter.take(identity_of(SegmentTag{tag}), 1000);
  EXPECT_EQ(all, 10);
}

}  // namespace
}  // namespace bulkhead
