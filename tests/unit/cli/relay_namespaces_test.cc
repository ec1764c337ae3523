#include "cli/relay_namespaces.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

namespace bulkhead {
namespace {

using namespace std::chrono_literals;

/// Whether all children of this process end, those of its children that died too.
bool all_end() {
  for (int i = 0; i < 200; ++i, std::this_thread::sleep_for(10ms)) {
    pid_t ended;
    while ((ended = waitpid(-1, nullptr, WNOHANG)) > 0) {
    }
    if (ended < 0) return true;
  }
  return false;
}

/// Killed at one moment after the other while it makes namespaces.
TEST(RelayNamespaces, SupervisorThatIsKilled_LeavesNoHolderBehind) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  pid_t watcher = fork();  // so that whom it looks after is nobody else's child
  if (watcher == 0) {
    setpgid(0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int i = 0; i < 60; ++i) {
      pid_t supervisor = fork();
      if (supervisor == 0)
        for (;;)
          if (!make_relay_namespaces({65534, 65534})) _exit(1);
      std::this_thread::sleep_for(1ms + i * 100us);
      kill(supervisor, SIGKILL);
      waitpid(supervisor, nullptr, 0);
    }
    bool ended = all_end();
    if (!ended) kill(0, SIGKILL);  // the rest of its process group, this one included
    _exit(0);
  }
  int status = 0;
  waitpid(watcher, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "holders are left";
}

}  // namespace
}  // namespace bulkhead
