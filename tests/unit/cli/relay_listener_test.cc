#include "cli/relay_listener.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contract/channel.h"
#include "tests/unit/engine/temporary_directory.h"

namespace bulkhead {
namespace {

constexpr Account kControlPlane{65534, 65534};

struct RelayListener : testing::Test {
  test::TemporaryDirectory place;
  std::string directory = place.path("c.sock.tls"), path = directory + "/relay";

  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_EQ(chown(place.path().c_str(), kControlPlane.user, kControlPlane.group), 0);
  }
  static struct stat status_of(const std::string& at) {
    struct stat status{};
    EXPECT_EQ(lstat(at.c_str(), &status), 0);
    return status;
  }
};

TEST_F(RelayListener, IsTheControlPlanesInADirectoryOfRoots) {
  for (int start : {1, 2}) {
    auto listener = relay_listener(path, kControlPlane);
    ASSERT_TRUE(listener) << start << ": " << listener.error().message;
    EXPECT_EQ(status_of(directory).st_uid, 0u);
    EXPECT_EQ(status_of(path).st_uid, kControlPlane.user);
    EXPECT_EQ(status_of(path).st_mode & 0777, 0600u);
    EXPECT_TRUE(connect_to(path));
  }
}

TEST_F(RelayListener, DirectoryThatIsALink_IsRefusedAndNothingIsWhereItLeads) {
  std::filesystem::create_directory(place.path("victim"));
  ASSERT_EQ(chown(place.path("victim").c_str(), 1234, 1234), 0);
  std::filesystem::create_directory_symlink(place.path("victim"), directory);
  EXPECT_FALSE(relay_listener(path, kControlPlane));
  EXPECT_EQ(status_of(place.path("victim")).st_uid, 1234u);
  EXPECT_TRUE(std::filesystem::is_empty(place.path("victim")));
}

TEST_F(RelayListener, DirectoryThatTheControlPlaneMade_HoldsNothingOfIts) {
  std::filesystem::create_directory(directory);
  std::filesystem::permissions(directory, std::filesystem::perms::all);
  ASSERT_EQ(chown(directory.c_str(), kControlPlane.user, kControlPlane.group), 0);
  ASSERT_TRUE(relay_listener(path, kControlPlane));
  EXPECT_EQ(status_of(directory).st_uid, 0u);
  EXPECT_EQ(status_of(directory).st_mode & 0777, 0755u);
}

TEST_F(RelayListener, SocketThatIsALink_IsRefusedAndWhatItPointsAtStaysRoots) {
  place.write("victim", "");
  std::filesystem::create_directory(directory);
  std::filesystem::permissions(directory, std::filesystem::perms(0755));
  std::filesystem::create_symlink(place.path("victim"), path);
  EXPECT_FALSE(relay_listener(path, kControlPlane));
  EXPECT_EQ(status_of(place.path("victim")).st_uid, 0u);
}

}  // namespace
}  // namespace bulkhead
