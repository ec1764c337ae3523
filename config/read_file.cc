#include "config/read_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>

namespace bulkhead {
namespace {

/// A file descriptor that closes itself.
struct OpenFile {
  explicit OpenFile(const std::string& path)
      // O_NONBLOCK: a FIFO in a policy directory must not stop the reader.
      : descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  OpenFile(const OpenFile&) = delete;
  ~OpenFile() {
    if (descriptor >= 0) ::close(descriptor);
  }
  int descriptor;
};

}  // namespace

Expected<> read_chunks(const std::string& path, const std::function<bool(std::string_view)>& take) {
  constexpr size_t kMostBytes = 1u << 20;
  OpenFile file(path);
  struct stat status;
  if (file.descriptor < 0 || ::fstat(file.descriptor, &status) != 0)
    return fail_errno(errno, "this file can't be read");
  if (!S_ISREG(status.st_mode)) return fail(ErrorCode::kInvalid, "this is no regular file; name a file");
  // Neither larger than the file nor zeroed: policy may name ten thousand small ones.
  size_t bytes = std::clamp(static_cast<size_t>(status.st_size), size_t{4096}, kMostBytes);
  auto chunk = std::make_unique_for_overwrite<char[]>(bytes);
  while (true) {
    ssize_t got = ::read(file.descriptor, chunk.get(), bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "this file can't be read");
    if (got == 0 || !take({chunk.get(), static_cast<size_t>(got)})) return {};
  }
}

Expected<std::string> read_file(const std::string& path, size_t limit) {
  std::string content;
  auto done = read_chunks(path, [&](std::string_view chunk) {
    content += chunk;
    return content.size() <= limit;
  });
  if (!done) return std::unexpected(done.error());
  if (content.size() > limit)
    return fail(ErrorCode::kInvalid,
                "the file is larger than " + std::to_string(limit >> 20) + " MiB; split it");
  return content;
}

Expected<> read_names(const std::string& directory, const std::function<bool(std::string_view)>& take) {
  std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(directory.c_str()), ::closedir);
  if (!open) return fail_errno(errno, "this directory can't be read");
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(open.get());
    if (entry == nullptr && errno != 0) return fail_errno(errno, "this directory can't be read");
    if (entry == nullptr || !take(entry->d_name)) return {};
  }
}

std::string resolve(const std::string& naming_file, const std::string& path) {
  std::filesystem::path wanted(path);
  if (wanted.is_absolute()) return path;
  return (std::filesystem::path(naming_file).parent_path() / wanted).lexically_normal().string();
}

}  // namespace bulkhead
