#include "dataplane/relay/admission.h"

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

const IpAddress kOne = IpAddress::v4(0x0a000001), kOther = IpAddress::v4(0x0a000002);

TEST(Admission, OpeningsOfOneSourceAreBounded_OthersAreNot) {
  Admission admission(
      {.connections = 10, .connections_per_source = 10, .opening = 10, .opening_per_source = 2});
  EXPECT_FALSE(admission.open(kOne));
  EXPECT_FALSE(admission.open(kOne));
  EXPECT_EQ(admission.open(kOne), RelayEnd::k_too_many_handshakes);
  EXPECT_FALSE(admission.open(kOther));
  admission.established(kOne);
  EXPECT_FALSE(admission.open(kOne));
  EXPECT_EQ(admission.live(), 4u);
  EXPECT_EQ(admission.opening(), 3u);
}
TEST(Admission, OpeningsOfAllAreBounded) {
  Admission admission(
      {.connections = 10, .connections_per_source = 10, .opening = 1, .opening_per_source = 1});
  EXPECT_FALSE(admission.open(kOne));
  EXPECT_EQ(admission.open(kOther), RelayEnd::k_too_many_handshakes);
  admission.close(kOne, false);
  EXPECT_FALSE(admission.open(kOther));
}
TEST(Admission, ConnectionsAreBounded_OfOneSourceAndOfAll) {
  Admission admission(
      {.connections = 3, .connections_per_source = 2, .opening = 10, .opening_per_source = 10});
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(admission.open(kOne));
    admission.established(kOne);
  }
  EXPECT_EQ(admission.open(kOne), RelayEnd::k_too_many_connections);
  EXPECT_FALSE(admission.open(kOther));
  EXPECT_EQ(admission.open(kOther), RelayEnd::k_too_many_connections);
  admission.close(kOne, true);
  EXPECT_FALSE(admission.open(kOther));
}
TEST(Admission, WhatEndedIsForgotten) {
  Admission admission({.connections = 1, .connections_per_source = 1, .opening = 1, .opening_per_source = 1});
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(admission.open(kOne)) << i;
    if (i % 2 == 0) admission.established(kOne);
    admission.close(kOne, i % 2 == 0);
  }
  EXPECT_EQ(admission.live(), 0u);
  EXPECT_EQ(admission.opening(), 0u);
}

}  // namespace
}  // namespace bulkhead
