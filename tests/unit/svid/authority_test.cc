#include "svid/authority_files.h"

#include <unistd.h>

#include <gtest/gtest.h>
#include <openssl/err.h>

#include "svid/file.h"
#include "svid/pem.h"
#include "svid/svid_files.h"
#include "svid/verify.h"
#include "tests/unit/engine/temporary_directory.h"
#include "tests/unit/svid/certificates.h"

namespace bulkhead {
namespace {

using namespace test;
using namespace std::chrono_literals;

const SpiffeId kWeb = *parse_spiffe_id("spiffe://corp.example/web/7");
const SpiffeId kDb = *parse_spiffe_id("spiffe://corp.example/db");

/// An authority and what it hands out, each in a directory.
class AuthorityTest : public testing::Test {
 protected:
  AuthorityFiles open() { return *AuthorityFiles::open(authority_); }
  std::string out(const std::string& name) { return directory_.path("out/" + name); }
  SvidIdentity mint(const SpiffeId& id = kWeb, const std::string& name = "web",
                    std::chrono::seconds life = 24h) {
    AuthorityFiles files = open();
    SvidIdentity identity = *files.mint(id, now_, life);
    EXPECT_TRUE(files.publish(directory_.path("out")));
    EXPECT_TRUE(write_identity(directory_.path("out"), name, identity));
    return identity;
  }
  /// What a verifier who reads the directory says: the ID or the fault.
  std::string judged(const SvidIdentity& identity) {
    TrustFiles files = read_trust_files(directory_.path("out"));
    EXPECT_TRUE(files.errors.empty()) << files.errors[0].message;
    auto svid = verify_svid(identity.leaf(), nullptr, files.trust, now_);
    return svid ? svid->id.text() : std::string(name_of(svid.error()));
  }

  TemporaryDirectory directory_;
  std::string authority_ = directory_.path("ca");
  WallTime now_ = kNow;
  bool made_ = AuthorityFiles::create(authority_, *parse_trust_domain("corp.example"), kNow).has_value();
};

TEST_F(AuthorityTest, MintedSvid_Verifies) {
  SvidIdentity identity = mint();
  EXPECT_EQ(judged(identity), kWeb.text());
  EXPECT_EQ(read_identity(directory_.path("out"), "web")->id, kWeb);
  EXPECT_EQ(ERR_peek_error(), 0u);
}
TEST_F(AuthorityTest, MintedSvid_LivesFromTheSkewBeforeToItsEnd) {
  SvidIdentity identity = mint(kWeb, "web", 1h);
  EXPECT_EQ(*wall_time_of(X509_get0_notBefore(identity.leaf())), after(-60));
  EXPECT_EQ(*wall_time_of(X509_get0_notAfter(identity.leaf())), after(kHour));
  now_ = after(kHour + 60);
  EXPECT_EQ(judged(identity), "expired");
}
TEST_F(AuthorityTest, Authority_AllowsNoCaBelowIt) {
  AuthorityFiles files = open();
  Issued ca{share(files.authority().certificate()), EvpPkeyPtr(files.authority().key())};
  EVP_PKEY_up_ref(files.authority().key());
  Issued middle = issue(test::authority("middle"), &ca), leaf = issue({}, &middle);
  X509Stack above = stack_of(&middle.certificate, &middle.certificate + 1);
  auto svid = verify_svid(leaf.certificate.get(), above.get(),
                          trusting("corp.example", {ca.certificate.get()}), kNow);
  EXPECT_EQ(svid.error(), SvidFault::k_path_length);
}
TEST_F(AuthorityTest, WorkloadOfAnotherDomain_IsRefused) {
  EXPECT_FALSE(open().mint(*parse_spiffe_id("spiffe://other.example/web"), kNow, 1h));
  EXPECT_FALSE(open().mint(*parse_spiffe_id("spiffe://corp.example"), kNow, 1h));
}
TEST_F(AuthorityTest, LifeBeyondTheAuthoritysOrNone_IsRefused) {
  EXPECT_TRUE(open().mint(kWeb, kNow, kAuthorityLife - 1s));
  EXPECT_FALSE(open().mint(kWeb, kNow, kAuthorityLife + 1s));
  EXPECT_FALSE(open().mint(kWeb, kNow, 0s));
  EXPECT_FALSE(open().mint(kWeb, kNow, -1s));
  EXPECT_FALSE(open().mint(kWeb, kNow, std::chrono::seconds::max()));
}
TEST_F(AuthorityTest, SecondOneInTheSameDirectory_IsRefused) {
  auto again = AuthorityFiles::create(authority_, *parse_trust_domain("corp.example"), kNow);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kExists);
}
TEST_F(AuthorityTest, CreationCutShort_IsBegunAnew) {
  ::unlink((authority_ + "/ca.pem").c_str());
  EXPECT_NE(AuthorityFiles::open(authority_).error().message.find("there is no authority in"),
            std::string::npos);
  EXPECT_TRUE(AuthorityFiles::create(authority_, *parse_trust_domain("corp.example"), kNow));
  EXPECT_EQ(judged(mint()), kWeb.text());
}
TEST_F(AuthorityTest, KeyOfAnotherAuthority_IsRefused) {
  Authority other = *Authority::create(*parse_trust_domain("corp.example"), kNow);
  directory_.write("ca/ca.key", pem_of(other.key()));
  EXPECT_NE(AuthorityFiles::open(authority_).error().message.find("isn't this authority's"),
            std::string::npos);
}

// --- revocation

TEST_F(AuthorityTest, RevokedById_EveryOneOfIt) {
  SvidIdentity first = mint(), second = mint(), db = mint(kDb, "db");
  AuthorityFiles files = open();
  EXPECT_EQ(files.revoke(kWeb.text(), kNow)->size(), 2u);
  ASSERT_TRUE(files.publish(directory_.path("out")));
  EXPECT_EQ(judged(first), "revoked");
  EXPECT_EQ(judged(second), "revoked");
  EXPECT_EQ(judged(db), kDb.text());
}
TEST_F(AuthorityTest, RevokedBySerial_OnlyThat) {
  SvidIdentity first = mint(), second = mint();
  AuthorityFiles files = open();
  std::string serial = serial_of(first.leaf());
  for (char& c : serial) c = static_cast<char>(std::tolower(c));
  ASSERT_TRUE(files.revoke(serial, kNow));
  ASSERT_TRUE(files.publish(directory_.path("out")));
  EXPECT_EQ(judged(first), "revoked");
  EXPECT_EQ(judged(second), kWeb.text());
}
TEST_F(AuthorityTest, RevocationsAddUp_AndNumbersRise) {
  SvidIdentity web = mint(), db = mint(kDb, "db");
  ASSERT_TRUE(open().revoke(kWeb.text(), kNow));
  X509CrlPtr first = share_crl(open().crl());
  AuthorityFiles files = open();
  ASSERT_TRUE(files.revoke(kDb.text(), kNow));
  ASSERT_TRUE(files.revoke(kDb.text(), kNow)) << "once more is no error";
  EXPECT_TRUE(is_revoked(files.crl(), web.leaf()) && is_revoked(files.crl(), db.leaf()));
  auto number = [](X509_CRL* crl) {
    auto* value = static_cast<ASN1_INTEGER*>(X509_CRL_get_ext_d2i(crl, NID_crl_number, nullptr, nullptr));
    long n = ASN1_INTEGER_get(value);
    ASN1_INTEGER_free(value);
    return n;
  };
  EXPECT_EQ(number(first.get()), 1);
  EXPECT_EQ(number(files.crl()), 3);
}
TEST_F(AuthorityTest, RevocationOfNobody_IsAnError) {
  mint();
  EXPECT_EQ(open().revoke("spiffe://corp.example/web", kNow).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(open().revoke("", kNow).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(open().revoke(kWeb.text(), after(24 * kHour + 61)).error().code, ErrorCode::kNotFound)
      << "expired";
}
TEST_F(AuthorityTest, DamagedRecord_RevokesNothingSilently) {
  SvidIdentity identity = mint();
  directory_.write("ca/issued/" + serial_of(identity.leaf()) + ".pem", "half");
  EXPECT_NE(open().revoke(kWeb.text(), kNow).error().message.find("holds no PEM block"), std::string::npos);
}
TEST_F(AuthorityTest, RecordsOfExpiredSvids_AreForgotten) {
  mint(kWeb, "web", 1h);
  now_ = after(kHour + 61);
  mint();
  EXPECT_EQ(names_in(authority_ + "/issued")->size(), 1u);
}
TEST_F(AuthorityTest, Crl_IsRenewedInTime) {
  mint();
  AuthorityFiles files = open();
  ASSERT_TRUE(files.revoke(kWeb.text(), kNow));
  const X509_CRL* before = files.crl();
  ASSERT_TRUE(files.renew_crl(after(kCrlLife.count() / 3)));
  EXPECT_EQ(files.crl(), before);
  ASSERT_TRUE(files.renew_crl(after(kCrlLife.count() / 2)));
  EXPECT_NE(files.crl(), before);
  EXPECT_EQ(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(files.crl())), 1);
}
TEST_F(AuthorityTest, CrlsAndCasOfOthersInTheDirectory_Stay) {
  mint();
  Issued other = issue(test::authority("other"));
  directory_.write("out/bundles/corp.example.pem", to_pem(other.certificate.get()));
  directory_.write("out/crls/corp.example.pem", to_pem(test::revoke(other, {}).get()));
  AuthorityFiles files = open();
  ASSERT_TRUE(files.revoke(kWeb.text(), kNow));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(files.publish(directory_.path("out")));
  TrustFiles read = read_trust_files(directory_.path("out"));
  const TrustBundle* bundle = read.trust.bundle(*parse_trust_domain("corp.example"));
  ASSERT_NE(bundle, nullptr);
  EXPECT_EQ(bundle->authorities.size(), 2u);
  EXPECT_EQ(bundle->crls.size(), 2u);
}

// --- rotation

TEST_F(AuthorityTest, Rotation_RenewsWhatIsHalfOver) {
  SvidIdentity old = mint(kWeb, "web", 2h);
  auto rotate = [&](WallTime when, bool all = false) {
    return *open().rotate(directory_.path("out"), "web", *read_identity(directory_.path("out"), "web"), all,
                          when);
  };
  EXPECT_EQ(rotate(after(kHour - 120)), Rotation::kFresh);
  EXPECT_EQ(rotate(after(kHour)), Rotation::kRenewed);
  SvidIdentity fresh = *read_identity(directory_.path("out"), "web");
  EXPECT_EQ(fresh.id, kWeb);
  EXPECT_EQ(*wall_time_of(X509_get0_notAfter(fresh.leaf())), after(3 * kHour)) << "as long a life as before";
  EXPECT_NE(EVP_PKEY_eq(fresh.key.get(), old.key.get()), 1) << "a new key";
  EXPECT_EQ(rotate(after(kHour)), Rotation::kFresh);
  EXPECT_EQ(rotate(after(kHour), true), Rotation::kRenewed);
}
TEST_F(AuthorityTest, Rotation_LeavesRevokedAndForeignOnes) {
  SvidIdentity web = mint();
  AuthorityFiles files = open();
  ASSERT_TRUE(files.revoke(kWeb.text(), kNow));
  EXPECT_EQ(*files.rotate(directory_.path("out"), "web", web, true, kNow), Rotation::kRevoked);
  Authority other = *Authority::create(*parse_trust_domain("corp.example"), kNow);
  SvidIdentity foreign = *other.mint(kWeb, kNow, 1h);
  EXPECT_EQ(*files.rotate(directory_.path("out"), "web", foreign, true, kNow), Rotation::kForeign);
}
TEST_F(AuthorityTest, RotationCutShortAnywhere_LeavesAWholeIdentity) {
  SvidIdentity old = mint();
  std::string old_pem = directory_.read("out/svids/web.pem"), old_key = directory_.read("out/svids/web.key");
  mint();
  std::string new_pem = directory_.read("out/svids/web.pem"), new_key = directory_.read("out/svids/web.key");
  // What stands there after each of the three steps.
  for (auto [pem, key] :
       {std::pair{old_pem, old_key + new_key}, {new_pem, old_key + new_key}, {new_pem, new_key}}) {
    directory_.write("out/svids/web.pem", pem);
    directory_.write("out/svids/web.key", key);
    auto identity = read_identity(directory_.path("out"), "web");
    ASSERT_TRUE(identity) << identity.error().message;
    EXPECT_TRUE(write_identity(directory_.path("out"), "web", old));
  }
}
TEST_F(AuthorityTest, NameOfAnotherId_IsNotTaken) {
  mint();
  auto written = write_identity(directory_.path("out"), "web", *open().mint(kDb, kNow, 1h));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::kExists);
  EXPECT_EQ(read_identity(directory_.path("out"), "web")->id, kWeb);
}

TEST(IdentityName, ComesFromThePath) {
  EXPECT_EQ(*default_name(kWeb), "web-7");
  EXPECT_FALSE(default_name(*parse_spiffe_id("spiffe://corp.example/.hidden")));
  EXPECT_FALSE(default_name(*parse_spiffe_id("spiffe://corp.example")));
  for (const char* name : {"", ".web", "a/b", "../web", "a b", "a\n"})
    EXPECT_FALSE(check_identity_name(name)) << name;
  EXPECT_TRUE(check_identity_name("web-7.a_B"));
}

}  // namespace
}  // namespace bulkhead
