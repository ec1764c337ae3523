// What other processes of the dataplane's user may do to it.
#include "dataplane/fastpath/privileges.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace bulkhead {
namespace {

/// Whether another process of `user`, no parent of it, can open the memory of one that has called `prepare`.
template <class Prepare>
bool can_be_inspected(uid_t user, Prepare prepare) {
  int ready[2], over[2];
  EXPECT_EQ(pipe(ready) | pipe(over), 0);
  char byte = 0;
  pid_t inspected = fork();
  if (inspected == 0) {
    bool done = setresuid(user, user, user) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0 && prepare();
    close(over[1]);
    if (!done || write(ready[1], &byte, 1) != 1) _exit(1);
    [[maybe_unused]] ssize_t ended = read(over[0], &byte, 1);
    _exit(0);
  }
  close(ready[1]);
  EXPECT_EQ(read(ready[0], &byte, 1), 1) << "it could not be made ready";
  pid_t inspector = fork();
  if (inspector == 0) {
    if (setresuid(user, user, user) != 0) _exit(2);
    _exit(open(("/proc/" + std::to_string(inspected) + "/mem").c_str(), O_RDWR) >= 0 ? 1 : 0);
  }
  int status = 0;
  waitpid(inspector, &status, 0);
  for (int fd : {over[0], over[1], ready[0]}) close(fd);
  waitpid(inspected, nullptr, 0);
  EXPECT_NE(WEXITSTATUS(status), 2);
  return WEXITSTATUS(status) == 1;
}

TEST(Privileges, ProcessOfTheSameUser_CannotInspectTheDataplane) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become a user who may be inspected by himself";
  ASSERT_TRUE(can_be_inspected(kNobody, [] { return true; })) << "this host lets nobody inspect anybody";
  EXPECT_FALSE(can_be_inspected(kNobody, [] { return forbid_inspection().has_value(); }));
}

}  // namespace
}  // namespace bulkhead
