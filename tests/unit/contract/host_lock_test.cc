#include "contract/host_lock.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

namespace bulkhead {
namespace {

using std::chrono::milliseconds;

struct HostLockTest : testing::Test {
  char directory[32] = "/tmp/bulkhead-lock-XXXXXX";
  std::string path;

  void SetUp() override {
    ASSERT_NE(mkdtemp(directory), nullptr);
    path = std::string(directory) + "/lock";
  }
  void TearDown() override {
    unlink(path.c_str());
    rmdir(directory);
  }
  Expected<Fd> lock(uint64_t byte, milliseconds patience = milliseconds(0)) {
    return lock_byte(path, byte, patience);
  }
};

TEST_F(HostLockTest, OneHolderOfEachByte) {
  auto first = lock(7);
  ASSERT_TRUE(first) << first.error().message;
  auto second = lock(7);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
  EXPECT_EQ(second.error().message, path + " is locked by process " + std::to_string(getpid()));
  EXPECT_TRUE(lock(8));
  EXPECT_TRUE(lock(uint64_t{1} << 62));
}
TEST_F(HostLockTest, IsFreeOnceTheDescriptorIsClosed) {
  {
    ASSERT_TRUE(lock(7));
  }
  EXPECT_TRUE(lock(7));
}
TEST_F(HostLockTest, WaitsForTheHolderAndSaysSoOnce) {
  auto held = lock(7);
  ASSERT_TRUE(held);
  int told = 0;
  std::jthread holder;
  auto then_let_go = [&] {
    ++told;
    holder = std::jthread([fd = std::move(*held)]() mutable {
      std::this_thread::sleep_for(milliseconds(50));
      Fd closed = std::move(fd);
    });
  };
  auto lock = lock_byte(path, 7, std::chrono::seconds(60), then_let_go);
  EXPECT_TRUE(lock) << lock.error().message;
  EXPECT_EQ(told, 1);
}
TEST_F(HostLockTest, PatienceEnds) {
  auto held = lock(7);
  auto late = lock(7, milliseconds(30));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kExists);
  EXPECT_NE(late.error().message.find(path), std::string::npos);
}
TEST_F(HostLockTest, NobodyElseCanOpenTheFile) {
  ASSERT_TRUE(lock(7));
  struct stat status{};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}
TEST_F(HostLockTest, FileOrLinkOfSomebodyElse_IsNotTrusted) {
  ASSERT_EQ(symlink("/etc/hostname", path.c_str()), 0);
  EXPECT_FALSE(lock(7));
  unlink(path.c_str());
  ASSERT_TRUE(lock(7));
  ASSERT_EQ(chmod(path.c_str(), 0666), 0);
  auto open_to_all = lock(7);
  ASSERT_FALSE(open_to_all);
  EXPECT_EQ(open_to_all.error().code, ErrorCode::kPermission);
}

}  // namespace
}  // namespace bulkhead
