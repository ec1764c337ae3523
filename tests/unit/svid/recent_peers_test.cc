#include "svid/recent_peers.h"

#include <cstring>

#include <gtest/gtest.h>

#include "tests/unit/svid/certificates.h"

namespace bulkhead::test {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

RecentPeers::Answer answer(int64_t at_ns) {
  return {WallTime{at_ns}, VerifiedSvid{*parse_spiffe_id("spiffe://corp.example/web"), {}, {}, {}}};
}

TEST(RecentPeers, AnswerHoldsForLessThanASecond_UnderItsOwnTrust) {
  RecentPeers recent;
  const RecentPeers::Chain chain{1}, other{2};
  auto trust = std::make_shared<const TrustStore>(), later = std::make_shared<const TrustStore>();
  EXPECT_FALSE(recent.find(chain, trust, WallTime{kSecond}));
  recent.keep(chain, trust, answer(kSecond));
  EXPECT_EQ(recent.find(chain, trust, WallTime{2 * kSecond - 1})->svid->id.text(),
            "spiffe://corp.example/web");
  EXPECT_FALSE(recent.find(chain, trust, WallTime{2 * kSecond}));
  EXPECT_FALSE(recent.find(chain, trust, WallTime{kSecond - 1})) << "the clock was set back";
  EXPECT_FALSE(recent.find(other, trust, WallTime{kSecond}));
  EXPECT_FALSE(recent.find(chain, later, WallTime{kSecond}));
  recent.keep(other, later, answer(kSecond));
  EXPECT_FALSE(recent.find(chain, trust, WallTime{kSecond})) << "what was said under trust that is gone";
  EXPECT_TRUE(recent.find(other, later, WallTime{kSecond}));
}

TEST(RecentPeers, MoreThanItHoldsOfAreForgotten) {
  RecentPeers recent;
  auto trust = std::make_shared<const TrustStore>();
  for (uint32_t i = 0; i <= 1024; ++i) {
    RecentPeers::Chain chain{};
    std::memcpy(chain.data(), &i, sizeof i);
    recent.keep(chain, trust, answer(kSecond));
    EXPECT_TRUE(recent.find(chain, trust, WallTime{kSecond}));
  }
  EXPECT_FALSE(recent.find(RecentPeers::Chain{}, trust, WallTime{kSecond}));
}

TEST(RecentPeers, ChainIsAllOfIt) {
  Issued root = issue(authority("root")), middle = issue(authority("middle"), &root);
  X509Stack none(sk_X509_new_null()), one(sk_X509_new_null()), two(sk_X509_new_null());
  ASSERT_TRUE(X509_add_cert(one.get(), middle.certificate.get(), X509_ADD_FLAG_UP_REF));
  for (X509* certificate : {middle.certificate.get(), root.certificate.get()})
    ASSERT_TRUE(X509_add_cert(two.get(), certificate, X509_ADD_FLAG_UP_REF));
  auto chain = [&](const Issued& leaf, const X509Stack& above) {
    return RecentPeers::chain_of(leaf.certificate.get(), above.get());
  };
  EXPECT_EQ(chain(root, one), chain(root, one));
  EXPECT_NE(chain(root, none), chain(root, one));
  EXPECT_NE(chain(root, one), chain(root, two));
  EXPECT_NE(chain(root, none), chain(middle, none));
  EXPECT_EQ(RecentPeers::chain_of(root.certificate.get(), nullptr), chain(root, none));
}

}  // namespace
}  // namespace bulkhead::test
