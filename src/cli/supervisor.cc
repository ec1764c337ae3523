#include "cli/supervisor.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <deque>
#include <optional>

#include <fmt/format.h>

namespace bulkhead {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kFirstBackoff = 100ms;
constexpr auto kLastBackoff = 5s;
constexpr auto kEarly = 5s;          // of its first start: then something is wrong that a restart won't mend
constexpr auto kStable = 30s;        // having run for so long, the next death starts over with kFirstBackoff
constexpr auto kPatience = 60s;      // for may_start
constexpr auto kStopPatience = 10s;  // from a program's own signal to SIGKILL
constexpr size_t kLongestLine = 8192;

constexpr int kSignals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};

sigset_t handled_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : kSignals) sigaddset(&set, signal);
  return set;
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("killed by signal {} ({})", WTERMSIG(status), sigabbrev_np(WTERMSIG(status)));
  return fmt::format("exit code {}", WEXITSTATUS(status));
}

/// What a child tried last, in words that are made before it is forked.
struct Attempts {
  explicit Attempts(const ChildProgram& program)
      : groups(fmt::format("giving up groups to become user {}", program.user)),
        group(fmt::format("becoming group {} to become user {}", program.group, program.user)),
        user(fmt::format("becoming user {}", program.user)),
        start("starting " + program.arguments[0]) {}
  std::string groups, group, user, start;
};

/// Where it fails: what it tried; nullptr: done. Only async-signal-safe calls.
const char* become_user(const ChildProgram& program, const Attempts& attempts) {
  if (program.user == 0) return nullptr;
  if (setgroups(0, nullptr) != 0) return attempts.groups.c_str();
  if (setresgid(program.group, program.group, program.group) != 0) return attempts.group.c_str();
  if (setresuid(program.user, program.user, program.user) != 0) return attempts.user.c_str();
  return nullptr;
}

/// In the child, between fork and exec: only async-signal-safe calls. A child dies with its supervisor, and
/// without a clean stop, which would hand the interfaces back to the kernel: the guards stay and drop what
/// comes.
[[noreturn]] void become(const ChildProgram& program, const Attempts& attempts, char* const* argv, int output,
                         pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  setpgid(0, 0);  // Ctrl-C is for the supervisor, which stops its children in order
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  for (int fd : program.inherited_fds) fcntl(fd, F_SETFD, 0);
  const char* failed = become_user(program, attempts);
  if (failed == nullptr) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // forgotten where the user changes (prctl(2))
    if (getppid() != parent) _exit(1);
    execv(argv[0], argv);
    failed = attempts.start.c_str();
  }
  const char* reason = strerrordesc_np(errno);
  for (const char* part : {failed, ": ", reason}) [[maybe_unused]]
    ssize_t told = write(STDERR_FILENO, part, std::strlen(part));
  _exit(127);
}

/// A program and the process that runs it now.
class Child {
 public:
  Child(const ChildProgram& program, const LineSink& sink) : program_(program), sink_(sink) {}

  const ChildProgram& program() const { return program_; }
  pid_t pid() const { return pid_; }
  bool running() const { return pid_ > 0; }
  int output() const { return output_.get(); }
  Clock::time_point start_at() const { return start_at_; }

  /// Starts it. Errors: kSystem.
  Expected<void> start();
  /// Takes note of its end. Errors: kInvalid where it died so early that trying again makes no sense.
  Expected<void> ended(int status, bool stopping);
  /// Passes on what it has written, line by line; false at the end.
  bool read_output();
  void signal(int number) const {
    if (running()) kill(pid_, number);
  }

 private:
  const ChildProgram& program_;
  const LineSink& sink_;
  pid_t pid_ = 0;
  Fd output_;
  std::string unfinished_;
  unsigned starts_ = 0;
  Clock::time_point started_{}, start_at_ = Clock::now();
  std::chrono::milliseconds backoff_ = kFirstBackoff;
};

Expected<void> Child::start() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "a pipe for " + program_.name);
  Fd reading(ends[0]), writing(ends[1]);
  fcntl(reading.get(), F_SETFL, O_NONBLOCK);
  std::vector<char*> argv;
  for (const std::string& argument : program_.arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const Attempts attempts(program_);
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid < 0) return fail_errno(errno, "starting " + program_.name);
  if (pid == 0) become(program_, attempts, argv.data(), writing.get(), parent);
  pid_ = pid;
  output_ = std::move(reading);
  started_ = Clock::now();
  ++starts_;
  return {};
}

Expected<void> Child::ended(int status, bool stopping) {
  read_output();
  if (!unfinished_.empty()) sink_(program_.name, std::exchange(unfinished_, {}));
  pid_ = 0;
  output_ = Fd();
  if (stopping) return {};
  auto ran = Clock::now() - started_;
  if (starts_ == 1 && ran < kEarly && WIFEXITED(status))  // a signal is a crash, which a restart may mend
    return fail(ErrorCode::kInvalid, "the " + program_.name + " didn't start: " + how_it_ended(status) +
                                         "; what it said stands above");
  if (ran > kStable) backoff_ = kFirstBackoff;
  sink_("", fmt::format("the {} died ({}); starting it again in {} ms", program_.name, how_it_ended(status),
                        backoff_.count()));
  start_at_ = Clock::now() + backoff_;
  backoff_ = std::min<std::chrono::milliseconds>(backoff_ * 2, kLastBackoff);
  return {};
}

bool Child::read_output() {
  char buffer[4096];
  ssize_t count;
  while (output_ && (count = read(output_.get(), buffer, sizeof buffer)) > 0) {
    unfinished_.append(buffer, static_cast<size_t>(count));
    for (size_t end;
         (end = unfinished_.find('\n')) != std::string::npos || unfinished_.size() > kLongestLine;) {
      end = std::min({end, unfinished_.size(), kLongestLine});
      sink_(program_.name, unfinished_.substr(0, end));
      bool line_feed = end < unfinished_.size() && unfinished_[end] == '\n';
      unfinished_.erase(0, end + (line_feed ? 1 : 0));
    }
  }
  return !output_ || (count < 0 && errno == EAGAIN);
}

class Supervisor {
 public:
  Supervisor(const std::vector<ChildProgram>& programs, const LineSink& sink, Fd signals)
      : sink_(sink), signals_(std::move(signals)) {
    for (const ChildProgram& program : programs) children_.emplace_back(program, sink);
  }

  Expected<void> run();

 private:
  Expected<void> start_due();
  int wait_ms() const;
  void wait();
  void read_signals();
  Expected<void> reap();
  void step_stop();
  bool all_ended() const { return std::ranges::none_of(children_, &Child::running); }

  const LineSink& sink_;
  Fd signals_;
  std::deque<Child> children_;
  size_t started_ = 0;  ///< so many of `children_` have had their first start
  Clock::time_point waiting_since_ = Clock::now();
  bool stopping_ = false;
  Child* being_stopped_ = nullptr;
  Clock::time_point kill_at_{};
};

/// First starts in order, each when it may; then restarts that are due.
Expected<void> Supervisor::start_due() {
  if (started_ < children_.size()) {
    Child& next = children_[started_];
    bool may =
        !next.program().may_start || next.program().may_start() || Clock::now() > waiting_since_ + kPatience;
    if (may) {
      if (auto started = next.start(); !started) return started;
      ++started_;
      waiting_since_ = Clock::now();
    }
  }
  for (size_t i = 0; i < started_; ++i)
    if (!children_[i].running() && Clock::now() >= children_[i].start_at())
      if (auto started = children_[i].start(); !started) return started;
  return {};
}

int Supervisor::wait_ms() const {
  if (started_ < children_.size()) return 20;
  auto until = Clock::now() + 1h;
  for (const Child& child : children_)
    if (!child.running() && !stopping_) until = std::min(until, child.start_at());
  if (stopping_) until = std::min(until, kill_at_);
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count() + 1;
  return static_cast<int>(std::max<int64_t>(left, 0));
}

void Supervisor::wait() {
  std::vector<pollfd> polled{{signals_.get(), POLLIN, 0}};
  for (const Child& child : children_)
    polled.push_back({child.output(), POLLIN, 0});  // poll() passes over -1
  if (poll(polled.data(), polled.size(), wait_ms()) <= 0) return;
  for (size_t i = 0; i < children_.size(); ++i)
    if (polled[i + 1].revents != 0 && !children_[i].read_output())
      usleep(1000);  // it closed its output, and is about to end
  if (polled[0].revents != 0) read_signals();
}

void Supervisor::read_signals() {
  signalfd_siginfo info;
  while (read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGHUP) {
      for (const Child& child : children_)
        if (child.program().gets_hangup) child.signal(SIGHUP);
    } else if (info.ssi_signo != SIGCHLD) {
      if (!stopping_)
        sink_("", fmt::format("stopping on SIG{}", sigabbrev_np(static_cast<int>(info.ssi_signo))));
      stopping_ = true;
    }
  }
}

Expected<void> Supervisor::reap() {
  Expected<void> result;
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    auto child = std::ranges::find(children_, pid, &Child::pid);
    if (child == children_.end()) continue;
    if (auto ended = child->ended(status, stopping_); !ended) result = ended;
  }
  return result;
}

/// One program after the other, the last first: its own signal, and SIGKILL when it doesn't listen.
void Supervisor::step_stop() {
  if (being_stopped_ != nullptr && being_stopped_->running()) {
    if (Clock::now() < kill_at_) return;
    sink_("", "the " + being_stopped_->program().name + " doesn't stop; killing it");
    being_stopped_->signal(SIGKILL);
    kill_at_ = Clock::now() + kStopPatience;
    return;
  }
  for (size_t i = children_.size(); i-- > 0;) {
    if (!children_[i].running()) continue;
    being_stopped_ = &children_[i];
    being_stopped_->signal(being_stopped_->program().stop_signal);
    kill_at_ = Clock::now() + kStopPatience;
    return;
  }
}

Expected<void> Supervisor::run() {
  Expected<void> result;
  while (true) {
    if (auto reaped = reap(); !reaped && result) {
      result = reaped;
      stopping_ = true;
    }
    if (stopping_) {
      started_ = children_.size();
      step_stop();
      if (all_ended()) return result;
    } else if (auto started = start_due(); !started) {
      result = started;
      stopping_ = true;
      continue;
    }
    wait();
  }
}

}  // namespace

Expected<void> supervise(const std::vector<ChildProgram>& programs, const LineSink& sink) {
  sigset_t handled = handled_signals(), before;
  sigprocmask(SIG_BLOCK, &handled, &before);
  Fd signals(signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return fail_errno(errno, "signalfd");
  // Whoever reads our lines may go first; that is no reason to end without stopping the others in order.
  auto pipe_before = signal(SIGPIPE, SIG_IGN);
  auto result = Supervisor(programs, sink, std::move(signals)).run();
  signal(SIGPIPE, pipe_before);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  return result;
}

}  // namespace bulkhead
