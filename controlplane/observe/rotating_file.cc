#include "controlplane/observe/rotating_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace bulkhead {
namespace {

std::string numbered(const std::string& path, uint32_t number) {
  return path + "." + std::to_string(number);
}

/// Writes all of it, or says how much of it was written and why not more.
std::pair<size_t, int> write_all(int fd, std::string_view text) {
  size_t written = 0;
  while (written < text.size()) {
    ssize_t n = ::write(fd, text.data() + written, text.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return {written, n < 0 ? errno : ENOSPC};
    written += static_cast<size_t>(n);
  }
  return {written, 0};
}

}  // namespace

Expected<RotatingFile> RotatingFile::open(std::string path, uint64_t limit_bytes, uint32_t keep) {
  std::filesystem::path directory = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (!directory.empty()) std::filesystem::create_directories(directory, error);
  if (error) return fail_errno(error.value(), directory.string() + ": make the directory");
  RotatingFile file(std::move(path), limit_bytes, keep);
  if (auto opened = file.reopen(); !opened) return std::unexpected(opened.error());
  return file;
}

Expected<void> RotatingFile::reopen() {
  // O_NONBLOCK: a FIFO that nobody reads is an error, and never keeps the log's thread.
  Fd fd(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640));
  if (!fd) return fail_errno(errno, path_ + ": open for appending");
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return fail_errno(errno, path_ + ": stat");
  fd_ = std::move(fd);
  device_ = status.st_dev;
  inode_ = status.st_ino;
  rotates_ = S_ISREG(status.st_mode);
  size_ = rotates_ ? static_cast<uint64_t>(status.st_size) : 0;
  torn_ = false;
  return {};
}

/// Opens what is at the path now, where that isn't the file that is open, and learns how long it is.
Expected<void> RotatingFile::follow_path() {
  struct stat there{};
  bool same = fd_ && ::stat(path_.c_str(), &there) == 0 && there.st_dev == device_ && there.st_ino == inode_;
  if (!same) return reopen();
  auto size = static_cast<uint64_t>(there.st_size);
  if (rotates_ && size < size_) torn_ = false;  // cut by somebody else
  if (rotates_) size_ = size;
  return {};
}

Expected<void> RotatingFile::append(std::string_view lines) {
  if (auto followed = follow_path(); !followed) return followed;
  if (rotates_ && size_ > 0 && size_ + lines.size() > limit_bytes_)
    if (auto rotated = rotate(); !rotated) return rotated;
  if (torn_ && write_all(fd_.get(), "\n").second == 0) torn_ = false, ++size_;

  auto [written, error] = write_all(fd_.get(), lines);
  if (error == 0) {
    size_ += written;
    return {};
  }
  bool taken_back = rotates_ && ::ftruncate(fd_.get(), static_cast<off_t>(size_)) == 0;
  if (written > 0 && !taken_back) torn_ = true, size_ += written;
  return fail_errno(error, path_ + ": write");
}

/// PATH.(keep-1) becomes PATH.keep and so on; PATH becomes PATH.1, or goes where none is kept.
Expected<void> RotatingFile::rotate() {
  for (uint32_t n = keep_; n > 1; --n)
    if (::rename(numbered(path_, n - 1).c_str(), numbered(path_, n).c_str()) != 0 && errno != ENOENT)
      return fail_errno(errno, numbered(path_, n - 1) + ": rename");
  int moved = keep_ > 0 ? ::rename(path_.c_str(), numbered(path_, 1).c_str()) : ::unlink(path_.c_str());
  if (moved != 0 && errno != ENOENT) return fail_errno(errno, path_ + ": rotate");
  return reopen();
}

}  // namespace bulkhead
