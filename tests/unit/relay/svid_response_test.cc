#include "dataplane/relay/svid_response.h"

#include <gtest/gtest.h>
#include <openssl/err.h>

#include "svid/verify.h"
#include "tests/unit/svid/certificates.h"
#include "tests/unit/svid/der_of.h"
#include "workload_api.pb.h"

namespace bulkhead {
namespace {

using namespace test;

constexpr char kWeb[] = "spiffe://corp.example/web/7";

Issued issued_to(const std::string& id, const Issued& by, int64_t not_after = kHour) {
  Certificate what;
  what.names = {{GEN_URI, id}};
  what.not_after = not_after;
  return issue(what, &by);
}

/// A response with web's SVID, that its root and an intermediate issued, and nothing wrong; each test changes
/// one thing.
struct SvidResponseTest : testing::Test {
  Issued root = issue(authority("root")), middle = issue(authority("middle"), &root),
         web = issued_to(kWeb, middle), other_root = issue(authority("other"));
  X509SVIDResponse sent;

  SvidResponseTest() { add(kWeb, web); }
  X509SVID& add(const std::string& id, const Issued& issued) {
    X509SVID& svid = *sent.add_svids();
    svid.set_spiffe_id(id);
    svid.set_x509_svid(der_of(issued.certificate.get()) + der_of(middle.certificate.get()));
    svid.set_x509_svid_key(der_of(issued.key.get()));
    svid.set_bundle(der_of(root.certificate.get()));
    return svid;
  }
  X509SVID& first() { return *sent.mutable_svids(0); }
  SvidResponse read() {
    auto response = read_svid_response(sent.SerializeAsString());
    EXPECT_TRUE(response) << response.error().message;
    EXPECT_EQ(ERR_peek_error(), 0u);
    return response ? std::move(*response) : SvidResponse{};
  }
  std::string error() {
    auto response = read_svid_response(sent.SerializeAsString());
    EXPECT_EQ(ERR_peek_error(), 0u);
    return response ? "none" : response.error().message;
  }
  std::string left_out() {
    SvidResponse response = read();
    EXPECT_EQ(response.left_out.size(), 1u);
    EXPECT_EQ(response.set->trust->size(), 1u);
    return response.left_out.empty() ? "nothing" : response.left_out[0].message;
  }
  /// What becomes of a peer that shows `leaf`, below the intermediate.
  std::string verdict(const SvidResponse& response, const Issued& leaf) {
    X509Stack above = stack_of(&middle.certificate, &middle.certificate + 1);
    auto verified = verify_svid(leaf.certificate.get(), above.get(), *response.set->trust, kNow);
    return verified ? "good" : std::string(name_of(verified.error()));
  }
  void expect_error(const std::string& words) {
    std::string said = error();
    EXPECT_NE(said.find(words), std::string::npos) << said;
  }
};

TEST_F(SvidResponseTest, ARightOne_IsSvidsAndTrust) {
  sent.mutable_svids(0)->set_hint("internal");
  SvidResponse response = read();
  ASSERT_EQ(response.set->own.size(), 1u);
  const SvidIdentity& own = *response.set->own.at(kWeb);
  EXPECT_EQ(own.id.text(), kWeb);
  EXPECT_EQ(own.chain.size(), 2u);
  EXPECT_EQ(X509_check_private_key(own.leaf(), own.key.get()), 1);
  EXPECT_TRUE(response.left_out.empty());
  EXPECT_EQ(response.set->trust->size(), 1u);
  EXPECT_EQ(verdict(response, web), "good");
}

TEST_F(SvidResponseTest, OfTwoWithOneId_TheOneThatEndsLastIsKept) {
  Issued later = issued_to(kWeb, middle, 2 * kHour), sooner = issued_to(kWeb, middle, kHour / 2);
  add(kWeb, later), add(kWeb, sooner);
  EXPECT_EQ(X509_cmp(read().set->own.at(kWeb)->leaf(), later.certificate.get()), 0);
}

TEST_F(SvidResponseTest, WhatIsKnown_IsTakenAndAnythingElseRead) {
  SvidResponse before = read();
  Issued again = issued_to(kWeb, middle);
  auto is_taken = [&] {
    auto after = read_svid_response(sent.SerializeAsString(), before.read);
    EXPECT_TRUE(after && after->read.size() == 1 && after->read.begin()->second == after->set->own.at(kWeb));
    return after && after->set->own.at(kWeb) == before.set->own.at(kWeb);
  };
  EXPECT_TRUE(is_taken());
  first().set_x509_svid(der_of(web.certificate.get()));
  EXPECT_FALSE(is_taken()) << "another chain";
  first().set_x509_svid(der_of(again.certificate.get()) + der_of(middle.certificate.get()));
  first().set_x509_svid_key(der_of(again.key.get()));
  EXPECT_FALSE(is_taken());
  first().set_x509_svid(der_of(web.certificate.get()) + der_of(middle.certificate.get()));
  EXPECT_FALSE(read_svid_response(sent.SerializeAsString(), before.read)) << "another's key";
  first().set_x509_svid_key(der_of(web.key.get()));
  EXPECT_TRUE(is_taken());
  first().set_spiffe_id("spiffe://corp.example/web/8");
  EXPECT_FALSE(read_svid_response(sent.SerializeAsString(), before.read)) << "another ID";
}

TEST_F(SvidResponseTest, FederatedBundle_VouchesForItsDomainAlone) {
  Issued theirs = issued_to("spiffe://other.example/web", other_root);
  Issued pretended = issued_to("spiffe://corp.example/web/8", other_root);
  (*sent.mutable_federated_bundles())["spiffe://other.example"] = der_of(other_root.certificate.get());
  SvidResponse response = read();
  EXPECT_EQ(response.set->trust->size(), 2u);
  EXPECT_EQ(verdict(response, theirs), "good");
  EXPECT_EQ(verdict(response, pretended), "chain_untrusted");
}

TEST_F(SvidResponseTest, FederatedBundleByItsNameAlone_IsTakenToo) {
  (*sent.mutable_federated_bundles())["other.example"] = der_of(other_root.certificate.get());
  EXPECT_EQ(read().set->trust->size(), 2u);
}

TEST_F(SvidResponseTest, FederatedBundleOfTheOwnDomain_ChangesNothing) {
  (*sent.mutable_federated_bundles())["spiffe://corp.example"] = der_of(other_root.certificate.get());
  SvidResponse response = read();
  EXPECT_EQ(verdict(response, web), "good");
  EXPECT_EQ(verdict(response, issued_to(kWeb, other_root)), "chain_untrusted");
}

TEST_F(SvidResponseTest, FederatedBundleThatIsWrong_LeavesOutItsDomain) {
  auto& bundles = *sent.mutable_federated_bundles();
  bundles["spiffe://other.example"] = "x";
  EXPECT_EQ(left_out(), "the bundle of other.example: certificate 1 can't be read as DER");
  bundles["spiffe://other.example"] = der_of(web.certificate.get());
  EXPECT_NE(left_out().find("can't vouch for others"), std::string::npos);
  bundles.clear();
  bundles["spiffe://other.example/path"] = der_of(other_root.certificate.get());
  EXPECT_EQ(left_out(),
            "federated_bundles: 'spiffe://other.example/path' is a workload's ID, not a trust domain's");
  bundles.clear();
  bundles["Other"] = der_of(other_root.certificate.get());
  EXPECT_TRUE(left_out().starts_with("federated_bundles: 'Other': ")) << left_out();
}

TEST_F(SvidResponseTest, Crls_BindOwnDomains) {
  sent.add_crl(der_of(revoke(root, {}).get()));
  sent.add_crl(der_of(revoke(middle, {web.certificate.get()}).get()));
  SvidResponse response = read();
  EXPECT_EQ(verdict(response, web), "revoked") << "its CRL is signed by no CA of a bundle";
  EXPECT_EQ(verdict(response, issued_to(kWeb, middle)), "good");
}

TEST_F(SvidResponseTest, CrlOfAnOwnCaThatAForeignBundleHoldsToo_BindsAllTheSame) {
  sent.add_crl(der_of(revoke(middle, {web.certificate.get()}).get()));
  (*sent.mutable_federated_bundles())["spiffe://other.example"] =
      der_of(other_root.certificate.get()) + der_of(middle.certificate.get());
  EXPECT_EQ(verdict(read(), web), "revoked");
}

TEST_F(SvidResponseTest, CrlOfAForeignCa_BindsItsDomain) {
  Issued theirs = issued_to("spiffe://other.example/web", other_root);
  (*sent.mutable_federated_bundles())["spiffe://other.example"] = der_of(other_root.certificate.get());
  sent.add_crl(der_of(revoke(other_root, {theirs.certificate.get()}).get()));
  SvidResponse response = read();
  EXPECT_EQ(verdict(response, theirs), "revoked");
  EXPECT_EQ(verdict(response, web), "good");
}

TEST_F(SvidResponseTest, CrlOfAForeignCaOfTheSameName_LeavesTheOwnDomainAlone) {
  Issued same_name = issue(authority("middle"));
  (*sent.mutable_federated_bundles())["spiffe://other.example"] = der_of(same_name.certificate.get());
  sent.add_crl(der_of(revoke(same_name, {}).get()));
  EXPECT_EQ(verdict(read(), web), "good");
}

TEST_F(SvidResponseTest, CrlOfAForeignCaThatCantBeHonoured_LeavesOutItsDomainAlone) {
  (*sent.mutable_federated_bundles())["spiffe://other.example"] = der_of(other_root.certificate.get());
  for (const std::string& crl : {der_of(revoke(other_root, {}, -kHour, 0).get()),
                                 der_of(revoke(other_root, {}, -kHour, kHour, EVP_sha1()).get())}) {
    sent.clear_crl();
    sent.add_crl(crl);
    EXPECT_TRUE(left_out().starts_with("the bundle of other.example: ")) << left_out();
    EXPECT_EQ(verdict(read(), web), "good");
  }
}

TEST_F(SvidResponseTest, CrlOfNobodysThatCantBeHonoured_IsLeftOut) {
  sent.add_crl(der_of(revoke(other_root, {}, -kHour, 0).get()));
  EXPECT_TRUE(left_out().starts_with("crl 1, which no CA of the own trust domains signed, is one that"))
      << left_out();
}

TEST_F(SvidResponseTest, CrlOfAnOwnCaThatCantBeHonoured_IsRefused) {
  for (const Issued* own : {&root, &middle}) {
    sent.clear_crl();
    sent.add_crl(der_of(revoke(*own, {}, -kHour, 0).get()));
    expect_error("has a CRL that doesn't say when the next one comes");
  }
}

/// A certificate for the own CA's key, which anybody can make.
TEST_F(SvidResponseTest, CrlOfAnOwnCaThatAForeignOneCertified_BindsAllTheSame) {
  Issued hidden = issue(authority("hidden"), &root);
  Issued peer = issued_to("spiffe://corp.example/web/8", hidden);
  X509Ptr theirs(X509_dup(hidden.certificate.get()));
  X509_set_issuer_name(theirs.get(), X509_get_subject_name(other_root.certificate.get()));
  X509_sign(theirs.get(), other_root.key.get(), EVP_sha256());
  (*sent.mutable_federated_bundles())["spiffe://other.example"] =
      der_of(other_root.certificate.get()) + der_of(theirs.get());
  sent.add_crl(der_of(revoke(hidden, {peer.certificate.get()}).get()));
  SvidResponse response = read();
  X509Stack above = stack_of(&hidden.certificate, &hidden.certificate + 1);
  auto verified = verify_svid(peer.certificate.get(), above.get(), *response.set->trust, kNow);
  ASSERT_FALSE(verified);
  EXPECT_EQ(verified.error(), SvidFault::k_revoked);
}

TEST_F(SvidResponseTest, NoSvid) {
  sent.clear_svids();
  EXPECT_EQ(error(), "it holds no SVID");
}

TEST_F(SvidResponseTest, WhatIsNoMessage) {
  auto response = read_svid_response("\xff\xff\xff");
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().message, "it isn't an X509SVIDResponse");
  std::string cut = sent.SerializeAsString();
  EXPECT_FALSE(read_svid_response(cut.substr(0, cut.size() - 1)));
}

TEST_F(SvidResponseTest, Fields_AreNamedWithTheirSvid) {
  X509SVID right = first();
  auto expect = [&](auto change, const std::string& words) {
    sent.clear_svids();
    *sent.add_svids() = right;
    change(*sent.add_svids() = right);
    expect_error("SVID 2 of 2 ('" + sent.svids(1).spiffe_id() + "'): " + words);
  };
  expect([](X509SVID& svid) { svid.clear_spiffe_id(); }, "spiffe_id: ");
  expect([](X509SVID& svid) { svid.set_spiffe_id("spiffe://corp.example"); }, "spiffe_id: ");
  expect([](X509SVID& svid) { svid.set_spiffe_id("spiffe://corp.example/db"); },
         "x509_svid: its certificate is of spiffe://corp.example/web/7");
  expect([](X509SVID& svid) { svid.clear_x509_svid(); }, "x509_svid: holds no certificate");
  expect([](X509SVID& svid) { svid.set_x509_svid("garbage"); },
         "x509_svid: certificate 1 can't be read as DER");
  expect([](X509SVID& svid) { svid.clear_x509_svid_key(); }, "x509_svid_key: can't be read");
  expect([&](X509SVID& svid) { svid.set_x509_svid_key(der_of(root.key.get())); },
         "x509_svid: the private key isn't the first certificate's");
  expect([&](X509SVID& svid) { svid.set_x509_svid(der_of(middle.certificate.get())); },
         "x509_svid: every peer would refuse this certificate: ");
  expect([&](X509SVID& svid) { svid.set_bundle(der_of(other_root.certificate.get())); },
         "bundle: it is another one than the one before it of corp.example");
}

TEST_F(SvidResponseTest, OwnBundlesThatAreWrong_RefuseAll) {
  first().clear_bundle();
  EXPECT_EQ(error(), "the bundle of corp.example: holds no certificate");
  first().set_bundle("garbage");
  EXPECT_EQ(error(), "the bundle of corp.example: certificate 1 can't be read as DER");
  first().set_bundle(der_of(web.certificate.get()));
  expect_error("can't vouch for others");
}

TEST_F(SvidResponseTest, CrlsThatAreWrong_RefuseAll) {
  sent.add_crl(der_of(revoke(root, {}).get()));
  sent.add_crl("garbage");
  EXPECT_EQ(error(), "crl 2: can't be read as DER of a CRL");
  sent.set_crl(1, der_of(revoke(root, {}, -kHour, 0).get()));
  expect_error("has a CRL that doesn't say when the next one comes");
}

}  // namespace
}  // namespace bulkhead
