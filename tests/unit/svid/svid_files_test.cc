#include "svid/svid_files.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "svid/file.h"
#include "svid/verify.h"
#include "tests/unit/engine/temporary_directory.h"
#include "tests/unit/svid/certificates.h"

namespace bulkhead {
namespace {

using namespace test;

/// A directory with an identity "web", its CA's bundle, and nothing wrong.
class SvidFiles : public testing::Test {
 protected:
  SvidFiles() {
    directory_.write("bundles/corp.example.pem", to_pem(root_.certificate.get()));
    put("web", leaf_);
  }
  void put(const std::string& name, const Issued& leaf) {
    directory_.write("svids/" + name + ".pem",
                     to_pem(leaf.certificate.get()) + to_pem(middle_.certificate.get()));
    put_key(name, to_pem(leaf.key.get()));
  }
  void put_key(const std::string& name, const std::string& text, mode_t mode = 0600) {
    directory_.write("svids/" + name + ".key", text);
    ::chmod(directory_.path("svids/" + name + ".key").c_str(), mode);
  }
  /// The one thing that is wrong with the identities; "nothing".
  std::string wrong_identity() { return only(read_identity_files(directory_.path()).errors); }
  std::string wrong_trust() { return only(read_trust_files(directory_.path()).errors); }
  std::string only(const std::vector<Error>& errors) {
    EXPECT_EQ(ERR_peek_error(), 0u);
    if (errors.empty()) return "nothing";
    EXPECT_EQ(errors.size(), 1u);
    return errors[0].message;
  }
  void expect_names(const std::string& message, const std::string& file, const std::string& words) {
    EXPECT_TRUE(message.starts_with(directory_.path(file) + ": ")) << message;
    EXPECT_NE(message.find(words), std::string::npos) << message;
  }

  TemporaryDirectory directory_;
  Issued root_ = issue(authority("root")), middle_ = issue(authority("middle"), &root_),
         leaf_ = issue({}, &middle_);
};

TEST_F(SvidFiles, RightOnes_AreIdentitiesAndTrust) {
  IdentityFiles own = read_identity_files(directory_.path());
  ASSERT_EQ(own.identities.size(), 1u);
  EXPECT_TRUE(own.errors.empty());
  EXPECT_EQ(own.identities[0].name, "web");
  EXPECT_EQ(own.identities[0].identity.id.text(), "spiffe://corp.example/web/7");
  TrustFiles trust = read_trust_files(directory_.path());
  EXPECT_TRUE(trust.errors.empty());
  X509Stack chain =
      stack_of(own.identities[0].identity.chain.data(), own.identities[0].identity.chain.data() + 2);
  EXPECT_TRUE(verify_svid(own.identities[0].identity.leaf(), chain.get(), trust.trust, kNow));
}

// --- identities

TEST_F(SvidFiles, KeyOfAnother_IsToldAndTheOthersAreRead) {
  Issued other = issue({}, &middle_);
  put("other", other);
  put_key("web", to_pem(other.key.get()));
  IdentityFiles files = read_identity_files(directory_.path());
  ASSERT_EQ(files.identities.size(), 1u);
  EXPECT_EQ(files.identities[0].name, "other");
  expect_names(only(files.errors), "svids/web.pem", "isn't the first certificate's");
}
TEST_F(SvidFiles, KeyThatOthersMayRead_IsRefused) {
  std::string key = directory_.read("svids/web.key");
  for (mode_t mode : {0640, 0604, 0644, 0660, 0700, 0601}) {
    put_key("web", key, mode);
    expect_names(wrong_identity(), "svids/web.key", "chmod 600 ");
  }
  for (mode_t mode : {0600, 0400}) {
    put_key("web", key, mode);
    EXPECT_EQ(wrong_identity(), "nothing");
  }
}
TEST_F(SvidFiles, KeyOfAnotherUser_IsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_EQ(::chown(directory_.path("svids/web.key").c_str(), 12345, 12345), 0);
  expect_names(wrong_identity(), "svids/web.key", "belongs to user 12345; chown it");
}
TEST_F(SvidFiles, MissingKeyOrCertificate) {
  ::unlink(directory_.path("svids/web.key").c_str());
  expect_names(wrong_identity(), "svids/web.key", "No such file");
  put("web", leaf_);
  ::unlink(directory_.path("svids/web.pem").c_str());
  EXPECT_EQ(wrong_identity(), "nothing") << "a key alone is no identity";
}
TEST_F(SvidFiles, OtherKindsOfKeys_AreRefusedWithTheCommandThatHelps) {
  BioPtr memory(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey_traditional(memory.get(), leaf_.key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  char* text = nullptr;
  auto bytes = static_cast<size_t>(BIO_get_mem_data(memory.get(), &text));
  put_key("web", std::string(text, bytes));
  expect_names(wrong_identity(), "svids/web.key", "block 1 is 'EC PRIVATE KEY'; write a PKCS#8 key");
  put_key("web", to_pem(leaf_.certificate.get()));
  expect_names(wrong_identity(), "svids/web.key", "block 1 is 'CERTIFICATE'");
  put_key("web", "");
  expect_names(wrong_identity(), "svids/web.key", "holds no PEM block");
}
TEST_F(SvidFiles, SeveralKeys_TheLeafsCounts) {
  EvpPkeyPtr old = make_key("P-256");
  put_key("web", to_pem(old.get()) + to_pem(leaf_.key.get()));
  EXPECT_EQ(wrong_identity(), "nothing");
}
TEST_F(SvidFiles, DamagedOrCutCertificate_IsRefused) {
  std::string pem = directory_.read("svids/web.pem");
  directory_.write("svids/web.pem", pem.substr(0, pem.size() - 40));
  expect_names(wrong_identity(), "svids/web.pem", "block 2 is cut or damaged");
  std::string damaged = pem;
  damaged[60] = '!';
  directory_.write("svids/web.pem", damaged);
  expect_names(wrong_identity(), "svids/web.pem", "block 1 is cut or damaged");
  directory_.write("svids/web.pem", "hello\n");
  expect_names(wrong_identity(), "svids/web.pem", "holds no PEM block");
}
TEST_F(SvidFiles, PrivateKeyAmongCertificates_IsRefused) {
  directory_.write("svids/web.pem", to_pem(leaf_.certificate.get()) + to_pem(leaf_.key.get()));
  expect_names(wrong_identity(), "svids/web.pem", "block 2 is 'PRIVATE KEY'");
}
TEST_F(SvidFiles, TooLarge_IsRefused) {
  directory_.write("svids/web.pem", directory_.read("svids/web.pem") + std::string(kMaxSvidFileBytes, '\n'));
  expect_names(wrong_identity(), "svids/web.pem", "larger than 256 KiB");
}
TEST_F(SvidFiles, NoRegularFile_IsRefused) {
  ::unlink(directory_.path("svids/web.pem").c_str());
  ASSERT_EQ(::mkfifo(directory_.path("svids/web.pem").c_str(), 0600), 0);
  expect_names(wrong_identity(), "svids/web.pem", "no regular file");
}
TEST_F(SvidFiles, FileThatBelongsToNothing_IsTold) {
  directory_.write("svids/web.crt", to_pem(leaf_.certificate.get()));
  expect_names(wrong_identity(), "svids/web.crt", "name it NAME.pem or NAME.key");
  EXPECT_EQ(read_identity_files(directory_.path()).identities.size(), 1u);
}
TEST_F(SvidFiles, LeftoverOfAWriterThatWasKilled_IsPassedOver) {
  directory_.write("svids/.web.pem.tmp", "half");
  directory_.write("bundles/.corp.example.pem.tmp", "half");
  EXPECT_EQ(wrong_identity(), "nothing");
  EXPECT_EQ(wrong_trust(), "nothing");
}

// --- trust

TEST_F(SvidFiles, Crl_IsHonoured) {
  directory_.write("crls/corp.example.pem", to_pem(revoke(middle_, {leaf_.certificate.get()}).get()));
  EXPECT_EQ(wrong_trust(), "nothing");
  TrustFiles files = read_trust_files(directory_.path());
  X509Stack above = stack_of(&middle_.certificate, &middle_.certificate + 1);
  EXPECT_EQ(verify_svid(leaf_.certificate.get(), above.get(), files.trust, kNow).error(),
            SvidFault::k_revoked);
}
TEST_F(SvidFiles, DomainWithABrokenCrl_IsNotTrusted) {
  directory_.write("crls/corp.example.pem", "-----BEGIN X509 CRL-----\nMIIB\n");
  expect_names(wrong_trust(), "crls/corp.example.pem", "block 1 is cut or damaged");
  EXPECT_EQ(read_trust_files(directory_.path()).trust.size(), 0u);
}
TEST_F(SvidFiles, BrokenBundle_LeavesTheOthers) {
  directory_.write("bundles/other.example.pem", to_pem(leaf_.certificate.get()));
  expect_names(wrong_trust(), "bundles/other.example.pem", "can't vouch for others");
  TrustFiles files = read_trust_files(directory_.path());
  EXPECT_TRUE(files.trust.knows(*parse_trust_domain("corp.example")));
  EXPECT_FALSE(files.trust.knows(*parse_trust_domain("other.example")));
}
TEST_F(SvidFiles, CrlOfNoBundle_IsTold) {
  directory_.write("crls/corp.exmaple.pem", to_pem(revoke(root_, {}).get()));
  expect_names(wrong_trust(), "crls/corp.exmaple.pem", "there is no bundles/corp.exmaple.pem");
}
TEST_F(SvidFiles, BundleUnderAnotherName_IsTold) {
  directory_.write("bundles/Corp.pem", to_pem(root_.certificate.get()));
  expect_names(wrong_trust(), "bundles/Corp.pem", "isn't a trust domain");
  ::unlink(directory_.path("bundles/Corp.pem").c_str());
  directory_.write("bundles/ca.crt", to_pem(root_.certificate.get()));
  expect_names(wrong_trust(), "bundles/ca.crt", "TRUST_DOMAIN.pem");
}
TEST(SvidDirectory, Missing_IsToldAndTrustsNobody) {
  TrustFiles trust = read_trust_files("/nonexistent");
  ASSERT_EQ(trust.errors.size(), 1u);
  EXPECT_EQ(trust.trust.size(), 0u);
  EXPECT_EQ(read_identity_files("/nonexistent").errors.size(), 1u);
}

// --- writing

TEST(WriteWhole, ReplacesAndLeavesNothingBehind) {
  TemporaryDirectory directory;
  std::string path = directory.path("a.key");
  ASSERT_TRUE(write_whole(path, "one", Secrecy::kPrivate));
  ASSERT_TRUE(write_whole(path, "two", Secrecy::kPrivate));
  EXPECT_EQ(directory.read("a.key"), "two");
  struct stat status;
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}
TEST(WriteWhole, FullDisk_LeavesWhatWasThere) {
  // A limit on what this process may write stands for the disk: EFBIG instead of ENOSPC, in the same place.
  TemporaryDirectory directory;
  ASSERT_TRUE(write_whole(directory.path("a"), "old"));
  EXPECT_EXIT(
      {
        ::signal(SIGXFSZ, SIG_IGN);
        rlimit small;
        small.rlim_cur = small.rlim_max = 1000;
        ::setrlimit(RLIMIT_FSIZE, &small);
        bool written = write_whole(directory.path("a"), std::string(100'000, 'x')).has_value();
        std::_Exit(written ? 1 : 0);
      },
      testing::ExitedWithCode(0), "");
  EXPECT_EQ(directory.read("a"), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}
TEST(WriteWhole, LeftoverOfOneThatWasKilled_IsInNobodysWay) {
  TemporaryDirectory directory;
  directory.write(".a.tmp", "half");
  ASSERT_TRUE(write_whole(directory.path("a"), "whole"));
  EXPECT_EQ(directory.read("a"), "whole");
}

}  // namespace
}  // namespace bulkhead
