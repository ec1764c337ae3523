#include "base/directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/engine/temporary_directory.h"

namespace bulkhead {
namespace {

constexpr Account kOwner{65534, 65534}, kOther{65533, 65533};

/// In `run`, a directory of kOther's, who may have put anything there, beside `victim`, which is root's.
struct Directory : testing::Test {
  test::TemporaryDirectory place;
  std::string run = place.path("run"), path = place.path("run/c.sock.tls"), victim = place.path("victim");

  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_EQ(mkdir(run.c_str(), 0755), 0);
    ASSERT_EQ(chown(run.c_str(), kOther.user, kOther.group), 0);
    ASSERT_EQ(mkdir(victim.c_str(), 0700), 0);
    ASSERT_EQ(chown(victim.c_str(), 1234, 1234), 0);
  }
  void put(mode_t mode, const Account& owner) {
    ASSERT_EQ(mkdir(path.c_str(), 0700), 0);
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    ASSERT_EQ(chown(path.c_str(), owner.user, owner.group), 0);
  }
  static std::string whose(const std::string& at) {
    struct stat status{};
    if (lstat(at.c_str(), &status) != 0) return "nobody's";
    return std::to_string(status.st_uid) + " " + std::to_string(status.st_mode & 07777);
  }
  std::string claim() {
    auto claimed = claim_directory(kOwner, 0755, path, "relay");
    return claimed ? whose("/proc/self/fd/" + std::to_string(claimed->get()) + "/.")
                   : claimed.error().message;
  }
};

const std::string kRight = "65534 " + std::to_string(0755);

TEST_F(Directory, ClaimedWhereNothingIs_IsMadeAndFoundAgain) {
  EXPECT_EQ(claim(), kRight);
  place.write("run/c.sock.tls/kept", "");
  EXPECT_EQ(claim(), kRight);
  EXPECT_TRUE(std::filesystem::exists(path + "/kept"));
}

TEST_F(Directory, ClaimedWhereALinkIs_IsRefusedAndWhatItPointsAtUnchanged) {
  std::filesystem::create_directory_symlink(victim, path);
  EXPECT_NE(claim().find("may lead anywhere"), std::string::npos);
  EXPECT_EQ(whose(victim), "1234 " + std::to_string(0700));
  EXPECT_TRUE(std::filesystem::is_empty(victim));
}

TEST_F(Directory, ClaimedBelowSomebodyElsesLink_IsRefused) {
  std::filesystem::create_directory_symlink(victim, run + "/below");
  ASSERT_EQ(lchown((run + "/below").c_str(), kOther.user, kOther.group), 0);
  path = run + "/below/c.sock.tls";
  EXPECT_NE(claim().find("'below' on this path"), std::string::npos);
  ASSERT_EQ(lchown((run + "/below").c_str(), 0, 0), 0);
  EXPECT_NE(claim().find("'below' on this path"), std::string::npos) << "root's, but they may have moved it";
  EXPECT_TRUE(std::filesystem::is_empty(victim));
}

TEST_F(Directory, ClaimedBelowALinkOfRootsInRootsDirectory_IsMade) {
  std::filesystem::create_directory_symlink("run", place.path("link"));
  path = place.path("link/c.sock.tls");
  EXPECT_EQ(claim(), kRight);
  EXPECT_EQ(whose(run + "/c.sock.tls"), kRight);
}

TEST_F(Directory, ClaimedWhereOthersMayWrite_IsMadeAnew) {
  put(0777, kOwner);
  EXPECT_EQ(claim(), kRight);
}

TEST_F(Directory, ClaimedWhereOthersHaveWritten_IsRefusedAndUnchanged) {
  put(0777, kOwner);
  place.write("run/c.sock.tls/x", "");
  EXPECT_NE(claim().find("isn't empty: remove it"), std::string::npos);
  EXPECT_EQ(whose(path), "65534 " + std::to_string(0777));
}

TEST_F(Directory, ClaimedWhereAnothersIs_IsMadeAnewUnlessItHoldsMoreThanTheSocket) {
  put(0755, kOther);
  ASSERT_EQ(mknod((path + "/relay").c_str(), S_IFSOCK | 0600, 0), 0);
  EXPECT_EQ(claim(), kRight);
  EXPECT_EQ(whose(path + "/relay"), "nobody's");
  std::filesystem::remove(path);
  put(0755, kOther);
  place.write("run/c.sock.tls/relay", "no socket");
  EXPECT_NE(claim().find("belongs to another user"), std::string::npos);
  EXPECT_EQ(place.read("run/c.sock.tls/relay"), "no socket");
}

TEST_F(Directory, MadeForSomebody_IsTheirsWithParentsOfRoots) {
  std::string deep = place.path("a/b/state");
  ASSERT_TRUE(make_directory_for(kOwner, 0750, deep));
  EXPECT_EQ(whose(deep), "65534 " + std::to_string(0750));
  EXPECT_EQ(whose(place.path("a/b")), "0 " + std::to_string(0755));
}

TEST_F(Directory, MadeForSomebodyWhereALinkIs_LeavesWhatItPointsAt) {
  std::filesystem::create_directory_symlink(victim, path);
  EXPECT_TRUE(make_directory_for(kOwner, 0750, path));
  EXPECT_EQ(whose(victim), "1234 " + std::to_string(0700));
}

TEST_F(Directory, MadeForSomebodyBelowSomebodyElsesLink_IsRefused) {
  std::filesystem::create_directory_symlink(victim, run + "/below");
  EXPECT_FALSE(make_directory_for(kOwner, 0750, run + "/below/state"));
  EXPECT_TRUE(std::filesystem::is_empty(victim));
}

}  // namespace
}  // namespace bulkhead
