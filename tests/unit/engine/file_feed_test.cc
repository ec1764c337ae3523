// Every way in which a policy directory changes is seen, once, and soon.
#include "controlplane/feeds/file_feed.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "tests/unit/engine/temporary_directory.h"

namespace bulkhead::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr int64_t kMillisecond = 1'000'000;

std::string segment(const std::string& name, int tag) {
  return "segments:\n  " + name + ": {tag: " + std::to_string(tag) + ", members: [10." +
         std::to_string(tag % 200) + ".0.0/16]}\n";
}

struct FileFeedTest : testing::Test {
  TemporaryDirectory directory;
  std::optional<FileFeed> feed;

  void SetUp() override {
    directory.write("policy/a.yaml", segment("web", 100));
    open("policy");
    EXPECT_EQ(names(next(0ms)), "web ");
  }
  void open(const std::string& name) {
    auto opened = FileFeed::open(directory.path(name));
    ASSERT_TRUE(opened) << opened.error().message;
    feed.emplace(std::move(*opened));
  }
  /// The wall clock, by which nothing is young any more that has just been written.
  static WallTime later_wall() { return WallTime{wall_now().ns + FileFeed::kSettled.count()}; }
  /// Runs the feed as the control loop does, until it gives a reading or `within` has passed.
  std::optional<PolicyReading> next(std::chrono::milliseconds within = 1500ms) {
    BootTime end{boot_now().ns + within.count() * kMillisecond};
    do {
      if (auto reading = feed->read_if_due(boot_now(), later_wall())) return reading;
      int64_t wait = std::min(feed->next_wake().ns, end.ns) - boot_now().ns;
      pollfd fd{feed->fd(), POLLIN, 0};
      ::poll(&fd, 1, static_cast<int>(std::max<int64_t>(0, wait / kMillisecond + 1)));
    } while (boot_now() < end);
    return std::nullopt;
  }
  static std::string names(const std::optional<PolicyReading>& reading) {
    if (!reading) return "nothing";
    if (!reading->loaded.policy) return "refused";
    std::string names;
    for (const Segment& segment : reading->loaded.policy->segments) names += segment.name + " ";
    return names;
  }
};
using FileFeed_ = FileFeedTest;

TEST_F(FileFeed_, NothingChanged_NothingIsRead) {
  EXPECT_EQ(names(next(300ms)), "nothing");
}

TEST_F(FileFeed_, OtherFilesInTheDirectory_AreNothing) {
  std::ofstream swap(
      directory.path("policy/.a.yaml.swp"));  // as an editor has it open, and writes it now and then
  swap << "x" << std::flush;
  directory.write("policy/README", "x");
  fs::remove(directory.path("policy/README"));
  EXPECT_EQ(names(next(300ms)), "nothing");
}

TEST_F(FileFeed_, FileEditedInPlace_IsRead) {
  directory.write("policy/a.yaml", segment("edited", 101));
  EXPECT_EQ(names(next()), "edited ");
}

TEST_F(FileFeed_, FileCreated_IsRead) {
  directory.write("policy/b.yaml", segment("db", 200));
  EXPECT_EQ(names(next()), "db web ");
}

TEST_F(FileFeed_, FileRenamedOver_IsRead) {
  directory.write("new.yaml", segment("renamed", 102));
  fs::rename(directory.path("new.yaml"), directory.path("policy/a.yaml"));
  EXPECT_EQ(names(next()), "renamed ");
}

TEST_F(FileFeed_, FileDeleted_IsRead) {
  fs::remove(directory.path("policy/a.yaml"));
  auto reading = next();
  ASSERT_TRUE(reading);
}

TEST_F(FileFeed_, DirectoryReplaced_IsReadAndWatchedOn) {
  directory.write("new/a.yaml", segment("second", 103));
  fs::rename(directory.path("policy"), directory.path("old"));
  fs::rename(directory.path("new"), directory.path("policy"));
  EXPECT_EQ(names(next()), "second ");
  directory.write("policy/a.yaml", segment("third", 104));
  EXPECT_EQ(names(next()), "third ");
  directory.write("old/a.yaml", segment("gone", 105));
  EXPECT_EQ(names(next(300ms)), "nothing") << "the directory that was moved away is none of ours";
}

TEST_F(FileFeed_, DirectoryGone_IsAnErrorAndItsReturnIsRead) {
  fs::rename(directory.path("policy"), directory.path("away"));
  EXPECT_EQ(names(next()), "refused");
  fs::rename(directory.path("away"), directory.path("policy"));
  EXPECT_EQ(names(next()), "web ");
}

/// A ConfigMap's volume: FILE -> ..data/FILE, ..data -> ..TIMESTAMP, which is switched by a rename.
TEST_F(FileFeed_, KubernetesSymlinkSwitched_IsRead) {
  directory.write("map/..1/a.yaml", segment("one", 110));
  fs::create_directory_symlink("..1", directory.path("map/..data"));
  fs::create_symlink("..data/a.yaml", directory.path("map/a.yaml"));
  open("map");
  EXPECT_EQ(names(next()), "one ");
  directory.write("map/..2/a.yaml", segment("two", 111));
  fs::create_directory_symlink("..2", directory.path("map/..data_tmp"));
  fs::rename(directory.path("map/..data_tmp"), directory.path("map/..data"));
  EXPECT_EQ(names(next()), "two ");
  fs::remove(directory.path("map/..data"));  // by hand, without the rename
  fs::create_directory_symlink("..1", directory.path("map/..data"));
  EXPECT_EQ(names(next()), "one ");
}

TEST_F(FileFeed_, DirectoryIsASymlinkThatIsSwitched_IsRead) {
  directory.write("releases/1/a.yaml", segment("one", 110));
  directory.write("releases/2/a.yaml", segment("two", 111));
  fs::create_directory_symlink("releases/1", directory.path("current"));
  open("current");
  EXPECT_EQ(names(next()), "one ");
  fs::create_directory_symlink("releases/2", directory.path("next"));
  fs::rename(directory.path("next"), directory.path("current"));
  EXPECT_EQ(names(next()), "two ");
}

TEST_F(FileFeed_, MembersFileOutsideTheDirectory_IsWatched) {
  directory.write("lists/web.csv", "prefix\n10.9.0.1\n");
  directory.write("policy/a.yaml", "segments:\n  web: {tag: 100, members_file: ../lists/web.csv}\n");
  auto reading = next();
  ASSERT_TRUE(reading && reading->loaded.policy)
      << (reading ? to_string(reading->loaded.diagnostics.at(0)) : "nothing");
  EXPECT_EQ(reading->loaded.policy->segments[0].members.size(), 1u);
  directory.write("lists/web.csv", "prefix\n10.9.0.1\n10.9.0.2\n");
  reading = next();
  ASSERT_TRUE(reading && reading->loaded.policy);
  EXPECT_EQ(reading->loaded.policy->segments[0].members.size(), 2u);
}

TEST_F(FileFeed_, MembersFileThatWasMissing_IsReadWhenItComes) {
  fs::create_directory(directory.path("lists"));
  directory.write("policy/a.yaml", "segments:\n  web: {tag: 100, members_file: ../lists/web.csv}\n");
  EXPECT_EQ(names(next()), "refused");
  directory.write("lists/web.csv", "prefix\n10.9.0.1\n");
  EXPECT_EQ(names(next()), "web ");
}

TEST_F(FileFeed_, BrokenFile_IsReadAsErrors) {
  directory.write("policy/a.yaml", "segments: [\n");
  auto reading = next();
  ASSERT_TRUE(reading);
  EXPECT_FALSE(reading->loaded.policy);
  EXPECT_TRUE(has_errors(reading->loaded.diagnostics));
}

TEST_F(FileFeed_, ChangeIsTimedFromWhenItWasFirstSeen) {
  BootTime before = boot_now();
  directory.write("policy/b.yaml", segment("db", 200));
  feed->read_if_due(boot_now(), later_wall());  // sees it, and waits for more
  BootTime seen_by = boot_now();
  auto reading = next();
  ASSERT_TRUE(reading);
  EXPECT_GE(reading->seen, before);
  EXPECT_LE(reading->seen, seen_by);
}

TEST_F(FileFeed_, ReadAnyway_ReadsWhatDidNotChange) {
  feed->read_anyway(boot_now());
  EXPECT_EQ(names(next(100ms)), "web ");
}

/// What is read when, on a clock that stands still unless it is moved. inotify tells of a change before the
/// call that makes it returns, so nothing here depends on how fast anything runs.
struct FileFeedTiming : FileFeedTest {
  BootTime now = boot_now();

  void SetUp() override {
    FileFeedTest::SetUp();
    now = boot_now();
    EXPECT_EQ(read(), "nothing");
  }
  void pass(Nanoseconds time) { now = BootTime{now.ns + time.count()}; }
  std::string read() { return names(feed->read_if_due(now, later_wall())); }
  /// The same, by a clock for which what has just been written is young.
  std::string read_young() { return names(feed->read_if_due(now, wall_now())); }
  /// Puts a file into the directory as a deployment does, by a rename.
  void put(const std::string& name, const std::string& text) const {
    directory.write("fresh", text);
    fs::rename(directory.path("fresh"), directory.path("policy/" + name));
  }
};
using Feed_ = FileFeedTiming;

TEST_F(Feed_, RenamedIntoPlace_IsReadAtOnce) {
  put("a.yaml", segment("renamed", 102));
  EXPECT_EQ(read(), "nothing");
  EXPECT_EQ(feed->next_wake().ns, now.ns + FileFeed::kTogether.count());
  pass(FileFeed::kTogether);
  EXPECT_EQ(read(), "renamed ");
  pass(FileFeed::kLook);
  EXPECT_EQ(read(), "nothing");
}

TEST_F(Feed_, WrittenAndClosed_IsReadAtOnce) {
  directory.write("policy/a.yaml", segment("edited", 101));
  directory.write("policy/b.yaml", segment("new", 102));
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kTogether);
  EXPECT_EQ(read(), "edited new ");
}

TEST_F(Feed_, OpenForWriting_IsNotReadBeforeItIsClosed) {
  std::ofstream half(directory.path("policy/a.yaml"));
  half << segment("first", 101) << std::flush;  // valid as it is, and not what it will be
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(read(), "nothing");
    pass(FileFeed::kLatest);
  }
  half << "  second: {tag: 102, members: [10.102.0.0/16]}\n";
  half.close();
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kTogether);
  EXPECT_EQ(read(), "first second ");
}

TEST_F(Feed_, OpenForWriting_HoldsBackOtherFilesToo) {
  std::ofstream half(directory.path("policy/a.yaml"));
  half << segment("first", 101) << std::flush;
  put("b.yaml", segment("db", 200));
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kLatest);
  EXPECT_EQ(read(), "nothing");
  EXPECT_EQ(feed->waiting_for(now), directory.path("policy/a.yaml"));
  half.close();
  EXPECT_EQ(read(), "nothing");
  EXPECT_EQ(feed->waiting_for(now), "");
  pass(FileFeed::kTogether);
  EXPECT_EQ(read(), "db first ");
}

TEST_F(Feed_, WriterThatNeitherWritesNorCloses_IsWaitedForNoLongerThanThat) {
  std::ofstream stuck(directory.path("policy/a.yaml"));
  stuck << segment("stuck", 101) << std::flush;
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kAbandoned - 1ns);
  EXPECT_EQ(read(), "nothing");
  stuck << "\n" << std::flush;
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kAbandoned - 1ns);
  EXPECT_EQ(read(), "nothing");
  pass(1ns);
  EXPECT_EQ(read(), "stuck ");
}

TEST_F(Feed_, ReadAnyway_WaitsAMomentForAWriterAndNotForOneWhoIsStuck) {
  std::ofstream half(directory.path("policy/a.yaml"));
  half << segment("first", 101) << std::flush;
  EXPECT_EQ(read(), "nothing");
  feed->read_anyway(now);
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kSettled - 1ns);
  half << "  second: {tag: 102, members: [10.102.0.0/16]}\n" << std::flush;
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kSettled - 1ns);
  EXPECT_EQ(read(), "nothing");
  pass(1ns);
  EXPECT_EQ(read(), "first second ") << "open, and not written any more";
}

TEST_F(Feed_, ReadAnyway_ReadsAtOnceWhatIsWhole) {
  directory.write("policy/a.yaml", segment("edited", 101));
  feed->read_anyway(now);
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kTogether);
  EXPECT_EQ(read(), "edited ");
}

TEST_F(Feed_, ReadAnyway_HurriesOnlyOneReading) {
  feed->read_anyway(now);
  EXPECT_EQ(read(), "web ");
  std::ofstream half(directory.path("policy/a.yaml"));
  half << segment("first", 101) << std::flush;
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kAbandoned - 1ns);
  EXPECT_EQ(read(), "nothing");
}

/// Whoever had it open before it was watched; nothing has told of that.
TEST_F(Feed_, YoungFileAtTheStart_IsReadOnceItHasSettled) {
  directory.write("policy/a.yaml", segment("young", 106));
  open("policy");
  now = boot_now();
  EXPECT_EQ(read_young(), "nothing");
  EXPECT_EQ(feed->waiting_for(BootTime{now.ns + 1}), directory.path("policy/a.yaml"));
  EXPECT_TRUE(feed->is_first());
  pass(FileFeed::kSettled);
  EXPECT_EQ(read_young(), "young ");
  EXPECT_FALSE(feed->is_first());
}

TEST_F(Feed_, FileThatIsWrittenAtTheStart_IsNotReadBeforeItIsClosed) {
  std::ofstream half(directory.path("policy/a.yaml"));
  half << segment("first", 101) << std::flush;
  open("policy");
  now = boot_now();
  EXPECT_EQ(read_young(), "nothing");
  pass(FileFeed::kSettled - 1ns);
  half << "  second: {tag: 102, members: [10.102.0.0/16]}\n" << std::flush;
  EXPECT_EQ(read_young(), "nothing");
  for (int i = 0; i < 3; ++i) {
    pass(2 * FileFeed::kSettled);
    EXPECT_EQ(read_young(), "nothing") << "it is known to be written by now";
  }
  half.close();
  EXPECT_EQ(read_young(), "nothing");
  pass(FileFeed::kTogether);
  EXPECT_EQ(read_young(), "nothing");
  pass(FileFeed::kSettled);
  EXPECT_EQ(read_young(), "first second ");
}

/// By a name that isn't watched, as over NFS: no event tells of what it is written.
TEST_F(Feed_, FileThatChangesUnseenAtTheStart_IsWaitedForAnew) {
  fs::create_hard_link(directory.path("policy/a.yaml"), directory.path("other-name"));
  open("policy");
  now = boot_now();
  EXPECT_EQ(read_young(), "nothing");
  pass(FileFeed::kSettled - 1ns);
  directory.write("other-name", segment("whole-now", 105));
  pass(1ns);
  EXPECT_EQ(read_young(), "nothing");
  pass(FileFeed::kSettled - 1ns);
  EXPECT_EQ(read_young(), "nothing");
  pass(1ns);
  EXPECT_EQ(read_young(), "whole-now ");
}

TEST_F(Feed_, OldFilesAtTheStart_AreReadAtOnce) {
  open("policy");
  now = boot_now();
  EXPECT_EQ(read(), "web ");
}

TEST_F(Feed_, ClockBehindTheFiles_IsNoReasonToWaitForEver) {
  open("policy");
  now = boot_now();
  auto read_in_1990 = [&] { return names(feed->read_if_due(now, WallTime{631'152'000'000'000'000})); };
  EXPECT_EQ(read_in_1990(), "nothing");
  pass(FileFeed::kSettled);
  EXPECT_EQ(read_in_1990(), "web ");
}

TEST_F(Feed_, MembersFileThatIsNamedFirst_IsReadOnceItHasSettled) {
  std::ofstream half;
  fs::create_directory(directory.path("lists"));
  half.open(directory.path("lists/web.csv"));
  half << "prefix\n10.9.0.1\n" << std::flush;
  put("a.yaml", "segments:\n  web: {tag: 100, members_file: ../lists/web.csv}\n");
  EXPECT_EQ(read_young(), "nothing");
  pass(FileFeed::kTogether);
  EXPECT_EQ(read_young(), "nothing");
  half << "10.9.0.2\n" << std::flush;
  EXPECT_EQ(read_young(), "nothing");
  pass(FileFeed::kSettled);
  EXPECT_EQ(read_young(), "nothing") << "it is known to be written by now";
  half.close();
  read_young(), pass(FileFeed::kTogether);
  EXPECT_EQ(read_young(), "nothing");
  pass(FileFeed::kSettled);
  auto reading = feed->read_if_due(now, wall_now());
  ASSERT_TRUE(reading && reading->loaded.policy);
  EXPECT_EQ(reading->loaded.policy->segments[0].members.size(), 2u);
}

TEST_F(Feed_, DirectoryThatIsMadeAnew_IsReadOnceItHasSettled) {
  fs::remove_all(directory.path("policy"));
  read_young(), pass(FileFeed::kReplaced);
  EXPECT_EQ(read_young(), "refused");
  directory.write("policy/a.yaml", segment("anew", 107));  // before the directory can be watched
  EXPECT_EQ(read_young(), "nothing");
  pass(FileFeed::kReplaced);
  EXPECT_EQ(read_young(), "nothing");
  pass(FileFeed::kSettled);
  EXPECT_EQ(read_young(), "anew ");
}

TEST_F(Feed_, DirectoryThatIsRenamedIntoPlace_IsWhole) {
  directory.write("new/a.yaml", segment("second", 103));
  fs::rename(directory.path("policy"), directory.path("old"));
  fs::rename(directory.path("new"), directory.path("policy"));
  EXPECT_EQ(read_young(), "nothing");
  pass(FileFeed::kReplaced);
  EXPECT_EQ(read_young(), "second ");
}

/// git and some editors remove a file, or rename it away, before they write it anew.
TEST_F(Feed_, RemovedAndWrittenAnew_IsNeverReadWithoutIt) {
  fs::remove(directory.path("policy/a.yaml"));
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kReplaced - 1ns);
  EXPECT_EQ(read(), "nothing");
  std::ofstream fresh(directory.path("policy/a.yaml"));
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kReplaced - 1ns);
  EXPECT_EQ(read(), "nothing");
  fresh << segment("fresh", 103);
  fresh.close();
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kTogether);
  EXPECT_EQ(read(), "fresh ");
}

TEST_F(Feed_, Removed_IsReadWhenItDoesNotComeBack) {
  put("b.yaml", segment("db", 200));
  read(), pass(FileFeed::kTogether);
  EXPECT_EQ(read(), "db web ");
  fs::rename(directory.path("policy/a.yaml"), directory.path("a.yaml"));
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kReplaced - 1ns);
  EXPECT_EQ(read(), "nothing");
  pass(1ns);
  EXPECT_EQ(read(), "db ");
}

TEST_F(Feed_, ManyFiles_AreOneReading) {
  for (int i = 0; i < 20; ++i) {
    put("f" + std::to_string(i) + ".yaml", segment("s" + std::to_string(i), 120 + i));
    pass(FileFeed::kTogether - 1ns);
    EXPECT_EQ(read(), "nothing");
  }
  pass(FileFeed::kTogether);
  auto reading = feed->read_if_due(now, wall_now());
  ASSERT_TRUE(reading && reading->loaded.policy);
  EXPECT_EQ(reading->loaded.policy->segments.size(), 21u);
}

TEST_F(Feed_, ChangeWithoutEnd_IsReadAfterTheLatest) {
  BootTime begun = now;
  std::string found = "nothing";
  while (found == "nothing") {
    ASSERT_LE(now.ns - begun.ns, FileFeed::kLatest.count());
    put("b.yaml", segment("db", 200));
    found = read();
    pass(FileFeed::kTogether / 2);
  }
  EXPECT_EQ(found, "db web ");
}

/// A file that is reached in a way that inotify doesn't see: by another of its names.
TEST_F(Feed_, ChangeThatInotifyMisses_IsReadWhenTwoLooksFindTheSame) {
  fs::create_hard_link(directory.path("policy/a.yaml"), directory.path("other-name"));
  directory.write("other-name", segment("half", 104));
  pass(FileFeed::kLook);
  EXPECT_EQ(read(), "nothing");
  directory.write("other-name", segment("whole-now", 105));
  pass(FileFeed::kLook);
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kLook);
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kTogether);
  EXPECT_EQ(read(), "whole-now ");
}

TEST_F(Feed_, FirstReading_KnowsTheFilesThatItNames) {
  directory.write("lists/web.csv", "prefix\n10.9.0.1\n");
  directory.write("policy/a.yaml", "segments:\n  web: {tag: 100, members_file: ../lists/web.csv}\n");
  WallTime much_later{wall_now().ns + 1'000'000'000};  // so that none of it is young
  open("policy");
  now = boot_now();
  EXPECT_EQ(names(feed->read_if_due(now, much_later)), "web ");
  for (int i = 0; i < 3; ++i) {
    pass(FileFeed::kLook);
    EXPECT_EQ(read(), "nothing") << "nothing has changed since";
  }
}

TEST_F(Feed_, FileThatIsMadeAnew_IsNotReadBeforeItIsClosed) {
  put("b.yaml", segment("db", 200));
  read(), pass(FileFeed::kTogether);
  EXPECT_EQ(read(), "db web ");
  std::filesystem::remove(directory.path("policy/a.yaml"));
  std::ofstream fresh(directory.path("policy/a.yaml"));  // open, and nothing in it yet
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kReplaced);
  EXPECT_EQ(read(), "nothing");
  fresh << segment("app", 300);
  fresh.close();
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kTogether);
  EXPECT_EQ(read(), "app db ");
}
TEST_F(Feed_, HalfWrittenFile_StaysHalfWhenEventsAreLost) {
  std::ofstream half(directory.path("policy/a.yaml"));
  half << segment("first", 101) << std::flush;
  EXPECT_EQ(read(), "nothing");
  for (int i = 0; i < 12'000; ++i) {  // more events than the kernel keeps, of files that aren't policy
    directory.write("policy/x.tmp", "x");
    directory.write("policy/y.tmp", "x");
  }
  EXPECT_EQ(read(), "nothing");
  pass(FileFeed::kReplaced);
  EXPECT_EQ(read(), "nothing");
}

/// Runs `body` in a process in whose user namespace the kernel has no inotify watch left; false: it can't be.
bool without_watches(const std::function<void()>& body) {
  pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWUSER) != 0) _exit(77);
    std::ofstream limit("/proc/sys/user/max_inotify_watches");
    if (!(limit << "0" << std::flush)) _exit(77);
    body();
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) return false;
  EXPECT_EQ(status, 0);
  return true;
}

TEST_F(Feed_, NoWatchLeft_IsToldAndChangesAreFoundAllTheSame) {
  EXPECT_EQ(feed->blind(), "");
  bool could = without_watches([&] {
    open("policy");
    now = boot_now();
    EXPECT_EQ(read(), "web ");
    EXPECT_NE(
        feed->blind().find(" can't be watched: No space left on device; raise fs.inotify.max_user_watches"),
        std::string::npos)
        << feed->blind();
    directory.write("policy/a.yaml", segment("edited", 101));
    pass(FileFeed::kLook);
    EXPECT_EQ(read(), "nothing");
    pass(FileFeed::kLook);
    EXPECT_EQ(read(), "nothing");
    pass(FileFeed::kTogether);
    EXPECT_EQ(read(), "edited ");
    std::ofstream("/proc/sys/user/max_inotify_watches") << "1000";
    pass(FileFeed::kLook);
    EXPECT_EQ(read(), "nothing");
    EXPECT_EQ(feed->blind(), "") << "there is room again";
  });
  if (!could) GTEST_SKIP() << "no user namespace to be had, in which to run out of watches";
}

}  // namespace
}  // namespace bulkhead::test
