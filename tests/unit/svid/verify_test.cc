// A chain that is good, with one thing changed in each test. Numbers of rows: docs/svid.md.
#include "svid/verify.h"

#include <fstream>
#include <functional>

#include <gtest/gtest.h>
#include <openssl/err.h>

#include "tests/unit/svid/certificates.h"

namespace bulkhead {
namespace {

using namespace test;

/// A root, a CA below it and a leaf, and whom to trust.
struct Chain {
  Certificate root = authority("root"), middle = authority("middle"), leaf;
  std::string domain = "corp.example";
  WallTime now = kNow;
  int64_t crl_last = 0, crl_next = 0;  ///< the middle CA's CRL; both 0: there is none
  bool leaf_revoked = false, middle_revoked = false;
};

/// "good", or the fault.
std::string judged(const std::function<void(Chain&)>& change) {
  Chain chain;
  change(chain);
  Issued root = issue(chain.root), middle = issue(chain.middle, &root), leaf = issue(chain.leaf, &middle);
  std::vector<X509CrlPtr> crls;
  if (chain.crl_next != 0)
    crls.push_back(revoke(
        middle,
        chain.leaf_revoked ? std::vector<const X509*>{leaf.certificate.get()} : std::vector<const X509*>{},
        chain.crl_last, chain.crl_next));
  if (chain.middle_revoked) crls.push_back(revoke(root, {middle.certificate.get()}));
  std::vector<X509_CRL*> listed;
  for (const X509CrlPtr& crl : crls) listed.push_back(crl.get());
  X509Stack intermediates = stack_of(&middle.certificate, &middle.certificate + 1);
  auto verified = verify_svid(leaf.certificate.get(), intermediates.get(),
                              trusting(chain.domain, {root.certificate.get()}, listed), chain.now);
  EXPECT_EQ(ERR_peek_error(), 0u) << "the error queue must stay empty";
  return verified ? "good" : std::string(name_of(verified.error()));
}

void expect(const char* fault, const std::function<void(Chain&)>& change) {
  EXPECT_EQ(judged([](Chain&) {}), "good");
  EXPECT_EQ(judged(change), fault);
}

TEST(Verify, GoodChain_NamesTheWorkload) {
  Issued root = issue(authority("root")), leaf = issue({}, &root);
  auto verified =
      verify_svid(leaf.certificate.get(), nullptr, trusting("corp.example", {root.certificate.get()}), kNow);
  ASSERT_TRUE(verified) << name_of(verified.error());
  EXPECT_EQ(verified->id.text(), "spiffe://corp.example/web/7");
  EXPECT_EQ(verified->expires, after(kHour));
  EXPECT_EQ(verified->sha256, fingerprint_of(leaf.certificate.get()));
  EXPECT_EQ(verified->serial, serial_of(leaf.certificate.get()));
}
TEST(Verify, ExpiryOfTheChain_IsItsFirst) {
  Certificate ca = authority("root");
  ca.not_after = 60 * 30;
  Issued root = issue(ca), leaf = issue({}, &root);
  auto verified =
      verify_svid(leaf.certificate.get(), nullptr, trusting("corp.example", {root.certificate.get()}), kNow);
  ASSERT_TRUE(verified);
  EXPECT_EQ(verified->expires, after(60 * 30));
}
TEST(Verify, NoCertificate_IsMissing) {
  auto verified = verify_svid(nullptr, nullptr, TrustStore(), kNow);
  EXPECT_EQ(verified.error(), SvidFault::k_certificate_missing);
}

// --- M2: time, with the skew

TEST(VerifyTime, Expired_BeyondTheSkewOnly) {
  expect("good", [](Chain& c) { c.leaf.not_after = -59; });
  expect("expired", [](Chain& c) { c.leaf.not_after = -60; });
}
TEST(VerifyTime, NotYetValid_BeyondTheSkewOnly) {
  expect("good", [](Chain& c) { c.leaf.not_before = 60; });
  expect("not_yet_valid", [](Chain& c) { c.leaf.not_before = 61; });
}
TEST(VerifyTime, ExpiredIssuerAndRoot_AreTold) {
  expect("expired", [](Chain& c) { c.middle.not_after = -61; });
  expect("expired", [](Chain& c) { c.root.not_after = -61; });
  expect("not_yet_valid", [](Chain& c) { c.middle.not_before = 61; });
}
TEST(VerifyTime, NowDecides) {
  expect("expired", [](Chain& c) { c.now = after(kHour + 60); });
  expect("not_yet_valid", [](Chain& c) { c.now = after(-kHour - 61); });
}
TEST(VerifyTime, RenewedRootOfTheSameNameAndKey_IsFoundBesideTheExpiredOne) {
  Certificate old = authority("root");
  old.not_after = -kHour;
  Issued expired = issue(old), root = issue(authority("root"));
  Issued leaf = issue({}, &root);
  auto verified =
      verify_svid(leaf.certificate.get(), nullptr,
                  trusting("corp.example", {expired.certificate.get(), root.certificate.get()}), kNow);
  EXPECT_TRUE(verified);
}

// --- M3, M6, M7: the ID

std::function<void(Chain&)> named(const std::string& uri) {
  return [uri](Chain& c) { c.leaf.names = {{GEN_URI, uri}}; };
}

TEST(VerifyId, NoUri_IsMissing) {
  expect("uri_san_missing", [](Chain& c) { c.leaf.names.clear(); });
  expect("uri_san_missing", [](Chain& c) { c.leaf.names = {{GEN_DNS, "web-7.corp.example"}}; });
}
TEST(VerifyId, CommonName_IsNeverLookedAt) {
  expect("uri_san_missing", [](Chain& c) {
    c.leaf.names.clear();
    c.leaf.subject = "spiffe://corp.example/web/7";
  });
}
TEST(VerifyId, TwoUris_AreRepeated) {
  expect("uri_san_repeated",
         [](Chain& c) { c.leaf.names.emplace_back(GEN_URI, "spiffe://corp.example/web/8"); });
  expect("uri_san_repeated", [](Chain& c) { c.leaf.names.emplace_back(GEN_URI, "https://corp.example/"); });
  expect("uri_san_repeated",
         [](Chain& c) { c.leaf.names.emplace_back(GEN_URI, "spiffe://corp.example/web/7"); });
}
TEST(VerifyId, DnsAndEmailBesideTheUri_AreFine) {
  expect("good", [](Chain& c) {
    c.leaf.names.emplace_back(GEN_DNS, "web-7.corp.example");
    c.leaf.names.emplace_back(GEN_EMAIL, "web@corp.example");
  });
}
TEST(VerifyId, SecondSanExtension_IsMalformed) {
  const char uri[] = "\x30\x1d\x86\x1bspiffe://corp.example/web/8";
  expect("certificate_malformed",
         [&](Chain& c) { c.leaf.raw.emplace_back(NID_subject_alt_name, std::string(uri, sizeof uri - 1)); });
}
TEST(VerifyId, SanThatIsNoDer_IsMalformed) {
  expect("certificate_malformed", [](Chain& c) {
    c.leaf.names.clear();
    c.leaf.raw.emplace_back(NID_subject_alt_name, "\x30\x7f\x86\x01");
  });
}
TEST(VerifyId, NoPath_IsTold) {
  expect("spiffe_id_without_path", named("spiffe://corp.example"));
}
TEST(VerifyId, OtherScheme_IsInvalid) {
  expect("spiffe_id_invalid", named("https://corp.example/web/7"));
  expect("spiffe_id_invalid", named("SPIFFE://corp.example/web/7"));
}
TEST(VerifyId, WrongPathOrTrustDomain_IsInvalid) {
  for (const char* uri :
       {"spiffe://corp.example/web/./7", "spiffe://corp.example/web/../7", "spiffe://corp.example//7",
        "spiffe://corp.example/web/", "spiffe://corp.example/", "spiffe://corp.example/web%2f7",
        "spiffe://Corp.example/web/7", "spiffe://corp.example:443/web/7", "spiffe://u@corp.example/web/7",
        "spiffe://corp.example/web/7?a", ""})
    expect("spiffe_id_invalid", named(uri));
}
TEST(VerifyId, NulInAnyName_IsTold) {
  using std::string_literals::operator""s;
  expect("san_with_nul", named("spiffe://corp.example/web/7\0x"s));
  expect("san_with_nul", named("spiffe://corp.example/web/7\0"s));
  expect("san_with_nul", [](Chain& c) { c.leaf.names.emplace_back(GEN_DNS, "web\0.evil"s); });
}
TEST(VerifyId, LongestId_IsTheLast) {
  std::string longest = "spiffe://corp.example/" + std::string(2048 - 22, 'a');
  expect("good", named(longest));
  expect("spiffe_id_invalid", named(longest + "a"));
}

// --- M3, M4, M7: what the leaf may be used for

TEST(VerifyLeaf, Ca_IsRefused) {
  expect("leaf_is_ca", [](Chain& c) { c.leaf.basic_constraints = "critical,CA:TRUE"; });
  expect("leaf_is_ca", [](Chain& c) { c.leaf.basic_constraints = "CA:TRUE"; });
}
TEST(VerifyLeaf, WithoutBasicConstraints_IsNoCa) {
  expect("good", [](Chain& c) { c.leaf.basic_constraints.clear(); });
}
TEST(VerifyLeaf, KeyUsage_MustBeThereAndCritical) {
  expect("key_usage_missing", [](Chain& c) { c.leaf.key_usage.clear(); });
  expect("key_usage_not_critical", [](Chain& c) { c.leaf.key_usage = "digitalSignature"; });
}
TEST(VerifyLeaf, KeyThatSignsCertificatesOrCrls_IsRefused) {
  expect("key_usage_signs", [](Chain& c) { c.leaf.key_usage = "critical,digitalSignature,keyCertSign"; });
  expect("key_usage_signs", [](Chain& c) { c.leaf.key_usage = "critical,digitalSignature,cRLSign"; });
}
TEST(VerifyLeaf, WithoutDigitalSignature_IsRefused) {
  expect("key_usage_no_signature", [](Chain& c) { c.leaf.key_usage = "critical,keyEncipherment"; });
  expect("good", [](Chain& c) { c.leaf.key_usage = "critical,digitalSignature,keyAgreement"; });
}
TEST(VerifyLeaf, ExtendedKeyUsage_NeedsBothWhereItIsThere) {
  expect("good", [](Chain& c) { c.leaf.extended_key_usage.clear(); });
  expect("good", [](Chain& c) { c.leaf.extended_key_usage = "clientAuth,emailProtection,serverAuth"; });
  for (const char* one :
       {"serverAuth", "clientAuth", "emailProtection", "anyExtendedKeyUsage", "codeSigning"})
    expect("extended_key_usage", [&](Chain& c) { c.leaf.extended_key_usage = one; });
}
TEST(VerifyLeaf, KeyUsageTwiceOrUnreadable_IsMalformed) {
  expect("certificate_malformed",
         [](Chain& c) { c.leaf.raw.emplace_back(NID_key_usage, "\x03\x02\x07\x80"); });
  expect("certificate_malformed", [](Chain& c) { c.leaf.raw.emplace_back(NID_ext_key_usage, "\x30\x7f"); });
}

// --- M5: the bundle of the ID's trust domain, and no other

TEST(VerifyDomain, WithoutABundle_IsUnknown) {
  expect("trust_domain_unknown", [](Chain& c) { c.domain = "other.example"; });
}
TEST(VerifyDomain, RightChainUnderAnotherDomainsBundle_IsUntrusted) {
  Issued own = issue(authority("root")), other = issue(authority("other"));
  TrustStore trust = trusting("corp.example", {own.certificate.get()});
  ASSERT_TRUE(trust.add(*parse_trust_domain("other.example"), {shared({other.certificate.get()}), {}}));
  auto fault = [&](const Issued& issuer, const char* uri) {
    Certificate what;
    what.names = {{GEN_URI, uri}};
    Issued leaf = issue(what, &issuer);
    auto verified = verify_svid(leaf.certificate.get(), nullptr, trust, kNow);
    return verified ? "good" : std::string(name_of(verified.error()));
  };
  EXPECT_EQ(fault(own, "spiffe://corp.example/web/7"), "good");
  EXPECT_EQ(fault(other, "spiffe://other.example/web/7"), "good");
  EXPECT_EQ(fault(other, "spiffe://corp.example/web/7"), "chain_untrusted");
  EXPECT_EQ(fault(own, "spiffe://other.example/web/7"), "chain_untrusted");
}
TEST(VerifyDomain, SelfSignedLeaf_IsUntrusted) {
  Issued root = issue(authority("root")), leaf = issue({});
  auto verified =
      verify_svid(leaf.certificate.get(), nullptr, trusting("corp.example", {root.certificate.get()}), kNow);
  EXPECT_EQ(verified.error(), SvidFault::k_chain_untrusted);
}
TEST(VerifyDomain, RootThatThePeerBrings_IsNotBelieved) {
  Issued root = issue(authority("root")), own = issue(authority("mine")), leaf = issue({}, &own);
  X509Stack brought = stack_of(&own.certificate, &own.certificate + 1);
  auto verified = verify_svid(leaf.certificate.get(), brought.get(),
                              trusting("corp.example", {root.certificate.get()}), kNow);
  EXPECT_EQ(verified.error(), SvidFault::k_chain_untrusted);
}
TEST(VerifyDomain, MissingIntermediate_IsUntrusted) {
  Issued root = issue(authority("root")), middle = issue(authority("middle"), &root),
         leaf = issue({}, &middle);
  TrustStore trust = trusting("corp.example", {root.certificate.get()});
  EXPECT_EQ(verify_svid(leaf.certificate.get(), nullptr, trust, kNow).error(), SvidFault::k_chain_untrusted);
}
TEST(VerifyDomain, BundleOfAnIntermediate_IsEnough) {
  Issued root = issue(authority("root")), middle = issue(authority("middle"), &root),
         leaf = issue({}, &middle);
  TrustStore trust = trusting("corp.example", {middle.certificate.get()});
  EXPECT_TRUE(verify_svid(leaf.certificate.get(), nullptr, trust, kNow));
}
TEST(VerifyDomain, ForgedSignature_IsInvalid) {
  // Another CA of the same name, and no key identifier that would tell them apart.
  Certificate ca = authority("root");
  ca.key_identifier.clear();
  Issued root = issue(ca), forger = issue(ca);
  Certificate what;
  what.authority_identifier.clear();
  Issued leaf = issue(what, &forger);
  TrustStore trust = trusting("corp.example", {root.certificate.get()});
  EXPECT_EQ(verify_svid(leaf.certificate.get(), nullptr, trust, kNow).error(),
            SvidFault::k_signature_invalid);
}

// --- M8: RFC 5280

TEST(VerifyPath, LengthOfTheRoot_IsKept) {
  expect("good", [](Chain& c) { c.root.basic_constraints = "critical,CA:TRUE,pathlen:1"; });
  expect("path_length", [](Chain& c) { c.root.basic_constraints = "critical,CA:TRUE,pathlen:0"; });
  expect("good", [](Chain& c) { c.middle.basic_constraints = "critical,CA:TRUE,pathlen:0"; });
}
TEST(VerifyPath, NameConstraints_AreKept) {
  expect("good", [](Chain& c) { c.middle.name_constraints = "critical,permitted;URI:corp.example"; });
  expect("name_constraint",
         [](Chain& c) { c.middle.name_constraints = "critical,permitted;URI:other.example"; });
  expect("name_constraint", [](Chain& c) { c.root.name_constraints = "critical,excluded;URI:corp.example"; });
}
TEST(VerifyPath, NameConstraintsOfHosts_AreNotTheCommonNames) {
  expect("good", [](Chain& c) {
    c.middle.name_constraints = "critical,permitted;DNS:corp.example";
    c.leaf.subject = "elsewhere.example";
  });
}
TEST(VerifyPath, UnknownCriticalExtension_IsRefusedAnywhere) {
  const std::pair<std::string, std::string> critical{"1.3.6.1.4.1.55555.1", "critical,DER:0500"};
  expect("critical_extension", [&](Chain& c) { c.leaf.others = {critical}; });
  expect("critical_extension", [&](Chain& c) { c.middle.others = {critical}; });
  expect("good", [](Chain& c) { c.leaf.others = {{"1.3.6.1.4.1.55555.1", "DER:0500"}}; });
}
TEST(VerifyPath, IntermediateThatIsNoCa_IsRefused) {
  expect("issuer_not_ca", [](Chain& c) { c.middle.basic_constraints = "critical,CA:FALSE"; });
  expect("issuer_not_ca", [](Chain& c) { c.middle.basic_constraints.clear(); });
}
TEST(VerifyPath, IntermediateWithoutKeyCertSign_IsRefused) {
  expect("issuer_not_ca", [](Chain& c) { c.middle.key_usage = "critical,cRLSign"; });
  expect("issuer_not_ca", [](Chain& c) { c.middle.key_usage.clear(); });
}
TEST(VerifyPath, IntermediateForOtherUsages_IsRefused) {
  expect("extended_key_usage", [](Chain& c) { c.middle.extended_key_usage = "emailProtection"; });
  expect("good", [](Chain& c) { c.middle.extended_key_usage = "serverAuth,clientAuth"; });
}
TEST(VerifyPath, LeafThatSignedAnother_IsNoIssuer) {
  Issued root = issue(authority("root")), leaf = issue({}, &root), forged = issue({}, &leaf);
  X509Stack brought = stack_of(&leaf.certificate, &leaf.certificate + 1);
  TrustStore trust = trusting("corp.example", {root.certificate.get()});
  EXPECT_EQ(verify_svid(forged.certificate.get(), brought.get(), trust, kNow).error(),
            SvidFault::k_issuer_not_ca);
}

// --- M9: algorithms

TEST(VerifyAlgorithms, Sha1_IsWeakAnywhereBelowTheRoot) {
  expect("signature_weak", [](Chain& c) { c.leaf.hash = EVP_sha1(); });
  expect("signature_weak", [](Chain& c) { c.middle.hash = EVP_sha1(); });
  expect("signature_weak", [](Chain& c) { c.leaf.hash = EVP_sha224(); });
}
TEST(VerifyAlgorithms, Sha2_IsGood) {
  expect("good", [](Chain& c) { c.leaf.hash = EVP_sha384(); });
  expect("good", [](Chain& c) { c.leaf.hash = EVP_sha512(); });
}
TEST(VerifyAlgorithms, NamedCurves_AreGood) {
  for (const char* key : {"P-256", "P-384", "P-521", "ED25519"})
    expect("good", [&](Chain& c) { c.leaf.key = c.middle.key = key; });
}
TEST(VerifyAlgorithms, OtherCurvesAndKeys_AreWeak) {
  for (const char* key : {"P-224", "secp256k1", "brainpoolP256r1", "ED448", "explicit P-256"})
    expect("key_weak", [&](Chain& c) { c.leaf.key = key; });
}
TEST(VerifyAlgorithms, WeakKeyOfAnIntermediate_IsTold) {
  expect("key_weak", [](Chain& c) { c.middle.key = "explicit P-256"; });
  expect("key_weak", [](Chain& c) { c.middle.key = "RSA:1024"; });
}
TEST(VerifyAlgorithms, Rsa_Has2048Bits) {
  expect("good", [](Chain& c) { c.leaf.key = "RSA:2048"; });
  expect("key_weak", [](Chain& c) { c.leaf.key = "RSA:2040"; });
}
TEST(VerifyAlgorithms, RsaSignatures_AreGood) {
  expect("good", [](Chain& c) { c.middle.key = "RSA:2048"; });
  expect("signature_weak", [](Chain& c) {
    c.middle.key = "RSA:2048";
    c.leaf.hash = EVP_sha1();
  });
}
TEST(VerifyAlgorithms, PssWithOneHash_IsGood) {
  expect("good", [](Chain& c) {
    c.middle.key = "RSA:2048";
    c.leaf.pss = true;
  });
  expect("signature_weak", [](Chain& c) {
    c.middle.key = "RSA:2048";
    c.leaf.pss = true;
    c.leaf.mgf1_hash = EVP_sha1();
  });
}

// --- M14: sizes

std::string fault_of_many(size_t intermediates) {
  Issued root = issue(authority("ca-0"));
  std::vector<Issued> below;
  std::vector<X509Ptr> chain;
  for (size_t i = 0; i < intermediates; ++i) {
    below.push_back(issue(authority("ca-" + std::to_string(i + 1)), i == 0 ? &root : &below.back()));
    chain.push_back(share(below.back().certificate.get()));
  }
  Issued leaf = issue({}, below.empty() ? &root : &below.back());
  X509Stack stack = stack_of(chain.data(), chain.data() + chain.size());
  auto verified = verify_svid(leaf.certificate.get(), stack.get(),
                              trusting("corp.example", {root.certificate.get()}), kNow);
  return verified ? "good" : std::string(name_of(verified.error()));
}

TEST(VerifySize, EightCertificates_AreTheMost) {
  EXPECT_EQ(fault_of_many(7), "good");
  EXPECT_EQ(fault_of_many(8), "chain_too_long");
  EXPECT_EQ(fault_of_many(99), "chain_too_long");
}
TEST(VerifySize, LeafAmongTheIntermediates_CountsOnce) {
  Issued root = issue(authority("root")), leaf = issue({}, &root);
  X509Stack chain = stack_of(&leaf.certificate, &leaf.certificate + 1);
  EXPECT_TRUE(verify_svid(leaf.certificate.get(), chain.get(),
                          trusting("corp.example", {root.certificate.get()}), kNow));
}
TEST(VerifySize, SixtyFourKibibytes_AreTheMost) {
  auto padded = [](size_t bytes) {
    return [bytes](Chain& c) {
      std::string value = "DER:0482";
      char length[8];
      std::snprintf(length, sizeof length, "%04zx", bytes);
      value += length;
      for (size_t i = 0; i < bytes; ++i) value += "00";
      c.leaf.others = {{"1.3.6.1.4.1.55555.1", value}};
    };
  };
  expect("good", padded(63000));
  expect("chain_too_large", padded(65000));
}

// --- CRLs

TEST(VerifyCrl, Revoked_IsTold) {
  auto with_crl = [](Chain& c) { c.crl_last = -kHour, c.crl_next = kHour; };
  expect("good", with_crl);
  expect("revoked", [&](Chain& c) {
    with_crl(c);
    c.leaf_revoked = true;
  });
}
TEST(VerifyCrl, RevokedIntermediate_IsTold) {
  expect("revoked", [](Chain& c) { c.middle_revoked = true; });
}
TEST(VerifyCrl, OutOfDate_FailsBeyondTheSkew) {
  expect("good", [](Chain& c) { c.crl_last = -kHour, c.crl_next = -59; });
  expect("crl_expired", [](Chain& c) { c.crl_last = -kHour, c.crl_next = -60; });
}
TEST(VerifyCrl, FromTheFuture_IsUnusableBeyondTheSkew) {
  expect("good", [](Chain& c) { c.crl_last = 60, c.crl_next = kHour; });
  expect("crl_unusable", [](Chain& c) { c.crl_last = 61, c.crl_next = kHour; });
}

class Crl : public testing::Test {
 protected:
  std::string fault_under(const std::vector<X509_CRL*>& crls) {
    auto verified = verify_svid(leaf_.certificate.get(), nullptr,
                                trusting("corp.example", {root_.certificate.get()}, crls), kNow);
    return verified ? "good" : std::string(name_of(verified.error()));
  }
  Issued root_ = issue(authority("root")), leaf_ = issue({}, &root_);
};

TEST_F(Crl, OfAnotherIssuer_SaysNothing) {
  Issued other = issue(authority("other"));
  X509CrlPtr crl = revoke(other, {leaf_.certificate.get()});
  EXPECT_EQ(fault_under({crl.get()}), "good");
}
TEST_F(Crl, OfTheSameNameWithAnotherKey_IsUnusable) {
  Issued forger = issue(authority("root"));
  X509CrlPtr forged = revoke(forger, {});
  EXPECT_EQ(fault_under({forged.get()}), "crl_unusable");
}
TEST_F(Crl, Newest_Counts) {
  X509CrlPtr old = revoke(root_, {}, -2 * kHour), recent = revoke(root_, {leaf_.certificate.get()}, -kHour);
  EXPECT_EQ(fault_under({old.get()}), "good");
  EXPECT_EQ(fault_under({old.get(), recent.get()}), "revoked");
  EXPECT_EQ(fault_under({recent.get(), old.get()}), "revoked");
}
TEST_F(Crl, OfAnIssuerThatMayNotSignThem_IsUnusable) {
  Certificate ca = authority("root");
  ca.key_usage = "critical,keyCertSign";
  root_ = issue(ca);
  leaf_ = issue({}, &root_);
  EXPECT_EQ(fault_under({}), "good");
  EXPECT_EQ(fault_under({revoke(root_, {}).get()}), "crl_unusable");
}

// --- what a bundle may hold

Expected<> add(std::vector<X509Ptr> authorities, X509CrlPtr crl = nullptr) {
  TrustBundle bundle{std::move(authorities), {}};
  if (crl) bundle.crls.push_back(std::move(crl));
  return TrustStore().add(*parse_trust_domain("corp.example"), std::move(bundle));
}

TEST(TrustStore, LeafAsAuthority_IsRefused) {
  Issued root = issue(authority("root")), leaf = issue({}, &root);
  EXPECT_TRUE(add(shared({root.certificate.get()})));
  auto added = add(shared({root.certificate.get(), leaf.certificate.get()}));
  ASSERT_FALSE(added);
  EXPECT_NE(added.error().message.find("corp.example holds a certificate that can't vouch"),
            std::string::npos);
}
TEST(TrustStore, EmptyBundleOrWeakAuthority_IsRefused) {
  EXPECT_FALSE(add({}));
  Certificate weak = authority("root");
  weak.key = "RSA:1024";
  EXPECT_FALSE(add(shared({issue(weak).certificate.get()})));
}
TEST(TrustStore, CrlWithoutEndOrWithSha1_IsRefused) {
  Issued root = issue(authority("root"));
  auto with = [&](X509CrlPtr crl) {
    return add(shared({root.certificate.get()}), std::move(crl)).has_value();
  };
  EXPECT_TRUE(with(revoke(root, {})));
  EXPECT_FALSE(with(revoke(root, {}, -kHour, 0)));
  EXPECT_FALSE(with(revoke(root, {}, -kHour, kHour, EVP_sha1())));
}
TEST(TrustStore, SecondBundleOfADomain_IsRefused) {
  Issued root = issue(authority("root"));
  TrustStore trust = trusting("corp.example", {root.certificate.get()});
  auto again = trust.add(*parse_trust_domain("corp.example"), {shared({root.certificate.get()}), {}});
  EXPECT_EQ(again.error().code, ErrorCode::kExists);
}

TEST(SvidFault, Each_StandsInTheDocumentation) {
  std::ifstream in(BULKHEAD_DOCS "/svid.md");
  std::string page{std::istreambuf_iterator<char>(in), {}};
  for (size_t i = 0; i < kSvidFaultCount; ++i) {
    auto fault = static_cast<SvidFault>(i);
    std::string row = "| `" + std::string(name_of(fault)) + "` | " + std::string(help_of(fault)) + " |";
    EXPECT_NE(page.find(row), std::string::npos) << row;
  }
}

}  // namespace
}  // namespace bulkhead
