#include "svid/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>

#include <openssl/crypto.h>

#include "base/fd.h"

namespace bulkhead {
namespace {

Expected<> check_private(const std::string& path, const struct stat& status) {
  if ((status.st_mode & 0177) != 0)
    return fail(ErrorCode::kPermission,
                path + ": others than its owner may use this private key; chmod 600 " + path);
  if (status.st_uid != 0 && status.st_uid != ::geteuid())
    return fail(ErrorCode::kPermission, path + ": this private key belongs to user " +
                                            std::to_string(status.st_uid) + "; chown it to user " +
                                            std::to_string(::geteuid()) + " or root");
  return {};
}

Expected<std::string> content_of(const Fd& file, const std::string& path, size_t limit) {
  std::string content(limit + 1, '\0');
  size_t bytes = 0;
  while (bytes < content.size()) {
    ssize_t got = ::read(file.get(), content.data() + bytes, content.size() - bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, path + ": can't be read");
    if (got == 0) break;
    bytes += static_cast<size_t>(got);
  }
  if (bytes > limit)
    return fail(ErrorCode::kInvalid, path + ": larger than " + std::to_string(limit >> 10) +
                                         " KiB; remove what doesn't belong there");
  content.resize(bytes);
  return content;
}

std::string parent_of(const std::string& path) {
  std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

Expected<> write_all(const Fd& file, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    ssize_t put = ::write(file.get(), content.data(), content.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno(errno, path + ": can't be written");
    content.remove_prefix(static_cast<size_t>(put));
  }
  if (::fsync(file.get()) != 0) return fail_errno(errno, path + ": can't be written to the disk");
  return {};
}

Expected<> sync_directory(const std::string& path) {
  Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0)
    return fail_errno(errno, path + ": can't be written to the disk");
  return {};
}

}  // namespace

Expected<std::string> read_whole(const std::string& path, size_t limit, Secrecy secrecy) {
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status;
  if (!file || ::fstat(file.get(), &status) != 0) return fail_errno(errno, path + ": can't be read");
  if (!S_ISREG(status.st_mode))
    return fail(ErrorCode::kInvalid, path + ": this is no regular file; name a file");
  if (secrecy == Secrecy::kPrivate)
    if (auto kept = check_private(path, status); !kept) return std::unexpected(kept.error());
  return content_of(file, path, limit);
}

Expected<> write_whole(const std::string& path, std::string_view content, Secrecy secrecy) {
  std::string directory = parent_of(path);
  std::string beside = directory + "/." + std::filesystem::path(path).filename().string() + ".tmp";
  ::unlink(beside.c_str());  // of one that was killed
  mode_t mode = secrecy == Secrecy::kPrivate ? 0600 : 0644;
  Fd file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!file) return fail_errno(errno, beside + ": can't be written");
  ::fchmod(file.get(), mode);  // whatever the umask
  auto written = write_all(file, content, path);
  if (written && std::rename(beside.c_str(), path.c_str()) != 0)
    written = fail_errno(errno, path + ": can't be replaced");
  if (!written) {
    ::unlink(beside.c_str());
    return written;
  }
  return sync_directory(directory);
}

Expected<> make_directory(const std::string& path, Secrecy secrecy) {
  if (is_there(path) || path.empty()) return {};
  if (auto above = make_directory(std::filesystem::path(path).parent_path().string(), secrecy); !above)
    return above;
  if (::mkdir(path.c_str(), secrecy == Secrecy::kPrivate ? 0700 : 0755) != 0 && errno != EEXIST)
    return fail_errno(errno, path + ": can't be made");
  return sync_directory(parent_of(path));
}

Expected<std::vector<std::string>> names_in(const std::string& directory) {
  std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(directory.c_str()), ::closedir);
  if (!open) return fail_errno(errno, directory + ": can't be read");
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(open.get()))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  if (errno != 0) return fail_errno(errno, directory + ": can't be read");
  std::ranges::sort(names);
  return names;
}

bool is_there(const std::string& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0;
}

void wipe(std::string& secret) {
  OPENSSL_cleanse(secret.data(), secret.size());
  secret.clear();
}

}  // namespace bulkhead
