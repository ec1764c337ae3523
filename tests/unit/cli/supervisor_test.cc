#include "cli/supervisor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>

namespace bulkhead {
namespace {

using namespace std::chrono_literals;

/// Whether the process runs: one that nobody has waited for yet doesn't.
bool is_alive(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string number, name, state;
  return stat >> number >> name >> state && state != "Z";
}

ChildProgram shell(const std::string& name, const std::string& script) {
  return {name, {"/bin/sh", "-c", script}, {}, false, {}};
}

/// supervise() in a process of its own, since it takes signals over; what it says comes through a pipe.
class Supervised {
 public:
  explicit Supervised(const std::vector<ChildProgram>& programs) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    pid_ = fork();
    if (pid_ == 0) {
      close(ends[0]);
      auto done = supervise(programs, [&](const std::string& from, const std::string& line) {
        dprintf(ends[1], "%s: %s\n", from.c_str(), line.c_str());
      });
      if (!done) dprintf(ends[1], "failed: %s\n", done.error().message.c_str());
      _exit(done ? 0 : 1);
    }
    close(ends[1]);
    output_ = ends[0];
  }
  ~Supervised() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(output_);
  }

  /// Reads on until `text` has been said; false after ten seconds.
  bool says(const std::string& text) {
    auto end = std::chrono::steady_clock::now() + 10s;
    while (said_.find(text) == std::string::npos) {
      if (std::chrono::steady_clock::now() > end || !read_some())
        return said_.find(text) != std::string::npos;
    }
    return true;
  }
  void signal(int number) { kill(pid_, number); }
  /// Its exit code, once it has ended.
  int wait() {
    while (read_some()) {
    }
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  const std::string& said() const { return said_; }

 private:
  bool read_some() {
    pollfd waited{output_, POLLIN, 0};
    if (poll(&waited, 1, 10'000) <= 0) return false;
    char buffer[1024];
    ssize_t count = read(output_, buffer, sizeof buffer);
    if (count <= 0) return false;
    said_.append(buffer, static_cast<size_t>(count));
    return true;
  }

  pid_t pid_;
  int output_;
  std::string said_;
};

TEST(Supervisor, LinesOfBothOutputs_CarryTheProgramsName) {
  Supervised run({shell("one", "echo out; echo err >&2; exec sleep 60")});
  EXPECT_TRUE(run.says("one: out\n"));
  EXPECT_TRUE(run.says("one: err\n"));
}

TEST(Supervisor, ProgramThatEndsAtOnce_EndsEverythingWithItsExitCode) {
  Supervised run({shell("one", "echo no such device; exit 3"), shell("two", "exec sleep 60")});
  EXPECT_EQ(run.wait(), 1);
  EXPECT_NE(run.said().find("one: no such device\n"), std::string::npos);
  EXPECT_NE(run.said().find("failed: the one didn't start: exit code 3"), std::string::npos) << run.said();
}

TEST(Supervisor, ProgramThatEndsAtOnceAndSaysThatAllIsWell_EndsEverythingToo) {
  Supervised run({shell("one", "exit 0"), shell("two", "exec sleep 60")});
  EXPECT_EQ(run.wait(), 1);
  EXPECT_NE(run.said().find("failed: the one didn't start: exit code 0"), std::string::npos) << run.said();
}

TEST(Supervisor, ProgramThatEndsLaterWithoutBeingAsked_IsStartedAgain) {
  std::string flag = testing::TempDir() + "bulkhead-supervisor-again-" + std::to_string(getpid());
  Supervised run({shell("one", "[ -e " + flag + " ] && exit 0; : > " + flag + "; kill -9 $$")});
  EXPECT_TRUE(run.says("the one died (killed by signal 9 (KILL)); starting it again in 100 ms"));
  EXPECT_TRUE(run.says("the one died (exit code 0); starting it again in 200 ms"));
  unlink(flag.c_str());
}

TEST(Supervisor, MissingProgram_EndsEverything) {
  Supervised run({{"one", {"/nonexistent/program"}, {}, false, {}}});
  EXPECT_EQ(run.wait(), 1);
  EXPECT_NE(run.said().find("one: starting /nonexistent/program: No such file or directory"),
            std::string::npos)
      << run.said();
}

/// Where setgroups(2) is denied, as in a container's user namespace.
TEST(Supervisor, UserThatNobodyCanBecome_IsNamedWithWhatFailed) {
  pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWUSER) != 0) _exit(3);
    ChildProgram program = shell("one", "exit 0");
    program.user = 7, program.group = 8;
    Supervised run({program});
    run.wait();
    _exit(run.said().find("one: giving up groups to become user 7: ") != std::string::npos ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WEXITSTATUS(status) == 3) GTEST_SKIP() << "needs a user namespace";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Supervisor, Termination_StopsTheLastProgramFirst) {
  Supervised run({shell("one", "trap 'echo stopped; exit 0' TERM; echo up; while :; do sleep 0.05; done"),
                  shell("two", "trap 'echo stopped; exit 0' TERM; echo up; while :; do sleep 0.05; done")});
  ASSERT_TRUE(run.says("one: up\n"));
  ASSERT_TRUE(run.says("two: up\n"));
  run.signal(SIGTERM);
  EXPECT_EQ(run.wait(), 0);
  size_t first = run.said().find("two: stopped"), second = run.said().find("one: stopped");
  EXPECT_NE(second, std::string::npos) << run.said();
  EXPECT_LT(first, second) << run.said();
}

TEST(Supervisor, Hangup_ReachesOnlyProgramsThatWantIt) {
  ChildProgram wants = shell("two", "trap 'echo hangup' HUP; echo up; while :; do sleep 0.05; done");
  wants.gets_hangup = true;
  Supervised run({shell("one", "trap 'echo hangup' HUP; echo up; while :; do sleep 0.05; done"), wants});
  ASSERT_TRUE(run.says("two: up\n"));
  run.signal(SIGHUP);
  EXPECT_TRUE(run.says("two: hangup\n"));
  EXPECT_EQ(run.said().find("one: hangup"), std::string::npos);
}

TEST(Supervisor, ProgramThatMayNotStartYet_WaitsForTheOneBefore) {
  std::string flag = testing::TempDir() + "bulkhead-supervisor-" + std::to_string(getpid());
  ChildProgram second = shell("two", "echo up; exec sleep 60");
  second.may_start = [flag] { return access(flag.c_str(), F_OK) == 0; };
  Supervised run({shell("one", "sleep 0.3; echo ready; : > " + flag + "; exec sleep 60"), second});
  EXPECT_TRUE(run.says("two: up\n"));
  EXPECT_LT(run.said().find("one: ready"), run.said().find("two: up"));
  unlink(flag.c_str());
}

TEST(Supervisor, KilledSupervisor_TakesItsProgramsAlong) {
  Supervised run({shell("one", "echo pid=$$; exec sleep 60")});
  ASSERT_TRUE(run.says("pid="));
  ASSERT_TRUE(run.says("\n"));
  pid_t child = std::stoi(run.said().substr(run.said().find("pid=") + 4));
  run.signal(SIGKILL);
  for (int i = 0; i < 100 && is_alive(child); ++i) usleep(50'000);
  EXPECT_FALSE(is_alive(child));
}

TEST(Supervisor, InheritedDescriptor_IsOpenUnderItsNumber) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  ASSERT_EQ(write(ends[1], "settings\n", 9), 9);
  close(ends[1]);
  ChildProgram program = shell("one", "cat /dev/fd/" + std::to_string(ends[0]) + "; exec sleep 60");
  program.inherited_fds = {ends[0]};
  Supervised run({program});
  EXPECT_TRUE(run.says("one: settings\n"));
  close(ends[0]);
}

}  // namespace
}  // namespace bulkhead
