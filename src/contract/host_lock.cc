#include "contract/host_lock.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <fstream>
#include <thread>
#include <vector>

namespace bulkhead {
namespace {

Expected<Fd> open_lock_file(const std::string& path) {
  Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail_errno(errno, "lock file " + path);
  struct stat status{};
  if (fstat(file.get(), &status) != 0) return fail_errno(errno, "lock file " + path);
  if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 0022) != 0)
    return fail(ErrorCode::kPermission, "lock file " + path + ": isn't a file that only user " +
                                            std::to_string(geteuid()) + " can write");
  return file;
}

/// Output: 0, or an error number; EAGAIN where somebody has the byte. Open file description locks: two
/// holders in one process exclude each other too.
int try_lock(const Fd& file, uint64_t byte) {
  struct flock wanted{};
  wanted.l_type = F_WRLCK;
  wanted.l_whence = SEEK_SET;
  wanted.l_start = static_cast<off_t>(byte);
  wanted.l_len = 1;
  while (fcntl(file.get(), F_OFD_SETLK, &wanted) != 0)
    if (errno != EINTR) return errno == EACCES ? EAGAIN : errno;
  return 0;
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  DIR* opened = opendir(directory.c_str());
  if (opened == nullptr) return names;
  while (dirent* entry = readdir(opened))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  closedir(opened);
  return names;
}

/// Whether one of the process' descriptors has the lock whose line in /proc/PID/fdinfo ends with `end`.
bool holds(const std::string& process, const std::string& end) {
  std::string directory = "/proc/" + process + "/fdinfo";
  for (const std::string& fd : names_in(directory)) {
    std::ifstream info(directory + "/" + fd);
    for (std::string line; std::getline(info, line);)
      if (line.starts_with("lock:") && line.ends_with(end)) return true;
  }
  return false;
}

/// The kernel itself doesn't say whose an open file description is.
std::string holder_of(const Fd& file, uint64_t byte) {
  struct stat status{};
  fstat(file.get(), &status);
  std::string place = std::to_string(byte);
  std::string end = ":" + std::to_string(status.st_ino) + " " + place + " " + place;
  for (const std::string& process : names_in("/proc"))
    if (std::isdigit(static_cast<unsigned char>(process[0])) != 0 && holds(process, end))
      return "process " + process;
  return "another process";
}

}  // namespace

Expected<Fd> lock_byte(const std::string& path, uint64_t byte, std::chrono::milliseconds patience,
                       const std::function<void()>& waiting) {
  using Clock = std::chrono::steady_clock;
  auto file = open_lock_file(path);
  if (!file) return file;
  Clock::time_point deadline = Clock::now() + patience;
  for (bool told = false;; told = true) {
    int error = try_lock(*file, byte);
    if (error == 0) return file;
    if (error != EAGAIN) return fail_errno(error, "lock file " + path);
    if (Clock::now() >= deadline)
      return fail(ErrorCode::kExists, path + " is locked by " + holder_of(*file, byte));
    if (!told && waiting) waiting();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace bulkhead
